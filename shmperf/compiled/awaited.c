/*
 * A call of a coroutine function, between the begin and the end that its wrapper asks for.
 *
 * Whatever strikes the wrapper between its lines: a call that is let go without an end ends then.
 */

#include "hot.h"

#include <stddef.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD
    State *state;
    Fast *fast;
    /* In detail, the call; else NULL, and it is this. */
    Steps *detail;
    Open open;
    Captured captured;
} Awaited;

static Open *open_of(Awaited *self) { return self->detail ? &self->detail->open : &self->open; }

/* What is current once the call has ended is no more what was so before, where it ends in another
   context: that one stays as it is. */
static void look_outside(Awaited *self) {
    Open *open = open_of(self);
    PyObject *id = PyLong_FromUnsignedLongLong(open->call_id), *outer = NULL;
    if (id) outer = PyObject_CallFunctionObjArgs(self->state->outer_now, open->outer, id, NULL);
    Py_XDECREF(id);
    if (outer) Py_SETREF(open->outer, outer);
    else PyErr_Clear();
    Py_CLEAR(open->token);
}

/* It is ended by Python: *error* is what it failed with, NULL where it has returned. */
static int end_by_python(Awaited *self, int64_t end_ns, PyObject *error) {
    look_outside(self);
    if (self->detail) return detail_failed(self->state, self->fast, self->detail, error);
    return leave_call(self->state, &self->open, &self->captured, self->fast->wrapped, end_ns, error);
}

static PyObject *awaited_returned(Awaited *self, PyObject *result) {
    if (!open_of(self)->row_object) return Py_NewRef(result);
    State *state = self->state;
    if (self->detail)
        return detail_returned(state, self->fast, self->detail) ? NULL : Py_NewRef(result);
    POINT("awaited-call-returned");
    uint64_t end_ns = now_ns();
    if (is_stored(state, self->fast, &self->open, &self->captured, end_ns)) {
        POINT("awaited-context-restore");
        if (leave_context(state, &self->open)) PyErr_Clear();
        free_row(&self->open);
        forget_call(&self->open);
        POINT("awaited-call-done");
        return Py_NewRef(result);
    }
    return end_by_python(self, (int64_t)end_ns, NULL) ? NULL : Py_NewRef(result);
}

static PyObject *awaited_failed(Awaited *self, PyObject *error) {
    if (open_of(self)->row_object && end_by_python(self, -1, error)) return NULL;
    Py_RETURN_NONE;
}

static void awaited_finalize(PyObject *object) {
    Awaited *self = (Awaited *)object;
    if (!open_of(self)->row_object) return;
    PyObject *error = PyErr_Occurred() ? raised() : NULL;
    if (end_by_python(self, error ? -1 : (int64_t)now_ns(), error)) PyErr_Clear();
    if (error) raise_again(error);
}

static void awaited_dealloc(Awaited *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (open_of(self)->row_object && PyObject_CallFinalizerFromDealloc((PyObject *)self)) return;
    PyObject_GC_UnTrack(self);
    forget_call(&self->open);
    Py_XDECREF(self->detail);
    Py_XDECREF(self->fast);
    type->tp_free(self);
    Py_DECREF(type);
}

static int awaited_traverse(Awaited *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->fast);
    Py_VISIT(self->detail);
    Py_VISIT(self->open.bound);
    Py_VISIT(self->open.outer);
    Py_VISIT(self->open.token);
    Py_VISIT(self->open.struck);
    return 0;
}

/* --- whether a loop runs --------------------------------------------------------------------------- */

#if PY_VERSION_HEX < 0x030c0000

/*
 * 3.11 asks the system at each question which process this is. What a thread notes its loop by is an
 * object that is made as a loop begins to run, and again as it stops: as long as that is the same,
 * in a process that has the same rows, so is the answer.
 */
static PyObject *loop_noted(State *state) {
    PyObject *dict = PyThreadState_GetDict();
    PyObject *noted = dict ? PyDict_GetItemWithError(dict, state->loop_key) : NULL;
    PyErr_Clear();
    return noted;
}

static int is_known_to_run(State *state, Binding *bound) {
    PyObject *noted = loop_noted(state);
    return noted && noted == state->loop_noted && (PyObject *)bound->ready == state->loop_ready;
}

static void know_it_runs(State *state, Binding *bound) {
    PyObject *noted = loop_noted(state);
    Py_XSETREF(state->loop_noted, Py_XNewRef(noted));
    Py_XSETREF(state->loop_ready, Py_NewRef((PyObject *)bound->ready));
}

#else

static int is_known_to_run(State *state, Binding *bound) { return 0; }
static void know_it_runs(State *state, Binding *bound) {}

#endif

static int is_in_loop(State *state, Binding *bound) {
    if (!state->running_loop) return 0;
    if (is_known_to_run(state, bound)) return 1;
    PyObject *loop = PyObject_CallNoArgs(state->running_loop);
    Py_XDECREF(loop);
    if (!loop || loop == Py_None) return 0;
    know_it_runs(state, bound);
    return 1;
}

/* --- its begin ------------------------------------------------------------------------------------ */

static int begin_in_detail(Awaited *self, Binding *bound) {
    State *state = self->state;
    /* It awaits: the thread's time is not its own. */
    Steps *call = self->detail = detailed_call(state, self->fast, &self->captured, 0);
    if (!call) return 0;
    int begun = begin_call(state, &call->open, bound, call->callee | IN_DETAIL, 1, 0, NULL);
    if (begun == 1) expect_metadata(state, call);
    self->open.call_id = call->open.call_id;
    return begun;
}

/* begin(args, kwargs) of a `Fast`: the call, which is current from here on; None where it has to go
   another way. */
PyObject *begin_awaited(PyObject *self_fast, PyObject *const *given, Py_ssize_t count) {
    Fast *fast = (Fast *)self_fast;
    State *state = fast->state;
    if (count != 2 || !PyTuple_CheckExact(given[0]) || !PyDict_CheckExact(given[1]))
        return PyErr_Format(PyExc_TypeError, "begin(args, kwargs)");
    Binding *bound = bound_now(state, fast);
    Binding *detailed = NULL;
    if (!bound || (!fits(state, bound) && !(detailed = detailed_now(state, fast)))) Py_RETURN_NONE;
    Awaited *self = NULL;
    if (is_in_loop(state, bound)) self = (Awaited *)state->awaited_type->tp_alloc(state->awaited_type, 0);
    if (!self) {
        PyErr_Clear(); /* no memory */
        Py_RETURN_NONE;
    }
    self->state = state;
    self->fast = (Fast *)Py_NewRef((PyObject *)fast);
    int skip = fast->skip && PyTuple_GET_SIZE(given[0]);
    int begun = capture_packed(&self->captured, given[0], given[1], skip);
    if (begun && detailed) begun = begin_in_detail(self, detailed);
    else if (begun) begun = begin_call(state, &self->open, bound, fast->callee, 1, 0, NULL);
    if (begun == 1) return (PyObject *)self;
    PyObject *error = begun < 0 ? raised() : NULL;
    if (open_of(self)->row_object) lose(state, open_of(self));
    Py_DECREF(self);
    if (error && is_the_programs(state, error)) {
        raise_again(error);
        return NULL;
    }
    Py_XDECREF(error);
    Py_RETURN_NONE;
}

static PyMemberDef awaited_members[] = {
    {"call_id", T_ULONGLONG, offsetof(Awaited, open.call_id), READONLY, "Its id."},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef awaited_methods[] = {
    {"returned", (PyCFunction)awaited_returned, METH_O, "End the call, and return its result."},
    {"failed", (PyCFunction)awaited_failed, METH_O, "End the call, which has raised."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot awaited_slots[] = {
    {Py_tp_doc, "A call of a coroutine function that is open."},
    {Py_tp_dealloc, awaited_dealloc},
    {Py_tp_finalize, awaited_finalize},
    {Py_tp_traverse, awaited_traverse},
    {Py_tp_methods, awaited_methods},
    {Py_tp_members, awaited_members},
    {0, NULL},
};

PyType_Spec awaited_spec = {
    .name = "shmperf._hot.Awaited",
    .basicsize = sizeof(Awaited),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = awaited_slots,
};
