/*
 * A tracked function: what its calls need, and the way into C.
 *
 * From 3.12 on a wrapper stays the function that it is, with its body in Python, and is entered
 * here when it is called. Whatever is rare goes on in that body. 3.11 enters no function but by its
 * body, so there a function of one line, its entrance, calls the `Fast` in its place.
 */

#include "hot.h"

#include <stddef.h>
#include <structmember.h>

/*
 * Calls of C within calls of C. Of these the interpreter, or the stack, takes so many and no more,
 * where calls of Python within calls of Python are free of both, or need less of it. So deep down the
 * wrapper is, until that call has returned, what it is without us: its body in Python.
 */
enum { DEEPEST = 100 };
static _Thread_local int depth;

#if PY_VERSION_HEX >= 0x030c0000

static PyObject *call_boosted(PyObject *, PyObject *const *, size_t, PyObject *);

static PyObject *call_deep(Fast *fast, PyObject *const *args, size_t flags, PyObject *kwnames) {
    PyFunctionObject *pure = (PyFunctionObject *)Py_NewRef(fast->pure);
    PyFunction_SetVectorcall(pure, fast->pure_call);
    PyObject *result = fast->pure_call((PyObject *)pure, args, flags, kwnames);
    PyFunction_SetVectorcall(pure, call_boosted);
    Py_DECREF(pure);
    return result;
}

#else

/* The entrance has the body of *function*. Nobody is between a function's call and its first
   instruction, which copies the closure. */
static void take_body(PyFunctionObject *entrance, PyFunctionObject *function) {
    Py_SETREF(entrance->func_closure, Py_NewRef(function->func_closure));
    Py_SETREF(entrance->func_code, Py_NewRef(function->func_code));
    entrance->func_version = 0; /* what callers know of it is of another body */
}

static PyObject *call_deep(Fast *fast, PyObject *const *args, size_t flags, PyObject *kwnames) {
    PyFunctionObject *entrance = (PyFunctionObject *)fast->entrance;
    PyFunctionObject *pure = (PyFunctionObject *)fast->pure;
    if (!entrance || entrance->func_code == pure->func_code)
        return PyObject_Vectorcall(fast->pure, args, flags, kwnames);
    PyFunctionObject kept = {.func_code = Py_NewRef(entrance->func_code),
                             .func_closure = Py_NewRef(entrance->func_closure)};
    Py_INCREF(entrance);
    Py_INCREF(pure);
    take_body(entrance, pure);
    PyObject *result = PyObject_Vectorcall((PyObject *)pure, args, flags, kwnames);
    take_body(entrance, &kept);
    Py_DECREF(pure);
    Py_DECREF(entrance);
    Py_DECREF(kept.func_closure);
    Py_DECREF(kept.func_code);
    return result;
}

#endif

/* A call of Python in which calls of C may be. */
static PyObject *call_below(PyObject *callable, PyObject *const *args, size_t flags,
                            PyObject *kwnames) {
    depth++;
    PyObject *result = PyObject_Vectorcall(callable, args, flags, kwnames);
    depth--;
    return result;
}

PyObject *call_function(Fast *fast, PyObject *const *args, size_t flags, PyObject *kwnames) {
    return call_below(fast->function, args, flags, kwnames);
}

int is_stored(State *state, Fast *fast, Open *open, const Captured *captured, uint64_t end_ns) {
    PyObject *tool = slot_of(fast->wrapped, state->tool_offset);
    uint64_t position;
    for (int refills = 0;; refills++) {
        if (!follows(state, open, (PyObject *)bound_now(state, fast))) return 0;
        if (store_call(state, open, captured, fast->callee, end_ns, tool, &position)) return 1;
        if (refills || !refilled(state, open, tool, end_ns)) return 0;
    }
}

/* The function has returned: its record is stored here, or by Python. */
static inline int ended(State *state, Fast *fast, Open *open, const Captured *captured) {
    POINT("call-returned");
    uint64_t end_ns = now_ns();
    if (is_stored(state, fast, open, captured, end_ns)) {
        if (restore_context(state, open)) PyErr_Clear();
        free_row(open);
        forget_call(open);
        POINT("call-done");
        return 0;
    }
    POINT("left-late");
    return leave_call(state, open, captured, fast->wrapped, (int64_t)end_ns, NULL);
}


static PyObject *failed(State *state, Fast *fast, Open *open, const Captured *captured) {
    PyObject *error = raised();
    POINT("left-raised");
    if (leave_call(state, open, captured, fast->wrapped, -1, error)) Py_DECREF(error);
    else raise_again(error);
    return NULL;
}

/* A failure of ours, or an interruption, as the call was to begin: unless that is the program's, the
   function is called all the same. */
PyObject *begun_in_vain(State *state, Fast *fast, Open *open, const Captured *captured,
                        PyObject *const *args, size_t flags, PyObject *kwnames) {
    PyObject *error = raised();
    if (!open->row_object && is_the_programs(state, error)) {
        raise_again(error);
        return NULL;
    }
    int has_begun = open->row_object != NULL, struck = 0;
    if (has_begun) struck = leave_call(state, open, captured, fast->wrapped, 0, error);
    Py_DECREF(error);
    if (struck) return NULL;
    if (has_begun) return call_function(fast, args, flags, kwnames);
    return call_elsewhere(fast, args, flags, kwnames);
}

/* Whether there was no memory to enter a function of ours at all, which is no error any more. */
static int is_unheard(State *state) {
    PyObject *error = raised();
    if (!error) return 1;
    PyObject *traceback = PyException_GetTraceback(error);
    int is_none = !traceback && Py_IS_TYPE(error, (PyTypeObject *)PyExc_MemoryError)
                  && !is_the_programs(state, error);
    Py_XDECREF(traceback);
    if (is_none) Py_DECREF(error);
    else raise_again(error);
    return is_none;
}

/* The long way, in Python; without memory for it, none. */
PyObject *call_elsewhere(Fast *fast, PyObject *const *args, size_t flags, PyObject *kwnames) {
    PyObject *tuple, *dict, *result = NULL;
    if (packed(&tuple, &dict, args, flags, kwnames) == 0) {
        PyObject *given[] = {fast->wrapped, tuple, dict};
        result = call_below(fast->state->detour, given, 3, NULL);
    }
    else PyErr_Clear();
    Py_XDECREF(tuple);
    Py_XDECREF(dict);
    if (result || !is_unheard(fast->state)) return result;
    return call_function(fast, args, flags, kwnames);
}

/* A tool that is not bound: it is sampled, or tracking is off. */
static PyObject *call_unbound(State *state, Fast *fast, PyObject *const *args, size_t flags,
                              PyObject *kwnames) {
    PyObject *reached = reached_now(state, fast);
    if (!reached || slot_of(reached, state->bound_offset) != Py_None)
        return call_elsewhere(fast, args, flags, kwnames);
    PyObject *sampled = slot_of(reached, state->sampled_offset);
    if (sampled && PyTuple_CheckExact(sampled) && PyTuple_GET_SIZE(sampled) == 7)
        return call_sampled(state, fast, sampled, args, flags, kwnames);
    return call_function(fast, args, flags, kwnames);
}

static PyObject *call_fast(PyObject *self, PyObject *const *args, size_t flags, PyObject *kwnames) {
    Fast *fast = (Fast *)self;
    State *state = fast->state;
    if (depth >= DEEPEST) return call_deep(fast, args, flags, kwnames);
    Binding *bound = bound_now(state, fast);
    if (!bound) return call_unbound(state, fast, args, flags, kwnames);
    if (!fits(state, bound)) return call_in_detail(fast, args, flags, kwnames);

    Captured captured;
    Py_ssize_t count = PyVectorcall_NARGS(flags), skip = fast->skip && count;
    const Given given = given_by(args, count, skip, kwnames);
    captured.low_meta = 0;
    if (given.count + given.named && !capture(&captured, &given))
        return call_elsewhere(fast, args, flags, kwnames);

    Open open;
    int begun = begin_call(state, &open, bound, fast->callee, 1, PyThread_get_thread_ident(), NULL);
    if (begun == 0) return call_elsewhere(fast, args, flags, kwnames);
    if (begun < 0) return begun_in_vain(state, fast, &open, &captured, args, flags, kwnames);
    PyObject *result = call_function(fast, args, flags, kwnames);
    if (!result) return failed(state, fast, &open, &captured);
    if (ended(state, fast, &open, &captured)) Py_CLEAR(result);
    return result;
}

/* --- the type ----------------------------------------------------------------------------------- */

static PyObject *fast_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *function, *cell, *wrapped, *pure;
    unsigned long long callee;
    int skip;
    if (kwargs && PyDict_GET_SIZE(kwargs))
        return PyErr_Format(PyExc_TypeError, "Fast takes no keyword arguments");
    if (!PyArg_ParseTuple(args, "OO!OO!Kp:Fast", &function, &PyCell_Type, &cell, &wrapped,
                          &PyFunction_Type, &pure, &callee, &skip))
        return NULL;
    Fast *self = (Fast *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->module = Py_XNewRef(PyType_GetModule(type));
    self->state = self->module ? PyModule_GetState(self->module) : NULL;
    self->function = Py_NewRef(function);
    self->cell = Py_NewRef(cell);
    self->wrapped = Py_NewRef(wrapped);
    self->pure = Py_NewRef(pure);
    self->pure_call = ((PyFunctionObject *)pure)->vectorcall;
    self->callee = callee;
    self->skip = skip;
    self->vectorcall = call_fast;
    if (!self->state || !self->state->current) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, "nothing is adopted");
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int fast_traverse(Fast *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->module);
    Py_VISIT(self->function);
    Py_VISIT(self->cell);
    Py_VISIT(self->wrapped);
    Py_VISIT(self->pure);
    Py_VISIT(self->entrance);
    return 0;
}

/* Of its circle the function, the cell and what is wrapped are cleared, which is enough: it can be
   called as long as it is there. */
static void fast_dealloc(Fast *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->function);
    Py_XDECREF(self->cell);
    Py_XDECREF(self->wrapped);
    Py_XDECREF(self->pure);
    Py_XDECREF(self->entrance);
    Py_XDECREF(self->module);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef fast_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Fast, vectorcall), READONLY, NULL},
    {"wrapped", T_OBJECT, offsetof(Fast, wrapped), READONLY, "What it records the calls of."},
    {"pure", T_OBJECT, offsetof(Fast, pure), READONLY, "The same in Python."},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef fast_methods[] = {
    {"begin", (PyCFunction)(void (*)(void))begin_awaited, METH_FASTCALL,
     "Begin a call of a coroutine function; None where it goes another way."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot fast_slots[] = {
    {Py_tp_doc, "A tracked function's calls."},
    {Py_tp_new, fast_new},
    {Py_tp_dealloc, fast_dealloc},
    {Py_tp_traverse, fast_traverse},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_members, fast_members},
    {Py_tp_methods, fast_methods},
    {0, NULL},
};

PyType_Spec fast_spec = {
    .name = "shmperf._hot.Fast",
    .basicsize = sizeof(Fast),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = fast_slots,
};

/* --- the function that stays one ---------------------------------------------------------------- */

#if PY_VERSION_HEX >= 0x030c0000

/* Where a wrapper's closure has what is wrapped, and that its `Fast`: facts of the Python code, the
   same in every interpreter of the process. */
static Py_ssize_t wrapped_index = -1, fast_offset = -1;

static inline PyObject *fast_of(PyObject *function) {
    PyObject *closure = ((PyFunctionObject *)function)->func_closure;
    PyObject *wrapped = closure ? PyCell_GET(PyTuple_GET_ITEM(closure, wrapped_index)) : NULL;
    return wrapped ? slot_of(wrapped, fast_offset) : NULL;
}

static PyObject *call_boosted(PyObject *self, PyObject *const *args, size_t flags, PyObject *kwnames) {
    PyObject *fast = fast_of(self);
    if (fast) return call_fast(fast, args, flags, kwnames);
    PyErr_SetString(PyExc_RuntimeError, "a function that is being taken down was called");
    return NULL;
}

/* Whether the closure of *function* has a `Fast` at that place of its *index*th cell. */
static int is_where(PyObject *function, Py_ssize_t index, Py_ssize_t offset, PyTypeObject *type) {
    PyObject *closure = ((PyFunctionObject *)function)->func_closure;
    if (!closure || index < 0 || index >= PyTuple_GET_SIZE(closure)) return 0;
    PyObject *wrapped = PyCell_GET(PyTuple_GET_ITEM(closure, index));
    if (!wrapped || Py_TYPE(wrapped)->tp_basicsize < offset + (Py_ssize_t)sizeof(PyObject *))
        return 0;
    PyObject *fast = slot_of(wrapped, offset);
    return fast && Py_IS_TYPE(fast, type);
}

PyObject *boost(PyObject *module, PyObject *args) {
    State *state = PyModule_GetState(module);
    PyObject *function;
    Py_ssize_t index;
    if (!PyArg_ParseTuple(args, "O!n:boost", &PyFunction_Type, &function, &index)) return NULL;
    if (!is_where(function, index, state->fast_offset, state->fast_type))
        return PyErr_Format(PyExc_ValueError, "its closure has no Fast there");
    wrapped_index = index;
    fast_offset = state->fast_offset;
    PyFunction_SetVectorcall((PyFunctionObject *)function, call_boosted);
    Py_RETURN_NONE;
}

#else

PyObject *boost(PyObject *module, PyObject *args) {
    State *state = PyModule_GetState(module);
    PyObject *function;
    Py_ssize_t index;
    if (!PyArg_ParseTuple(args, "O!n:boost", &PyFunction_Type, &function, &index)) return NULL;
    PyObject *closure = ((PyFunctionObject *)function)->func_closure;
    int is_there = closure && index >= 0 && index < PyTuple_GET_SIZE(closure);
    PyObject *fast = is_there ? PyCell_GET(PyTuple_GET_ITEM(closure, index)) : NULL;
    if (!fast || !Py_IS_TYPE(fast, state->fast_type))
        return PyErr_Format(PyExc_ValueError, "its closure has no Fast there");
    Py_XSETREF(((Fast *)fast)->entrance, Py_NewRef(function));
    Py_RETURN_NONE;
}

#endif
