/*
 * A call begun in one step and ended in another: what blocks, pairs and the chain of interceptors
 * are made of (see `worker.quickcall`, whose two functions do here what is rare).
 */

#include "hot.h"

#include <stddef.h>
#include <structmember.h>

/* --- where a block stands ----------------------------------------------------------------------- */

/*
 * The code that the innermost frame of Python runs, a new reference, and how far it has come; NULL
 * where that takes an object of the frame, of which one is made at each block.
 */
#if PY_VERSION_HEX >= 0x030d0000 && PY_VERSION_HEX < 0x030f0000
static PyObject *running_code(int *at) {
    struct _PyInterpreterFrame *frame = PyThreadState_GetUnchecked()->current_frame;
    if (!frame) return NULL;
    *at = PyUnstable_InterpreterFrame_GetLasti(frame);
    return PyUnstable_InterpreterFrame_GetCode(frame);
}
#elif PY_VERSION_HEX < 0x030c0000 && __has_include("internal/pycore_frame.h")
#define Py_BUILD_CORE
#include "internal/pycore_frame.h"
#undef Py_BUILD_CORE
static PyObject *running_code(int *at) {
    _PyInterpreterFrame *frame = PyThreadState_Get()->cframe->current_frame;
    if (!frame || _PyFrame_IsIncomplete(frame)) return NULL;
    *at = _PyInterpreterFrame_LASTI(frame) * (int)sizeof(_Py_CODEUNIT);
    return Py_NewRef(frame->f_code);
}
#else
static PyObject *running_code(int *at) { return NULL; }
#endif

/* True where a ``with`` was found to stand; what is true of a place in a code object stays so. The
   reference to the code is taken over. */
static int is_placed(State *state, PyCodeObject *code, int at) {
    Site *site = &state->sites[((uintptr_t)code >> 5 ^ (uintptr_t)at) % SITES];
    if (site->code == code && site->at == at) {
        Py_DECREF(code);
        return 1;
    }
    PyObject *key = Py_BuildValue("(Ni)", PyLong_FromVoidPtr(code), at);
    int found = key ? PySet_Contains(state->placed, key) : -1;
    Py_XDECREF(key);
    if (found != 1) {
        PyErr_Clear();
        Py_DECREF(code);
        return 0;
    }
    Py_XSETREF(site->code, code); /* it is nobody else's as long as it is held */
    site->at = at;
    return 1;
}

/* The frame that enters a block at a place where none was found to stand so far; borrowed, else
   NULL. */
static PyFrameObject *new_place(State *state) {
    int at;
    PyCodeObject *code = (PyCodeObject *)running_code(&at);
    if (code && is_placed(state, code, at)) return NULL;
    PyFrameObject *frame = PyEval_GetFrame();
    if (!frame || code) return frame;
    return is_placed(state, PyFrame_GetCode(frame), PyFrame_GetLasti(frame)) ? NULL : frame;
}

/* --- the two steps ------------------------------------------------------------------------------ */

static int is_opened(Steps *self) {
    return self->opened && self->opened != Py_None;
}

static PyObject *entered_anyhow(State *state, Steps *self, PyObject *in_order) {
    PyObject *given[] = {(PyObject *)self, in_order};
    return PyObject_VectorcallMethod(state->enter_anyhow, given,
                                     1 | PY_VECTORCALL_ARGUMENTS_OFFSET, state->in_order);
}

/* As *entered* in Python; where that has failed, which is ours, the block is entered all the same.
   What fails in ending the call is passed on: there is no room for a frame. */
static PyObject *entered(State *state, Steps *self, PyObject *entered) {
    if (entered) return entered;
    PyObject *error = raised(), *is_vain = NULL;
    int was_opened = is_opened(self), is_passed_on;
    if (was_opened) {
        is_vain = PyObject_CallFunctionObjArgs(state->is_vain, self, error, NULL);
        is_passed_on = is_vain == Py_True;
    }
    else is_passed_on = is_the_programs(state, error);
    if (is_passed_on) raise_again(error);
    else Py_DECREF(error);
    Py_XDECREF(is_vain);
    if (is_passed_on || (was_opened && !is_vain)) return NULL;
    return was_opened ? Py_NewRef(self) : entered_anyhow(state, self, Py_False);
}

/* The call begins the long way. */
static PyObject *enter_anyhow(State *state, Steps *self, PyObject *in_order) {
    return entered(state, self, entered_anyhow(state, self, in_order));
}

static PyObject *enter_in_python(State *state, Steps *self) {
    if (!state->pure_enter) return PyErr_Format(PyExc_RuntimeError, "nothing is adopted");
    PyObject *given[] = {(PyObject *)self, Py_True};
    return PyObject_Vectorcall(state->pure_enter, given, 2, NULL);
}

static int captures(Steps *self) {
    if (!self->args || !self->kwargs || !PyTuple_CheckExact(self->args)) return 0;
    if (!PyDict_CheckExact(self->kwargs)) return 0;
    return capture_packed(&self->captured, self->args, self->kwargs, 0);
}

static int has_callee(State *state, Steps *self) {
    if (self->callee) return 1;
    PyObject *number = PyObject_CallOneArg(state->named_callee, self->tool);
    if (!number) return 0;
    self->callee = PyLong_AsUnsignedLongLong(number);
    Py_DECREF(number);
    return !PyErr_Occurred();
}

/* It has begun and can't be made current, or could not begin: the block is entered all the same. */
static PyObject *step_in_vain(State *state, Steps *self) {
    PyObject *error = raised();
    int is_programs = is_the_programs(state, error);
    if (self->open.row_object) {
        lose(state, &self->open);
        self->open.call_id = 0; /* nobody ends it once more */
    }
    else if (!is_programs) {
        Py_DECREF(error);
        return enter_anyhow(state, self, Py_False);
    }
    if (!is_programs) {
        Py_DECREF(error);
        return Py_NewRef(self);
    }
    raise_again(error);
    return NULL;
}

/* --- begin and end ------------------------------------------------------------------------------ */

/* Whether calls of its class begin and end in one thread. */
static int times_cpu(State *state, Steps *self) {
    PyObject *answer = PyObject_GetAttr((PyObject *)self, state->times_cpu);
    int times = answer == Py_True;
    if (!answer) PyErr_Clear();
    Py_XDECREF(answer);
    return times;
}

/* What the call is begun by, a new reference, and whether in detail; NULL where it goes another way. */
static Binding *binding_now(State *state, Steps *self, uint32_t *detail) {
    PyObject *found = slot_of(self->tool, state->bound_offset);
    if (!found || !Py_IS_TYPE(found, state->binding_type)) return NULL;
    *detail = fits(state, (Binding *)found) ? 0 : DETAIL;
    if (*detail) found = slot_of(self->tool, state->detailed_offset);
    if (!found || !Py_IS_TYPE(found, state->binding_type) || !fits(state, (Binding *)found)) return NULL;
    return (Binding *)Py_NewRef(found);
}

static PyObject *enter_held(State *state, Steps *self, Binding *bound, uint32_t detail) {
    if (slot_of(self->tool, state->is_shown_offset) == Py_True || self->open.row_object
        || is_opened(self) || !captures(self))
        return enter_anyhow(state, self, Py_True);
    if (detail && self->captured.low_meta & PRUNED) return enter_anyhow(state, self, Py_True);
    if (!has_callee(state, self)) return step_in_vain(state, self);
    forget_call(&self->open);
    Py_CLEAR(self->body);
    self->captured.low_meta |= detail;
    self->meta = self->callee << CALLEE_SHIFT | self->captured.low_meta;
    self->position = self->end_ns = 0;
    if (detail) self->cpu_ns = times_cpu(state, self) ? cpu_now_ns() : -1;
    self->cpu_end_ns = -1;
    Current current = Py_IS_TYPE((PyObject *)self, state->started_type) ? pair_of : NULL;
    int begun = begin_call(state, &self->open, bound, self->callee | (detail ? IN_DETAIL : 0), 0, 0,
                           current);
    if (begun == 1 && detail) expect_metadata(state, self);
    if (begun == 1) return Py_NewRef(self);
    return begun ? step_in_vain(state, self) : enter_anyhow(state, self, Py_True);
}

static PyObject *enter(State *state, Steps *self, int in_order) {
    if (!self->tool || !Py_IS_TYPE(self->tool, state->tool_type))
        return enter_in_python(state, self);
    if (slot_of(self->tool, state->bound_offset) == Py_None) return Py_NewRef(self);
    PyFrameObject *frame = in_order ? NULL : new_place(state);
    if (frame) {
        PyObject *given[] = {(PyObject *)self, (PyObject *)frame};
        return entered(state, self,
                       PyObject_VectorcallMethod(state->enter_in, given,
                                                 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL));
    }
    uint32_t detail;
    Binding *bound = binding_now(state, self, &detail);
    if (!bound) return enter_in_python(state, self);
    PyObject *begun = enter_held(state, self, bound, detail);
    Py_DECREF(bound);
    return begun;
}

PyObject *steps_begin(State *state, Steps *self) { return enter(state, self, 1); }

static PyObject *steps_enter(PyObject *self, PyTypeObject *defining, PyObject *const *args,
                             size_t count, PyObject *kwnames) {
    PyObject *in_order = Py_False;
    Py_ssize_t given = PyVectorcall_NARGS(count) + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
    if (given > 1) return PyErr_Format(PyExc_TypeError, "_enter takes in_order alone");
    if (given) in_order = args[0];
    return enter(PyType_GetModuleState(defining), (Steps *)self, PyObject_IsTrue(in_order) == 1);
}

/* What the call found current is so again, unless something else is. */
static int leave(State *state, Steps *self) {
    PyObject *now;
    if (PyContextVar_Get(state->current, NULL, &now)) return -1;
    int is_own = PyLong_CheckExact(now) ? PyLong_AsUnsignedLongLong(now) == self->open.call_id
                                        : is_own_pair(state, self, now);
    PyErr_Clear();
    if (is_own) {
        Py_DECREF(now);
        return restore_context(state, &self->open);
    }
    PyObject *given[] = {(PyObject *)self, now};
    PyObject *left = PyObject_VectorcallMethod(state->leave, given,
                                               2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(now);
    Py_XDECREF(left);
    return left ? 0 : -1;
}

/*
 * Python ends the call by *how*. Struck at its first line it has done nothing, so it is asked once
 * more; where it has done all, it does nothing then. What is the program's is passed on.
 */
static PyObject *ended_by(State *state, PyObject *how, PyObject *const *given, size_t count) {
    PyObject *ended = PyObject_Vectorcall(how, given, count, NULL);
    if (ended) return ended;
    PyObject *struck = raised();
    ended = PyObject_Vectorcall(how, given, count, NULL);
    if (!ended || !is_the_programs(state, struck)) {
        Py_DECREF(struck);
        return ended;
    }
    Py_DECREF(ended);
    raise_again(struck);
    return NULL;
}

static PyObject *exit_in_python(State *state, Steps *self, PyObject *const *args) {
    if (!state->pure_exit) return PyErr_Format(PyExc_RuntimeError, "nothing is adopted");
    PyObject *given[] = {(PyObject *)self, args[0], args[1], args[2]};
    return ended_by(state, state->pure_exit, given, 4);
}

static int is_in_detail(Steps *self) { return (self->captured.low_meta & DETAIL) != 0; }

/* Whether the call is open, was begun here and ends where its tool is bound to the same rows. */
static int is_ours(State *state, Steps *self, int in_detail) {
    if (!self->open.row_object || self->body || !self->open.bound || !self->tool) return 0;
    Py_ssize_t offset = in_detail ? state->detailed_offset : state->bound_offset;
    return follows(state, &self->open, slot_of(self->tool, offset));
}

/* Struck in what was to be its last step: it ends in Python, and an interruption is passed on. */
static PyObject *exit_struck(State *state, Steps *self, PyObject *const *args) {
    PyObject *error = raised(), *ended = exit_in_python(state, self, args);
    if (ended && is_the_programs(state, error)) {
        Py_DECREF(ended);
        raise_again(error);
        return NULL;
    }
    Py_DECREF(error);
    return ended;
}

/* No slot was to be had: Python looks for one, or counts the call as lost. */
static PyObject *exit_late(State *state, Steps *self, PyObject *error) {
    POINT("quick-late");
    PyObject *given[] = {(PyObject *)self, error};
    PyObject *ended = ended_by(state, state->exit_late, given, 2);
    if (ended && is_passed_on(&self->open)) Py_CLEAR(ended);
    return ended;
}

static PyObject *exit_steps(State *state, Steps *self, PyObject *const *args) {
    int in_detail = is_in_detail(self);
    if (args[1] != Py_None || !is_ours(state, self, in_detail)) return exit_in_python(state, self, args);
    POINT("quick-clock");
    uint64_t end_ns = now_ns();
    Captured whole, *captured = &self->captured;
    if (in_detail) {
        if (self->cpu_ns >= 0) self->cpu_end_ns = cpu_now_ns();
        int made = whole_body(state, self, end_ns, &whole);
        if (made < 0) return exit_struck(state, self, args);
        /* What runs in Python may have ended it, or changed the mode. */
        if (!made || !is_ours(state, self, in_detail)) return exit_in_python(state, self, args);
        captured = &whole;
    }
    for (int refills = 0; !store_call(state, &self->open, captured, self->callee, end_ns, self->tool,
                                      &self->position); refills++)
        if (refills || !refilled(state, &self->open, self->tool, end_ns)
            || !is_ours(state, self, in_detail))
            return exit_late(state, self, args[1]);
    self->end_ns = end_ns;
    forget_metadata(self);
    free_row(&self->open);
    if (end_ns - self->open.start_ns >= SLOW_NS) {
        PyObject **shown = (PyObject **)((char *)self->tool + state->is_shown_offset);
        Py_XSETREF(*shown, Py_NewRef(Py_True));
    }
    if (leave(state, self)) {
        PyObject *error = raised();
        if (is_the_programs(state, error)) {
            raise_again(error);
            return NULL;
        }
        Py_DECREF(error);
    }
    Py_RETURN_NONE;
}

PyObject *steps_end(State *state, Steps *self) {
    PyObject *const args[] = {Py_None, Py_None, Py_None};
    return exit_steps(state, self, args);
}

static PyObject *steps_exit(PyObject *self, PyTypeObject *defining, PyObject *const *args,
                            size_t count, PyObject *kwnames) {
    if (PyVectorcall_NARGS(count) != 3 || kwnames)
        return PyErr_Format(PyExc_TypeError, "_exit takes an exception's three parts");
    return exit_steps(PyType_GetModuleState(defining), (Steps *)self, args);
}

/* --- a generator's, between its steps ------------------------------------------------------------ */

static int is_begun(Steps *self) { return self->open.row_object || is_opened(self); }

/* A step is over. Where the call is not what is current, something is open inside. */
static PyObject *step_out(PyObject *object, PyTypeObject *defining, PyObject *const *args,
                          size_t count, PyObject *kwnames) {
    State *state = PyType_GetModuleState(defining);
    Steps *self = (Steps *)object;
    if (!is_begun(self)) Py_RETURN_NONE;
    PyObject *now = NULL;
    if (is_ours(state, self, is_in_detail(self)) && PyLong_CheckExact(self->open.outer)
        && PyContextVar_Get(state->current, NULL, &now) == 0 && PyLong_CheckExact(now)
        && PyLong_AsUnsignedLongLong(now) == self->open.call_id
        && restore_context(state, &self->open) == 0) {
        Py_DECREF(now);
        /* It is of this step: what ends the call between two has none. */
        Py_CLEAR(self->open.token);
        Py_RETURN_NONE;
    }
    PyErr_Clear();
    Py_XDECREF(now);
    return PyObject_CallOneArg(state->pure_step_out, object);
}

/* The next one begins. */
static PyObject *step_in(PyObject *object, PyTypeObject *defining, PyObject *const *args,
                         size_t count, PyObject *kwnames) {
    State *state = PyType_GetModuleState(defining);
    Steps *self = (Steps *)object;
    if (!is_begun(self)) Py_RETURN_NONE;
    PyObject *now = NULL, *id = NULL;
    if (!is_ours(state, self, is_in_detail(self))
        || PyContextVar_Get(state->current, NULL, &now)
        || !(id = PyLong_FromUnsignedLongLong(self->open.call_id))) {
        PyErr_Clear();
        Py_XDECREF(now);
        return PyObject_CallOneArg(state->pure_step_in, object);
    }
    Py_XSETREF(self->open.outer, now);
    Py_XSETREF(self->open.token, PyContextVar_Set(state->current, id));
    Py_DECREF(id);
    /* Without memory for a token it may be current or not; the step is made all the same. */
    if (!self->open.token) PyErr_Clear();
    Py_RETURN_NONE;
}

/* --- what Python sees of it --------------------------------------------------------------------- */

static PyObject *get_row(Steps *self, void *unused) {
    return self->open.row_object ? Py_NewRef(self->open.row_object) : PyLong_FromLong(0);
}

static int set_row(Steps *self, PyObject *row, void *unused) {
    int is_one = row ? PyObject_IsTrue(row) : 0;
    if (is_one < 0) return -1;
    if (!is_one) forget_metadata(self);
    Py_XSETREF(self->open.row_object, is_one ? Py_NewRef(row) : NULL);
    if (is_one) self->open.row = PyLong_AsUnsignedLongLong(row);
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *get_body(Steps *self, void *unused) {
    if (self->body) return Py_NewRef(self->body);
    return PyBytes_FromStringAndSize((char *)self->captured.body,
                                     self->captured.low_meta & LENGTH_MASK);
}

static int set_body(Steps *self, PyObject *body, void *unused) {
    Py_XSETREF(self->body, Py_XNewRef(body));
    return 0;
}

static PyObject *get_bound(Steps *self, void *unused) {
    if (self->open.bound) return Py_NewRef(self->open.bound);
    return PyErr_Format(PyExc_AttributeError, "_bound");
}

static int set_bound(Steps *self, PyObject *bound, void *unused) {
    if (!bound || strcmp(Py_TYPE(bound)->tp_name, binding_spec.name)) {
        PyErr_SetString(PyExc_TypeError, "_bound is a binding");
        return -1;
    }
    Py_XSETREF(self->open.bound, (Binding *)Py_NewRef(bound));
    return 0;
}

static PyGetSetDef steps_properties[] = {
    {"_row", (getter)get_row, (setter)set_row, NULL, NULL},
    {"_body", (getter)get_body, (setter)set_body, NULL, NULL},
    {"_bound", (getter)get_bound, (setter)set_bound, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define WORD(name, field) {name, T_ULONGLONG, offsetof(Steps, field), 0, NULL}
#define OBJECT(name, field) {name, T_OBJECT_EX, offsetof(Steps, field), 0, NULL}
#define CLOCK(name, field) {name, T_LONGLONG, offsetof(Steps, field), 0, NULL}

static PyMemberDef steps_members[] = {
    OBJECT("_tool", tool),
    OBJECT("_args", args),
    OBJECT("_kwargs", kwargs),
    OBJECT("_opened", opened),
    OBJECT("_metadata", metadata),
    {"_around", T_OBJECT, offsetof(Steps, around), 0, NULL},
    OBJECT("_outer", open.outer),
    WORD("_callee", callee),
    WORD("_meta", meta),
    WORD("_call_id", open.call_id),
    WORD("_parent", open.parent),
    WORD("_start_ns", open.start_ns),
    WORD("_end_ns", end_ns),
    WORD("_position", position),
    CLOCK("_cpu_ns", cpu_ns),
    CLOCK("_cpu_end_ns", cpu_end_ns),
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef steps_methods[] = {
    {"_enter", (PyCFunction)(void (*)(void))steps_enter, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "Begin the call, if it is recorded, and make it current."},
    {"_exit", (PyCFunction)(void (*)(void))steps_exit, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "Store the call, restore the context and free its row."},
    {"_step_in", (PyCFunction)(void (*)(void))step_in, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "The call is current."},
    {"_step_out", (PyCFunction)(void (*)(void))step_out, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "What was current before it is so again."},
    {NULL, NULL, 0, NULL},
};

static int steps_traverse(Steps *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->tool);
    Py_VISIT(self->args);
    Py_VISIT(self->kwargs);
    Py_VISIT(self->opened);
    Py_VISIT(self->metadata);
    Py_VISIT(self->body);
    Py_VISIT(self->around);
    Py_VISIT(self->open.bound);
    Py_VISIT(self->open.outer);
    Py_VISIT(self->open.token);
    Py_VISIT(self->open.struck);
    return 0;
}

static int steps_clear(Steps *self) {
    forget_metadata(self);
    Py_CLEAR(self->tool);
    Py_CLEAR(self->args);
    Py_CLEAR(self->kwargs);
    Py_CLEAR(self->opened);
    Py_CLEAR(self->metadata);
    Py_CLEAR(self->body);
    Py_CLEAR(self->around);
    forget_call(&self->open);
    return 0;
}

static void steps_dealloc(Steps *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    steps_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot steps_slots[] = {
    {Py_tp_doc, "Steps(name, /, **params)\n--\n\nA call, begun in one step and ended in another."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, block_init},
    {Py_tp_dealloc, steps_dealloc},
    {Py_tp_traverse, steps_traverse},
    {Py_tp_clear, steps_clear},
    {Py_tp_members, steps_members},
    {Py_tp_getset, steps_properties},
    {Py_tp_methods, steps_methods},
    {0, NULL},
};

PyType_Spec steps_spec = {
    .name = "shmperf._hot.Steps",
    .basicsize = sizeof(Steps),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = steps_slots,
};
