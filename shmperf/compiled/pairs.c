/*
 * What is plain of calls begun and ended by hand, and of entering a block: `worker.api` and
 * `worker.block` do the rest, and the same where this is missing.
 */

#include "hot.h"

#include <stddef.h>

/* ---- blocks ------------------------------------------------------------------------------------ */

/* Of a tool that is known by this name; borrowed, NULL where Python has to look. */
static PyObject *tool_of(State *state, PyObject *name) {
    if (!PyUnicode_CheckExact(name)) return NULL;
    PyObject *tool = PyDict_GetItemWithError(state->tools, name);
    if (!tool) PyErr_Clear();
    return tool && Py_IS_TYPE(tool, state->tool_type) ? tool : NULL;
}

/* A call of *tool* that has not begun; 0, or -1 with an error. */
static int prepare(State *state, Steps *self, PyObject *tool, PyObject *kwargs) {
    uint64_t callee = PyLong_AsUnsignedLongLong(slot_of(tool, state->named_offset));
    if (PyErr_Occurred()) return -1;
    Py_XSETREF(self->tool, Py_NewRef(tool));
    Py_XSETREF(self->args, Py_NewRef(state->nothing));
    Py_XSETREF(self->kwargs, Py_NewRef(kwargs));
    Py_XSETREF(self->opened, Py_NewRef(Py_None));
    self->callee = callee;
    self->open.call_id = 0;
    return 0;
}

/* call(name, /, **params) */
int block_init(PyObject *object, PyObject *args, PyObject *kwargs) {
    Steps *self = (Steps *)object;
    State *state = state_of_steps(object);
    if (!state || !state->pure_block) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "nothing is known of blocks");
        return -1;
    }
    PyObject *tool = PyTuple_GET_SIZE(args) == 1 ? tool_of(state, PyTuple_GET_ITEM(args, 0)) : NULL;
    /* Begun before, it may hold what is still open. */
    if (tool && !self->tool) {
        PyObject *own = kwargs && Py_REFCNT(kwargs) == 1 ? Py_NewRef(kwargs)
                        : kwargs ? PyDict_Copy(kwargs)
                                 : PyDict_New();
        int done = own ? prepare(state, self, tool, own) : -1;
        Py_XDECREF(own);
        if (!done) return 0;
        PyErr_Clear();
    }
    PyObject *all = PyTuple_New(PyTuple_GET_SIZE(args) + 1);
    if (!all) return -1;
    PyTuple_SET_ITEM(all, 0, Py_NewRef(object));
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(args); at++)
        PyTuple_SET_ITEM(all, at + 1, Py_NewRef(PyTuple_GET_ITEM(args, at)));
    PyObject *made = PyObject_Call(state->pure_block, all, kwargs);
    Py_DECREF(all);
    Py_XDECREF(made);
    return made ? 0 : -1;
}

/* ---- pairs ------------------------------------------------------------------------------------- */

static void set_slot(PyObject *object, Py_ssize_t offset, PyObject *value) {
    PyObject **slot = (PyObject **)((char *)object + offset);
    Py_XSETREF(*slot, Py_NewRef(value));
}

/* As `context.Pair` makes itself, for the call that has this *open* in it. */
PyObject *pair_of(State *state, Open *open, PyObject *id) {
    PyObject *pair;
    if (!PyLong_CheckExact(open->outer))
        pair = PyObject_CallFunctionObjArgs((PyObject *)state->pair_type, id, open->outer, NULL);
    else if ((pair = state->pair_type->tp_alloc(state->pair_type, 0))) {
        set_slot(pair, state->pair_id_offset, id);
        set_slot(pair, state->pair_outer_offset, open->outer);
        set_slot(pair, state->pair_is_open_offset, Py_True);
    }
    PyObject *started = (PyObject *)((char *)open - offsetof(Steps, open));
    if (pair) set_slot(started, state->pair_offset, pair);
    return pair;
}

static PyObject *hex_of(uint64_t id) {
    PyObject *text = PyUnicode_New(16, 127);
    if (!text) return NULL;
    Py_UCS1 *to = PyUnicode_1BYTE_DATA(text);
    for (int at = 15; at >= 0; at--, id >>= 4) to[at] = (Py_UCS1) "0123456789abcdef"[id & 15];
    return text;
}

/* Known by its id, which is given back; NULL with an error. */
static PyObject *announced(State *state, Steps *started) {
    PyObject *key = hex_of(started->open.call_id);
    POINT("pair-announce");
    if (key && PyDict_SetItem(state->pairs, key, (PyObject *)started)) Py_CLEAR(key);
    return key;
}

/* Struck: Python ends what has begun, and passes on what is the program's. */
static PyObject *given_up(State *state, Steps *started) {
    PyObject *error = raised();
    PyObject *id = PyObject_CallFunctionObjArgs(state->pair_gave_up, started, error, NULL);
    Py_DECREF(error);
    return id;
}

static PyObject *begun(State *state, Steps *started) {
    PyObject *entered = steps_begin(state, started);
    if (!entered) return given_up(state, started);
    Py_DECREF(entered);
    PyObject *id;
    /* Begun in Python, which makes no pair of it before this. */
    if (slot_of((PyObject *)started, state->pair_offset) == Py_None)
        id = PyObject_CallOneArg(state->pair_announced, (PyObject *)started);
    else if (started->open.row_object) id = announced(state, started);
    else return PyUnicode_New(0, 0); /* it is lost */
    return id ? id : given_up(state, started);
}

/*
 * begin_pair[tool, params]: see `worker.api.track_tool_call`. By an item, as behind a call a signal
 * handler could get in: nobody would know the id of what has begun.
 */
static PyObject *begin_pair(PyObject *self, PyObject *given) {
    State *state = PyType_GetModuleState(Py_TYPE(self));
    if (!state->started_type || !PyTuple_CheckExact(given) || PyTuple_GET_SIZE(given) != 2)
        return PyErr_Format(PyExc_TypeError, "a tool and its parameters");
    PyObject *params = PyTuple_GET_ITEM(given, 1);
    if (params == Py_None) params = state->no_params;
    PyObject *tool = tool_of(state, PyTuple_GET_ITEM(given, 0));
    PyObject *bound = tool ? slot_of(tool, state->bound_offset) : NULL;
    if (!bound || bound == Py_None || !PyDict_CheckExact(params))
        return PyObject_Call(state->pure_begin_pair, given, NULL);
    Steps *started = (Steps *)state->started_type->tp_alloc(state->started_type, 0);
    if (!started || prepare(state, started, tool, params)) {
        PyErr_Clear();
        Py_XDECREF(started);
        return PyObject_Call(state->pure_begin_pair, given, NULL);
    }
    set_slot((PyObject *)started, state->pair_offset, Py_None);
    PyObject *id = begun(state, started);
    Py_DECREF(started);
    return id;
}

static PyType_Slot begin_slots[] = {
    {Py_tp_doc, "Begins calls by hand."},
    {Py_tp_new, PyType_GenericNew},
    {Py_mp_subscript, begin_pair},
    {0, NULL},
};

PyType_Spec begin_spec = {
    .name = "shmperf._hot.Begin",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = begin_slots,
};

/* Taken and known in one step; a new reference, NULL where Python has to look. */
static Steps *taken(State *state, PyObject *id) {
    if (!PyUnicode_CheckExact(id)) return NULL;
    PyObject *started = PyDict_GetItemWithError(state->pairs, id);
    if (!started || !Py_IS_TYPE(started, state->started_type)) {
        PyErr_Clear();
        return NULL;
    }
    Py_INCREF(started);
    if (PyDict_DelItem(state->pairs, id)) {
        PyErr_Clear();
        Py_CLEAR(started);
    }
    return (Steps *)started;
}

/* end_pair(id, error, metadata): see `worker.api.end_tool_call`. */
PyObject *end_pair(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    State *state = PyModule_GetState(module);
    if (!state->started_type) return PyErr_Format(PyExc_RuntimeError, "nothing is known of pairs");
    int is_plain = count == 3 && args[1] == Py_None && args[2] == Py_None;
    Steps *started = is_plain ? taken(state, args[0]) : NULL;
    if (!started) return PyObject_Vectorcall(state->pure_end_pair, args, (size_t)count, NULL);
    POINT("pair-taken");
    PyObject *pair = slot_of((PyObject *)started, state->pair_offset);
    if (pair && Py_IS_TYPE(pair, state->pair_type))
        set_slot(pair, state->pair_is_open_offset, Py_False);
    PyObject *ended = steps_end(state, started);
    if (!ended) {
        /* Struck in its end: once more, as often as one likes. */
        PyObject *error = raised();
        ended = PyObject_CallFunctionObjArgs(state->pair_ended_again, started, error, NULL);
        Py_DECREF(error);
    }
    Py_DECREF(started);
    return ended;
}

/* Whether the call's own pair is current, and what was so before is a call's id. */
int is_own_pair(State *state, Steps *self, PyObject *now) {
    return Py_IS_TYPE((PyObject *)self, state->started_type)
           && now == slot_of((PyObject *)self, state->pair_offset)
           && PyLong_CheckExact(self->open.outer) && !PyDict_GET_SIZE(state->collecting);
}
