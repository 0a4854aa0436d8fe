/* The collector's part of the module: its types, and what it knows of the Python side. */

#include "hot.h"

#include <structmember.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static const char *const call_fields[CALL_FIELDS] = {
    "tool", "id", "pid", "parent", "start_ns", "duration_ns", "status", "params", "truncated",
    "err", "detail", "message", "fingerprint", "where", "trace", "remote",
};

/* Each field of a struct is a slot, and its descriptor knows where. */
PyObject *adopt_call(PyObject *module, PyObject *type) {
    DrainState *state = &((State *)PyModule_GetState(module))->drain;
    if (!PyType_Check(type)) return PyErr_Format(PyExc_TypeError, "a class");
    for (int field = 0; field < CALL_FIELDS; field++) {
        PyObject *member = PyObject_GetAttrString(type, call_fields[field]);
        if (!member) return NULL;
        int is_slot = Py_IS_TYPE(member, &PyMemberDescr_Type);
        if (is_slot) state->call_offsets[field] = ((PyMemberDescrObject *)member)->d_member->offset;
        Py_DECREF(member);
        if (!is_slot) return PyErr_Format(PyExc_TypeError, "%s is no slot", call_fields[field]);
    }
    Py_XSETREF(state->call_type, Py_NewRef(type));
    Py_RETURN_NONE;
}

int drain_run(PyObject *module, DrainState *state) {
    if (!(state->batch_type = added_type(module, &batch_spec))) return -1;
    if (!(state->kept_type = added_type(module, &kept_spec))) return -1;
    if (!(state->children_type = added_type(module, &children_spec))) return -1;
    return 0;
}

/* Only who drains needs arrays: a program that is recorded does not wait for their module. */
int has_arrays(DrainState *state) {
    if (state->array_type) return 1;
    PyObject *module = PyImport_ImportModule("array");
    Py_XSETREF(state->typecode, module ? PyUnicode_InternFromString("Q") : NULL);
    if (state->typecode) state->array_type = PyObject_GetAttrString(module, "array");
    Py_XDECREF(module);
    return state->array_type != NULL;
}

int drain_visit(DrainState *state, visitproc visit, void *arg) {
    Py_VISIT(state->batch_type);
    Py_VISIT(state->kept_type);
    Py_VISIT(state->children_type);
    Py_VISIT(state->call_type);
    Py_VISIT(state->array_type);
    Py_VISIT(state->typecode);
    return 0;
}

/* give_back(): what is free in the C library's heap to the system; whether there was any. */
PyObject *give_back(PyObject *module, PyObject *unused) {
    int had_some = 0;
#ifdef __GLIBC__
    Py_BEGIN_ALLOW_THREADS
    had_some = malloc_trim(0);
    Py_END_ALLOW_THREADS
#endif
    return PyBool_FromLong(had_some);
}
