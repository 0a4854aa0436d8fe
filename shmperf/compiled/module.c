/* The module: its types, and what it knows of the Python side. */

#include "hot.h"

#include <structmember.h>

/* The offset of the slot of that name in a class; -1 with an error when there is none. */
static Py_ssize_t offset_in(PyObject *type, const char *name) {
    if (!PyType_Check(type)) {
        PyErr_SetString(PyExc_TypeError, "a class");
        return -1;
    }
    PyObject *member = PyObject_GetAttrString(type, name);
    if (!member) return -1;
    Py_ssize_t offset = -1;
    if (Py_IS_TYPE(member, &PyMemberDescr_Type))
        offset = ((PyMemberDescrObject *)member)->d_member->offset;
    else PyErr_Format(PyExc_TypeError, "%s is no slot", name);
    Py_DECREF(member);
    return offset;
}

/* Where the slots are that C looks at; 0, or -1 with an error. */
static int find_slots(State *state, PyObject *sampler, PyObject *wrapped) {
    PyObject *reached = (PyObject *)state->reached_type;
    state->bound_offset = offset_in(reached, "bound");
    state->sampled_offset = offset_in(reached, "sampled");
    state->choice_offset = offset_in(sampler, "choice");
    state->ended_offset = offset_in(sampler, "ended");
    state->fast_offset = offset_in(wrapped, "fast");
    state->tool_offset = offset_in(wrapped, "tool");
    state->detailed_offset = offset_in((PyObject *)state->tool_type, "detailed");
    state->hand_out_offset = offset_in(wrapped, "hand_out");
    state->is_shown_offset = offset_in((PyObject *)state->tool_type, "is_shown");
    state->root_offset = offset_in((PyObject *)Py_TYPE(state->spans), "root");
    return PyErr_Occurred() ? -1 : 0;
}

/* Each of *names* in *given*, kept; 0, or -1 with an error. */
static int keep(PyObject *given, const char *const *names, PyObject **const *kept) {
    for (; *names; names++, kept++) {
        PyObject *found = given ? PyDict_GetItemString(given, *names) : NULL;
        if (!found) {
            PyErr_Format(PyExc_TypeError, "%s is missing", *names);
            return -1;
        }
        Py_XSETREF(**kept, Py_NewRef(found));
    }
    return 0;
}

/*
 * adopt(tool, sampler, wrapped, seen, *, current, unfinished, …): the classes whose slots or
 * instances C looks at, and by name what calls go by; once, when the hot path is imported.
 */
static PyObject *adopt(PyObject *module, PyObject *args, PyObject *kwargs) {
    State *state = PyModule_GetState(module);
    PyObject *tool, *sampler, *wrapped, *seen;
    if (!PyArg_ParseTuple(args, "O!O!O!O!:adopt", &PyType_Type, &tool, &PyType_Type, &sampler,
                          &PyType_Type, &wrapped, &PyType_Type, &seen))
        return NULL;
    static const char *const names[] = {"current", "unfinished", "collecting", "finish",
                                        "is_programs", "spans", "parent_of", "detour", "chosen",
                                        "lost", "suspect_hole", "refill", "forked_in", NULL};
    PyObject **const kept[] = {&state->current, &state->unfinished, &state->collecting,
                               &state->finish, &state->is_programs, &state->spans,
                               &state->parent_of, &state->detour, &state->chosen,
                               &state->lost, &state->suspect_hole, &state->refill,
                               &state->forked_in};
    if (keep(kwargs, names, kept)) return NULL;
    PyObject *above = PyObject_GetAttrString(state->spans, "above");
    if (!above) return NULL;
    Py_XSETREF(state->above, above);
    Py_XSETREF(state->tool_type, (PyTypeObject *)Py_NewRef(tool));
    Py_XSETREF(state->reached_type, (PyTypeObject *)Py_NewRef(((PyTypeObject *)tool)->tp_base));
    Py_XSETREF(state->seen_type, (PyTypeObject *)Py_NewRef(seen));
    if (!PyDict_Check(state->collecting) || !PyDict_CheckExact(state->unfinished)
        || !PySet_CheckExact(state->forked_in) || !PyContextVar_CheckExact(state->current))
        return PyErr_Format(PyExc_TypeError, "adopt: a variable of the context, two dicts, a set");
    if (find_slots(state, sampler, wrapped)) return NULL;
    Py_RETURN_NONE;
}

/* adopt_steps(*, named_callee, pure_enter, ...): what `Steps` goes by. */
static PyObject *adopt_steps(PyObject *module, PyObject *args, PyObject *kwargs) {
    State *state = PyModule_GetState(module);
    static const char *const names[] = {"named_callee", "pure_enter", "pure_exit", "placed",
                                        "read_memory", "is_vain", "exit_late", "tools", NULL};
    PyObject **const kept[] = {&state->named_callee, &state->pure_enter, &state->pure_exit,
                               &state->placed, &state->read_memory, &state->is_vain,
                               &state->exit_late, &state->tools};
    if (keep(kwargs, names, kept)) return NULL;
    if (!PySet_CheckExact(state->placed) || !PyDict_CheckExact(state->tools))
        return PyErr_Format(PyExc_TypeError, "a set of places, a dict of tools");
    state->named_offset = offset_in((PyObject *)state->tool_type, "named");
    Py_XSETREF(state->nothing, PyTuple_New(0));
    Py_XSETREF(state->no_params, PyDict_New());
    Py_XSETREF(state->in_order, Py_BuildValue("(s)", "in_order"));
    Py_XSETREF(state->enter_anyhow, PyUnicode_InternFromString("_enter_anyhow"));
    Py_XSETREF(state->enter_in, PyUnicode_InternFromString("_enter_in"));
    Py_XSETREF(state->times_cpu, PyUnicode_InternFromString("_times_cpu"));
    Py_XSETREF(state->leave, PyUnicode_InternFromString("_leave"));
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

/* adopt_detail(written, handed_on, enter_anew): the class of functions' calls in detail, what becomes
   of a coroutine that one hands out, and what lets a wrapper look where it belongs. */
static PyObject *adopt_detail(PyObject *module, PyObject *args) {
    State *state = PyModule_GetState(module);
    PyObject *written, *handed_on, *enter_anew;
    if (!PyArg_ParseTuple(args, "O!OO:adopt_detail", &PyType_Type, &written, &handed_on, &enter_anew))
        return NULL;
    if (!state->tools) return PyErr_Format(PyExc_RuntimeError, "adopt_steps comes first");
    if (!PyType_IsSubtype((PyTypeObject *)written, state->steps_type))
        return PyErr_Format(PyExc_TypeError, "a class of calls in two steps");
    Py_XSETREF(state->handed_on, Py_NewRef(handed_on));
    Py_XSETREF(state->enter_anew, Py_NewRef(enter_anew));
    Py_XSETREF(state->written_type, (PyTypeObject *)Py_NewRef(written));
    Py_RETURN_NONE;
}

/* adopt_blocks(pure): what makes a block of any name. */
static PyObject *adopt_blocks(PyObject *module, PyObject *pure) {
    State *state = PyModule_GetState(module);
    if (!state->tools) return PyErr_Format(PyExc_RuntimeError, "adopt_steps comes first");
    Py_XSETREF(state->pure_block, Py_NewRef(pure));
    Py_RETURN_NONE;
}

/* adopt_stepped(step_in, step_out): what generators' calls do where C does not. */
static PyObject *adopt_stepped(PyObject *module, PyObject *args) {
    State *state = PyModule_GetState(module);
    PyObject *step_in, *step_out;
    if (!PyArg_ParseTuple(args, "OO:adopt_stepped", &step_in, &step_out)) return NULL;
    Py_XSETREF(state->pure_step_in, Py_NewRef(step_in));
    Py_XSETREF(state->pure_step_out, Py_NewRef(step_out));
    Py_RETURN_NONE;
}

/* adopt_pairs(started, pair, *, pairs, pure_begin_pair, …): the classes of what is begun by hand. */
static PyObject *adopt_pairs(PyObject *module, PyObject *args, PyObject *kwargs) {
    State *state = PyModule_GetState(module);
    PyObject *started, *pair;
    if (!PyArg_ParseTuple(args, "O!O!:adopt_pairs", &PyType_Type, &started, &PyType_Type, &pair))
        return NULL;
    static const char *const names[] = {"pairs", "pure_begin_pair", "pure_end_pair",
                                        "pair_announced", "pair_gave_up", "pair_ended_again", NULL};
    PyObject **const kept[] = {&state->pairs, &state->pure_begin_pair, &state->pure_end_pair,
                               &state->pair_announced, &state->pair_gave_up,
                               &state->pair_ended_again};
    if (!state->tools) return PyErr_Format(PyExc_RuntimeError, "adopt_steps comes first");
    if (keep(kwargs, names, kept)) return NULL;
    state->pair_offset = offset_in(started, "_pair");
    state->pair_id_offset = offset_in(pair, "call_id");
    state->pair_outer_offset = offset_in(pair, "outer");
    state->pair_is_open_offset = offset_in(pair, "is_open");
    if (PyErr_Occurred()) return NULL;
    if (!PyDict_CheckExact(state->pairs) || !PyType_IsSubtype((PyTypeObject *)started, state->steps_type))
        return PyErr_Format(PyExc_TypeError, "a dict, and a class of calls in two steps");
    Py_XSETREF(state->started_type, (PyTypeObject *)Py_NewRef(started));
    Py_XSETREF(state->pair_type, (PyTypeObject *)Py_NewRef(pair));
    Py_RETURN_NONE;
}

/* adopt_loop(running_loop, outer_now): what says whether a loop runs, and what is current after a
   call that may have ended in another context. */
static PyObject *adopt_loop(PyObject *module, PyObject *args) {
    State *state = PyModule_GetState(module);
    PyObject *running_loop, *outer_now;
    if (!PyArg_ParseTuple(args, "OO:adopt_loop", &running_loop, &outer_now)) return NULL;
    Py_XSETREF(state->running_loop, Py_NewRef(running_loop));
    Py_XSETREF(state->outer_now, Py_NewRef(outer_now));
    Py_RETURN_NONE;
}

/* captured(*args, **kwargs): body and low meta bits of short parameters, else None. */
static PyObject *captured(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    Captured found;
    found.low_meta = 0;
    const Given given = given_by(args, count, 0, names);
    if (given.count + given.named && !capture(&found, &given)) Py_RETURN_NONE;
    return Py_BuildValue("y#I", found.body, (Py_ssize_t)(found.low_meta & LENGTH_MASK), found.low_meta);
}

static PyMethodDef methods[] = {
    {"adopt", (PyCFunction)(void (*)(void))adopt, METH_VARARGS | METH_KEYWORDS, "What calls go by on the Python side."},
    {"adopt_steps", (PyCFunction)(void (*)(void))adopt_steps, METH_VARARGS | METH_KEYWORDS,
     "The same, for calls in two steps."},
    {"adopt_detail", adopt_detail, METH_VARARGS, "The same, for functions' calls in detail."},
    {"in_detail", in_detail, METH_O, "See detail.c."},
    {"adopt_blocks", adopt_blocks, METH_O, "The same, for blocks."},
    {"adopt_stepped", adopt_stepped, METH_VARARGS, "The same, for calls of generators."},
    {"adopt_pairs", (PyCFunction)(void (*)(void))adopt_pairs, METH_VARARGS | METH_KEYWORDS,
     "The same, for calls by hand."},
    {"end_pair", (PyCFunction)(void (*)(void))end_pair, METH_FASTCALL, "See pairs.c."},
    {"adopt_loop", adopt_loop, METH_VARARGS, "The same, for calls that await."},
    {"boost", boost, METH_VARARGS, "Let the calls of a wrapper begin in C."},
    {"add_children", (PyCFunction)(void (*)(void))add_children, METH_FASTCALL, "See family.c."},
    {"settle", (PyCFunction)(void (*)(void))settle, METH_FASTCALL, "See settle.c."},
    {"adopt_call", adopt_call, METH_O, "The class of calls."},
    {"lines", (PyCFunction)(void (*)(void))lines, METH_FASTCALL, "See line.c."},
    {"give_back", give_back, METH_NOARGS, "See drain.c."},
    {"are_in_order", are_in_order, METH_O, "See line.c."},
    {"count_durations", (PyCFunction)(void (*)(void))count_durations, METH_FASTCALL, "See count.c."},
    {"last_of_rows", last_of_rows, METH_O, "See count.c."},
    {"read_slots", (PyCFunction)(void (*)(void))read_slots, METH_FASTCALL, "See ringread.c."},
    {"read_marked", (PyCFunction)(void (*)(void))read_marked, METH_FASTCALL, "See ringread.c."},
    {"captured", (PyCFunction)(void (*)(void))captured, METH_FASTCALL | METH_KEYWORDS,
     "Short parameters as a record holds them; None for others."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject *added_type(PyObject *module, PyType_Spec *spec) {
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (type && PyModule_AddType(module, type)) Py_CLEAR(type);
    return type;
}

static int run(PyObject *module) {
    State *state = PyModule_GetState(module);
    if (!(state->binding_type = added_type(module, &binding_spec))) return -1;
    if (!(state->fast_type = added_type(module, &fast_spec))) return -1;
    if (!(state->awaited_type = added_type(module, &awaited_spec))) return -1;
    if (!(state->steps_type = added_type(module, &steps_spec))) return -1;
    if (drain_run(module, &state->drain)) return -1;
    state->loop_key = PyUnicode_InternFromString("__asyncio_running_event_loop__");
    if (!state->loop_key) return -1;
    PyTypeObject *begin_type = added_type(module, &begin_spec);
    Py_XDECREF(begin_type);
    PyTypeObject *slot_type = begin_type ? added_type(module, &slot_spec) : NULL;
    Py_XDECREF(slot_type);
    if (!slot_type) return -1;
    if (PyModule_AddIntConstant(module, "INTERFACE", INTERFACE)) return -1;
    return PyModule_AddStringConstant(module, "SOURCES", SHMPERF_SOURCES);
}

static int traverse(PyObject *module, visitproc visit, void *arg) {
    State *state = PyModule_GetState(module);
    Py_VISIT(state->binding_type);
    Py_VISIT(state->fast_type);
    Py_VISIT(state->steps_type);
    Py_VISIT(state->awaited_type);
    Py_VISIT(state->outer_now);
    Py_VISIT(state->running_loop);
    Py_VISIT(state->loop_note_type);
    Py_VISIT(state->loop_ready);
    Py_VISIT(state->tool_type);
    Py_VISIT(state->named_callee);
    Py_VISIT(state->pure_enter);
    Py_VISIT(state->pure_exit);
    Py_VISIT(state->placed);
    Py_VISIT(state->written_type);
    Py_VISIT(state->handed_on);
    Py_VISIT(state->enter_anew);
    Py_VISIT(state->memory.ready);
    Py_VISIT(state->read_memory);
    Py_VISIT(state->is_vain);
    Py_VISIT(state->exit_late);
    Py_VISIT(state->pure_step_in);
    Py_VISIT(state->pure_step_out);
    Py_VISIT(state->started_type);
    Py_VISIT(state->pair_type);
    Py_VISIT(state->tools);
    Py_VISIT(state->nothing);
    Py_VISIT(state->no_params);
    Py_VISIT(state->pairs);
    Py_VISIT(state->pure_block);
    Py_VISIT(state->pure_begin_pair);
    Py_VISIT(state->pure_end_pair);
    Py_VISIT(state->pair_announced);
    Py_VISIT(state->pair_gave_up);
    Py_VISIT(state->pair_ended_again);
    Py_VISIT(state->reached_type);
    Py_VISIT(state->current);
    Py_VISIT(state->unfinished);
    Py_VISIT(state->finish);
    Py_VISIT(state->collecting);
    Py_VISIT(state->is_programs);
    Py_VISIT(state->spans);
    Py_VISIT(state->above);
    Py_VISIT(state->seen_type);
    Py_VISIT(state->parent_of);
    Py_VISIT(state->detour);
    Py_VISIT(state->chosen);
    Py_VISIT(state->lost);
    Py_VISIT(state->suspect_hole);
    Py_VISIT(state->refill);
    Py_VISIT(state->forked_in);
    return drain_visit(&state->drain, visit, arg);
}

/* Tracked functions may be called until the very end, and what they go by has to be there. */
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, run},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "shmperf._hot",
    .m_doc = "The compiled path: what `shmperf.worker` and the collector do most.",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
};

State *state_of_steps(PyObject *steps) {
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(steps), &definition);
    return module ? PyModule_GetState(module) : NULL;
}

PyMODINIT_FUNC PyInit__hot(void) { return PyModuleDef_Init(&definition); }
