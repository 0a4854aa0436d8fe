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
 * 3.11 asks the system at each question which process this is. What a thread notes its loop by says
 * the same, and of the process that it runs in speaks the list of rows. Its type has no name outside
 * of `_asyncio`: that it holds the loop where it is looked for is seen once.
 */
typedef struct {
    PyObject_HEAD
    PyObject *loop;
    pid_t pid;
} LoopNote;

/* Borrowed. */
static LoopNote *loop_noted(State *state) {
    PyObject *dict = PyThreadState_GetDict();
    PyObject *noted = dict ? PyDict_GetItemWithError(dict, state->loop_key) : NULL;
    PyErr_Clear();
    return (LoopNote *)noted;
}

static int is_known_to_run(State *state, Binding *bound) {
    if ((PyObject *)bound->ready != state->loop_ready) return 0;
    LoopNote *noted = loop_noted(state);
    return noted && Py_IS_TYPE(noted, state->loop_note_type) && noted->loop != Py_None;
}

static void know_it_runs(State *state, Binding *bound, PyObject *loop) {
    LoopNote *noted = loop_noted(state);
    if (!noted || Py_TYPE(noted)->tp_basicsize != sizeof(LoopNote) || noted->loop != loop) return;
    Py_XSETREF(state->loop_note_type, (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(noted)));
    Py_XSETREF(state->loop_ready, Py_NewRef((PyObject *)bound->ready));
}

#else

static int is_known_to_run(State *state, Binding *bound) { return 0; }
static void know_it_runs(State *state, Binding *bound, PyObject *loop) {}

#endif

static int is_in_loop(State *state, Binding *bound) {
    if (!state->running_loop) return 0;
    if (is_known_to_run(state, bound)) return 1;
    PyObject *loop = PyObject_CallNoArgs(state->running_loop);
    int is_running = loop && loop != Py_None;
    if (is_running) know_it_runs(state, bound, loop);
    Py_XDECREF(loop);
    return is_running;
}

/* --- its begin ------------------------------------------------------------------------------------ */

/* What is called by now, in detail if that is asked for; what it is begun by is held meanwhile. */
static int begin_held(Awaited *self, Binding *bound) {
    State *state = self->state;
    uint64_t callee = self->fast->callee;
    if (fits(state, bound)) return begin_call(state, &self->open, bound, callee, 1, 0, NULL);
    PyObject *tool;
    Binding *detailed = detailed_now(state, self->fast, &tool);
    if (!detailed) return 0;
    /* It awaits: the thread's time is not its own. */
    Steps *call = self->detail = detailed_call(state, tool, callee, &self->captured, 0);
    int begun = 0;
    if (call) begun = begin_call(state, &call->open, detailed, callee | IN_DETAIL, 1, 0, NULL);
    if (begun == 1) expect_metadata(state, call);
    if (call) self->open.call_id = call->open.call_id;
    Py_DECREF(tool);
    Py_DECREF(detailed);
    return begun;
}

/* The call, which is current; NULL where it has to go another way, or with an error. */
static Awaited *begun_awaited(State *state, Fast *fast, Binding *bound, PyObject *args,
                              PyObject *kwargs) {
    if (!is_in_loop(state, bound)) return NULL;
    Awaited *self = (Awaited *)state->awaited_type->tp_alloc(state->awaited_type, 0);
    if (!self) {
        PyErr_Clear(); /* no memory */
        return NULL;
    }
    self->state = state;
    self->fast = (Fast *)Py_NewRef((PyObject *)fast);
    int skip = fast->skip && PyTuple_GET_SIZE(args);
    int begun = capture_packed(&self->captured, args, kwargs, skip);
    if (begun) begun = begin_held(self, bound);
    if (begun == 1) return self;
    PyObject *error = begun < 0 ? raised() : NULL;
    if (open_of(self)->row_object) lose(state, open_of(self));
    Py_DECREF(self);
    if (error && is_the_programs(state, error)) raise_again(error);
    else Py_XDECREF(error);
    return NULL;
}

/* begin(args, kwargs) of a `Fast`: the call, which is current from here on; None where it has to go
   another way. */
PyObject *begin_awaited(PyObject *self_fast, PyObject *const *given, Py_ssize_t count) {
    Fast *fast = (Fast *)self_fast;
    if (count != 2 || !PyTuple_CheckExact(given[0]) || !PyDict_CheckExact(given[1]))
        return PyErr_Format(PyExc_TypeError, "begin(args, kwargs)");
    Binding *bound = bound_now(fast->state, fast);
    if (!bound) Py_RETURN_NONE;
    Py_INCREF(bound);
    Awaited *begun = begun_awaited(fast->state, fast, bound, given[0], given[1]);
    Py_DECREF(bound);
    if (begun) return (PyObject *)begun;
    if (PyErr_Occurred()) return NULL;
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
