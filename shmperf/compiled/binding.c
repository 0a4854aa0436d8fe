/*
 * A tool's tuple, with the addresses behind it: session word, session, ready rows, words, buffer,
 * positions, shift. To Python it is the sequence of these; the memory is alive as long as they are.
 */

#include "hot.h"

static void *address_of(PyObject *view) {
    if (!PyMemoryView_Check(view)) {
        PyErr_SetString(PyExc_TypeError, "a binding is made of memoryviews");
        return NULL;
    }
    return PyMemoryView_GET_BUFFER(view)->buf;
}

static PyObject *binding_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    if (PyTuple_GET_SIZE(args) != 7 || (kwargs && PyDict_GET_SIZE(kwargs)))
        return PyErr_Format(PyExc_TypeError, "a binding is made of seven values");
    long long word = PyLong_AsLongLong(PyTuple_GET_ITEM(args, 0));
    long long shift = PyLong_AsLongLong(PyTuple_GET_ITEM(args, 6));
    if (PyErr_Occurred()) return NULL;
    const uint64_t *session = address_of(PyTuple_GET_ITEM(args, 1));
    uint64_t *words = session ? address_of(PyTuple_GET_ITEM(args, 3)) : NULL;
    char *slots = words ? address_of(PyTuple_GET_ITEM(args, 4)) : NULL;
    if (!slots) return NULL;
    PyObject *ready = PyTuple_GET_ITEM(args, 2), *positions = PyTuple_GET_ITEM(args, 5);
    if (!PyList_CheckExact(ready) || !PyIter_Check(positions))
        return PyErr_Format(PyExc_TypeError, "a binding has a list of rows and takes positions");
    Binding *self = (Binding *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->items = Py_NewRef(args);
    self->word = (uint64_t)word;
    self->fits_never = word < 0;
    self->shift = shift;
    self->session = session;
    self->words = words;
    self->slots = slots;
    self->session_view = (PyMemoryViewObject *)PyTuple_GET_ITEM(args, 1);
    self->words_view = (PyMemoryViewObject *)PyTuple_GET_ITEM(args, 3);
    self->ready = (PyListObject *)ready;
    self->positions = positions;
    return (PyObject *)self;
}

static int binding_traverse(Binding *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->items);
    return 0;
}

/* It is no part of a circle that its tuple alone would not break: nothing is cleared before. */
static void binding_dealloc(Binding *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->items);
    type->tp_free(self);
    Py_DECREF(type);
}

static Py_ssize_t binding_length(Binding *self) { return PyTuple_GET_SIZE(self->items); }

static PyObject *binding_item(Binding *self, Py_ssize_t at) {
    return PySequence_GetItem(self->items, at);
}

static PyObject *binding_subscript(Binding *self, PyObject *key) {
    return PyObject_GetItem(self->items, key);
}

static PyObject *binding_iter(Binding *self) { return PyObject_GetIter(self->items); }

static PyType_Slot binding_slots[] = {
    {Py_tp_doc, "What a tool's calls need to be recorded."},
    {Py_tp_new, binding_new},
    {Py_tp_dealloc, binding_dealloc},
    {Py_tp_traverse, binding_traverse},
    {Py_tp_iter, binding_iter},
    {Py_sq_length, binding_length},
    {Py_sq_item, binding_item},
    {Py_mp_subscript, binding_subscript},
    {0, NULL},
};

PyType_Spec binding_spec = {
    .name = "shmperf._hot.Binding",
    .basicsize = sizeof(Binding),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = binding_slots,
};
