/* What the files of the compiled path have in common; the layout itself is in layout.h. */

#ifndef SHMPERF_HOT_H
#define SHMPERF_HOT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "layout.h"

/* Both sides of every store are of one endianness, which msgpack's is not. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "written for little-endian machines"
#endif

/* What of the Python side the C side calls or looks at; one for each interpreter. */
typedef struct {
    PyTypeObject *binding_type, *fast_type;
    /* What `adopt` was given; NULL before. */
    PyObject *current, *unfinished, *finish, *collecting, *is_programs, *spans, *above;
    PyObject *parent_of, *detour, *chosen;
    PyTypeObject *reached_type, *seen_type;
    Py_ssize_t bound_offset, sampled_offset, choice_offset, ended_offset, root_offset, fast_offset;
} State;

/* A tool's tuple: what its calls need to be recorded, with the addresses behind it. */
typedef struct {
    PyObject_HEAD
    PyObject *items; /* the tuple itself */
    uint64_t word;
    int fits_never;
    int64_t shift;
    const uint64_t *session;
    uint64_t *words;
    char *slots;
    PyMemoryViewObject *words_view;
    PyListObject *ready;
    PyObject *positions;
} Binding;

/* Room for what is copied in pieces of 16 bytes and stored in pieces of 8. */
enum { BODY_ROOM = BODY_BYTES + 16 };

/* Parameters as a record holds them; low_meta is length and flags as they stand in the meta word. */
typedef struct {
    uint32_t low_meta;
    unsigned char body[BODY_ROOM];
} Captured;

/* A call between its begin and its end. References are its own. */
typedef struct {
    Binding *bound;
    PyObject *outer, *token, *row_object;
    uint64_t row, call_id, parent, start_ns;
} Open;

static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The object in a slot of a Python class, by the slot's offset; borrowed, NULL when it is unset. */
static inline PyObject *slot_of(PyObject *object, Py_ssize_t offset) {
    return *(PyObject **)((char *)object + offset);
}

/* The exception that is set, as an object of its own, and no more set. */
static inline PyObject *raised(void) {
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *kind, *value, *traceback;
    PyErr_Fetch(&kind, &value, &traceback);
    PyErr_NormalizeException(&kind, &value, &traceback);
    if (value && traceback) PyException_SetTraceback(value, traceback);
    Py_XDECREF(kind);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* The same way back; the reference is taken over. */
static inline void raise_again(PyObject *error) {
#if PY_VERSION_HEX >= 0x030c0000
    PyErr_SetRaisedException(error);
#else
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(error)), error, PyException_GetTraceback(error));
#endif
}

/* binding.c */
extern PyType_Spec binding_spec;

/* capture.c: 1 when the parameters are short and encoded, 0 when somebody else has to. */
int capture(Captured *captured, PyObject *const *args, Py_ssize_t count, PyObject *kwnames);

/* A tracked function. */
typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    State *state;
    PyObject *module;
    PyObject *function, *cell, *wrapped, *pure;
    vectorcallfunc pure_call;
    uint64_t callee;
    int skip;
} Fast;

/* function.c */
extern PyType_Spec fast_spec;
PyObject *call_function(Fast *fast, PyObject *const *args, size_t flags, PyObject *kwnames);
PyObject *call_elsewhere(Fast *fast, PyObject *const *args, size_t flags, PyObject *kwnames);
PyObject *boost(PyObject *module, PyObject *args);

/* open.c */
int begin_call(State *state, Open *open, Binding *bound, uint64_t callee);
int end_call(State *state, Open *open, const Captured *captured, uint64_t callee, uint64_t end_ns);
int leave_call(State *state, Open *open, const Captured *captured, PyObject *wrapped, int64_t end_ns,
               PyObject *error);
/* Whether an error is the program's: an interruption, and what its signal handlers raise. */
int is_the_programs(State *state, PyObject *error);
/* Lists *entry* and lets Python finish it: 0, -1 with an error that is the program's, and 1 where
   there is no memory to list it. */
int take_up(State *state, PyObject *entry, PyObject *outer);

/* sampled.c */
PyObject *call_sampled(State *state, Fast *fast, PyObject *sampled, PyObject *const *args,
                       size_t flags, PyObject *kwnames);
int packed(PyObject **tuple, PyObject **dict, PyObject *const *args, size_t flags, PyObject *kwnames);

#endif
