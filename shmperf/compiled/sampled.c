/*
 * A call of a sampled tool: no row, no slot, no parameters, and counted where it ends (see
 * `worker.sampler`). One that is chosen goes through its second wrapper.
 */

#include "hot.h"

/* What stands in the tool's tuple; references are borrowed, the tuple is held. */
typedef struct {
    PyObject *tuple, *numbers, *sampler, *outer;
    uint64_t *counter;
    uint64_t slow_ns;
} Counted;

/* How far a call has come, as `hotpath` names it. */
enum { RAISED = -1, RETURNED = -2 };

int packed(PyObject **tuple, PyObject **dict, PyObject *const *args, size_t flags, PyObject *kwnames) {
    Py_ssize_t count = PyVectorcall_NARGS(flags), named = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    *tuple = PyTuple_New(count);
    *dict = PyDict_New();
    if (!*tuple || !*dict) return -1;
    for (Py_ssize_t at = 0; at < count; at++) PyTuple_SET_ITEM(*tuple, at, Py_NewRef(args[at]));
    for (Py_ssize_t at = 0; at < named; at++)
        if (PyDict_SetItem(*dict, PyTuple_GET_ITEM(kwnames, at), args[count + at])) return -1;
    return 0;
}

static inline int is_gone(PyObject *view) {
    return ((PyMemoryViewObject *)view)->flags & _Py_MEMORYVIEW_RELEASED;
}

/* 1 when the call goes by here, 0 when it is rare. */
static inline int is_counted(State *state, PyObject *tuple, Counted *found) {
    PyObject *session = PyTuple_GET_ITEM(tuple, 1), *counts = PyTuple_GET_ITEM(tuple, 2);
    long long word = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, 0));
    if (word < 0 || is_gone(session) || is_gone(counts)) return 0;
    if (*(uint64_t *)PyMemoryView_GET_BUFFER(session)->buf != (uint64_t)word) return 0;
#if PY_VERSION_HEX < 0x030c0000
    if (PyDict_GET_SIZE(state->collecting)) return 0;
#endif
    found->tuple = tuple;
    found->counter = (uint64_t *)PyMemoryView_GET_BUFFER(counts)->buf
                     + PyLong_AsSize_t(PyTuple_GET_ITEM(tuple, 3));
    found->numbers = PyTuple_GET_ITEM(tuple, 4);
    found->slow_ns = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(tuple, 5));
    found->sampler = PyTuple_GET_ITEM(tuple, 6);
    return 1;
}

/* One more has ended, unless its counter is no more this process's. */
static inline void count(State *state, Counted *counted) {
    int is_ours = slot_of(counted->sampler, state->sampled_offset) == counted->tuple
                  || slot_of(counted->sampler, state->ended_offset) == counted->numbers;
    if (!is_ours || is_gone(PyTuple_GET_ITEM(counted->tuple, 2))) return;
    POINT("count-take");
    PyObject *number = Py_TYPE(counted->numbers)->tp_iternext(counted->numbers);
    if (!number) {
        PyErr_Clear();
        return;
    }
    POINT("count-store");
    __atomic_store_n(counted->counter, PyLong_AsUnsignedLongLong(number), __ATOMIC_RELEASE);
    POINT("count-stored");
    Py_DECREF(number);
}

static inline int set_current(State *state, PyObject *value) {
    PyObject *token = PyContextVar_Set(state->current, value);
    Py_XDECREF(token);
    return token ? 0 : -1;
}

/* It failed, or was slow: it is recorded all the same, by Python. */
static int record(State *state, Fast *fast, Counted *counted, int stage, uint64_t start_ns,
                  PyObject *error, PyObject *tuple, PyObject *dict) {
    PyObject *entry = Py_BuildValue("[OOOO(iOK)(OO)]", Py_None, error ? error : Py_None,
                                    fast->wrapped, counted->tuple, stage, counted->outer,
                                    (unsigned long long)start_ns, tuple, dict);
    if (!entry) PyErr_Clear();
    int done = entry ? take_up(state, entry, counted->outer) : 1;
    Py_XDECREF(entry);
    if (done != 1) return done;
    count(state, counted);
    return set_current(state, counted->outer);
}

static PyObject *ended(State *state, Fast *fast, Counted *counted, uint64_t start_ns,
                       PyObject *result, PyObject *const *args, size_t flags, PyObject *kwnames) {
    int is_slow = counted->slow_ns && now_ns() - start_ns > counted->slow_ns, struck = 0;
    if (result && !is_slow) {
        count(state, counted);
        if (PyLong_AsUnsignedLongLong(counted->outer)) struck = set_current(state, counted->outer);
        if (struck) PyErr_Clear();
        return result;
    }
    PyObject *error = result ? NULL : raised(), *tuple, *dict;
    if (packed(&tuple, &dict, args, flags, kwnames) == 0)
        struck = record(state, fast, counted, result ? RETURNED : RAISED, start_ns, error, tuple, dict);
    else {
        PyErr_Clear();
        count(state, counted);
    }
    Py_XDECREF(tuple);
    Py_XDECREF(dict);
    if (struck) {
        Py_XDECREF(error);
        Py_CLEAR(result);
    }
    else if (error) raise_again(error);
    return result;
}

/* The next one is recorded; by what, Python says. */
static PyObject *call_chosen(State *state, Fast *fast, PyObject *sampler, PyObject *const *args,
                             size_t flags, PyObject *kwnames) {
    PyObject *way = PyObject_CallFunctionObjArgs(state->chosen, fast->wrapped, sampler, NULL);
    if (!way) return NULL;
    PyObject *result = PyObject_Vectorcall(way, args, flags, kwnames);
    Py_DECREF(way);
    return result;
}

static int is_passed_over(State *state, PyObject *sampler) {
    PyObject *choice = slot_of(sampler, state->choice_offset);
    PyObject *next = choice ? Py_TYPE(choice)->tp_iternext(choice) : NULL;
    if (!next) {
        PyErr_Clear();
        return 0;
    }
    Py_DECREF(next);
    return 1;
}

static PyObject *call_held(State *state, Fast *fast, PyObject *sampled, PyObject *const *args,
                           size_t flags, PyObject *kwnames) {
    Counted counted;
    if (!is_counted(state, sampled, &counted)) return call_elsewhere(fast, args, flags, kwnames);
    if (PyContextVar_Get(state->current, NULL, &counted.outer)) return NULL;
    uint64_t outer = 0;
    int is_call = PyLong_CheckExact(counted.outer);
    if (is_call) outer = PyLong_AsUnsignedLongLong(counted.outer);
    if (!is_call || PyErr_Occurred()) {
        PyErr_Clear();
        Py_DECREF(counted.outer);
        return call_elsewhere(fast, args, flags, kwnames);
    }
    if (!is_passed_over(state, counted.sampler)) {
        Py_DECREF(counted.outer);
        return call_chosen(state, fast, counted.sampler, args, flags, kwnames);
    }
    if (outer && outer < FIRST_REMOTE) {
        PyObject *none = PyLong_FromLong(0);
        if (!none || set_current(state, none)) PyErr_Clear();
        Py_XDECREF(none);
    }
    uint64_t start_ns = counted.slow_ns ? now_ns() : 0;
    PyObject *result = call_function(fast, args, flags, kwnames);
    result = ended(state, fast, &counted, start_ns, result, args, flags, kwnames);
    Py_DECREF(counted.outer);
    return result;
}

/* By the tool's tuple, which is another one as soon as somebody else binds it anew. */
PyObject *call_sampled(State *state, Fast *fast, PyObject *sampled, PyObject *const *args,
                       size_t flags, PyObject *kwnames) {
    Py_INCREF(sampled);
    PyObject *result = call_held(state, fast, sampled, args, flags, kwnames);
    Py_DECREF(sampled);
    return result;
}
