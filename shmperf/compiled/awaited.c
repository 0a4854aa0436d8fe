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
    Open open;
    Captured captured;
} Awaited;

/* What is current once the call has ended; where it ends in another context, that stays as it is. */
static PyObject *outer_now(Awaited *self) {
    PyObject *id = PyLong_FromUnsignedLongLong(self->open.call_id), *outer = NULL;
    if (id)
        outer = PyObject_CallFunctionObjArgs(self->state->outer_now, self->open.outer, id, NULL);
    Py_XDECREF(id);
    return outer;
}

/* It is ended by Python: *error* is what it failed with, NULL where it has returned. */
static int end_by_python(Awaited *self, int64_t end_ns, PyObject *error) {
    PyObject *outer = outer_now(self);
    if (outer) Py_SETREF(self->open.outer, outer);
    else PyErr_Clear();
    Py_CLEAR(self->open.token);
    return leave_call(self->state, &self->open, &self->captured, self->fast->wrapped, end_ns, error);
}

static PyObject *awaited_returned(Awaited *self, PyObject *result) {
    if (!self->open.row_object) return Py_NewRef(result);
    State *state = self->state;
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
    if (self->open.row_object && end_by_python(self, -1, error)) return NULL;
    Py_RETURN_NONE;
}

static void awaited_finalize(PyObject *object) {
    Awaited *self = (Awaited *)object;
    if (!self->open.row_object) return;
    PyObject *error = PyErr_Occurred() ? raised() : NULL;
    if (end_by_python(self, error ? -1 : (int64_t)now_ns(), error)) PyErr_Clear();
    if (error) raise_again(error);
}

static void awaited_dealloc(Awaited *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (PyObject_CallFinalizerFromDealloc((PyObject *)self)) return;
    PyObject_GC_UnTrack(self);
    forget_call(&self->open);
    Py_XDECREF(self->fast);
    type->tp_free(self);
    Py_DECREF(type);
}

static int awaited_traverse(Awaited *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->fast);
    Py_VISIT(self->open.bound);
    Py_VISIT(self->open.outer);
    Py_VISIT(self->open.token);
    Py_VISIT(self->open.struck);
    return 0;
}

/* begin(args, kwargs) of a `Fast`: the call, which is current from here on; None where it has to go
   another way. */
PyObject *begin_awaited(PyObject *self_fast, PyObject *const *given, Py_ssize_t count) {
    Fast *fast = (Fast *)self_fast;
    State *state = fast->state;
    if (count != 2 || !PyTuple_CheckExact(given[0]) || !PyDict_CheckExact(given[1]))
        return PyErr_Format(PyExc_TypeError, "begin(args, kwargs)");
    Binding *bound = bound_now(state, fast);
    if (!bound || !fits(state, bound) || !state->running_loop) Py_RETURN_NONE;
    PyObject *loop = PyObject_CallNoArgs(state->running_loop);
    Py_XDECREF(loop);
    int is_in_loop = loop && loop != Py_None;
    Awaited *self = NULL;
    if (is_in_loop) self = (Awaited *)state->awaited_type->tp_alloc(state->awaited_type, 0);
    if (!self) {
        PyErr_Clear(); /* no memory */
        Py_RETURN_NONE;
    }
    self->state = state;
    self->fast = (Fast *)Py_NewRef((PyObject *)fast);
    int skip = fast->skip && PyTuple_GET_SIZE(given[0]);
    int begun = capture_packed(&self->captured, given[0], given[1], skip);
    if (begun) begun = begin_call(state, &self->open, bound, fast->callee, 1, 0, NULL);
    if (begun == 1) return (PyObject *)self;
    PyObject *error = begun < 0 ? raised() : NULL;
    if (self->open.row_object) lose(state, &self->open);
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
