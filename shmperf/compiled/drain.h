/* What the collector's side has in common: slots that were read, and what reads and counts them. */

#ifndef SHMPERF_DRAIN_H
#define SHMPERF_DRAIN_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#include "slot.h"

/* Times come from other processes; what is longer than this is not. */
#define LONGEST_NS (1ULL << 62)

/* The fields of a call, in the order of `record.Call`. */
enum {
    CALL_TOOL, CALL_ID, CALL_PID, CALL_PARENT, CALL_START, CALL_DURATION, CALL_STATUS, CALL_PARAMS,
    CALL_TRUNCATED, CALL_ERR, CALL_DETAIL, CALL_MESSAGE, CALL_FINGERPRINT, CALL_WHERE, CALL_TRACE,
    CALL_REMOTE, CALL_FIELDS
};

/* Part of the module's state. */
typedef struct {
    PyTypeObject *batch_type, *kept_type, *children_type;
    /* What `adopt_call` was given, and where its fields are. */
    PyObject *call_type;
    Py_ssize_t call_offsets[CALL_FIELDS];
    PyObject *array_type;
    PyObject *typecode;
} DrainState;

/*
 * Committed slots of one ring, in the order of their positions. The words are copied; bodies stay
 * in the ring, and are looked for there by way of the view, which may have been released since.
 */
typedef struct {
    PyObject_HEAD
    Py_ssize_t count, first_word;
    PyObject *view;
    PyObject *columns[COLUMNS];
    /* Of all of them: the union of the meta words, durations, and the greatest parent. */
    uint64_t flags, least_ns, longest_ns, parent, failures;
    int has_one_block;
    uint64_t *words[COLUMNS];
} Batch;

/* A view's memory; nothing is kept of it, so that who closes it is not hindered. 0 or -1. */
static inline int memory_of(PyObject *view, Py_buffer *memory) {
    return PyObject_GetBuffer(view, memory, PyBUF_SIMPLE);
}

/* What a call took: nothing, where its end is before its start. */
static inline uint64_t took_ns(uint64_t start_ns, uint64_t end_ns) {
    uint64_t took = end_ns > start_ns ? end_ns - start_ns : 0;
    return took < LONGEST_NS ? took : LONGEST_NS;
}

/*
 * Text that is made: JSON, as msgspec writes it. Where room is missing *at* stays where it is, and
 * everything behind it fails as well.
 */
typedef struct {
    char *at, *end;
    int is_full;
} Text;

static inline int has_room(Text *text, Py_ssize_t bytes) {
    if (text->is_full || text->end - text->at < bytes) text->is_full = 1;
    return !text->is_full;
}

static inline void put(Text *text, const char *bytes, Py_ssize_t count) {
    if (!has_room(text, count)) return;
    memcpy(text->at, bytes, (size_t)count);
    text->at += count;
}

#define PUT(text, literal) put(text, literal, sizeof(literal) - 1)

/* json.c */
void put_number(Text *text, uint64_t number);
void put_signed(Text *text, int64_t number);
void put_padded(Text *text, uint64_t number, int digits);
void put_quoted(Text *text, const char *bytes, Py_ssize_t count);
void put_seconds(Text *text, uint64_t ns);
int put_double(Text *text, double number);

/* What a record is decoded with: secrets' words, and what turns its time into wall time. */
typedef struct {
    PyObject *needles;
    int64_t offset_ns;
    uint64_t latest_ns;
} Decoding;

/* decode.c */
PyObject *decode_simple(DrainState *state, const uint64_t *slot, PyObject *template,
                        const Decoding *decoding);

/* kept.c */
extern PyType_Spec kept_spec;

/* line.c */
PyObject *lines(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *are_in_order(PyObject *module, PyObject *calls);

/* ringread.c */
extern PyType_Spec batch_spec;
PyObject *slot_of_words(const uint64_t *word);
PyObject *read_slots(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *read_marked(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* count.c */
PyObject *count_durations(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *last_of_rows(PyObject *module, PyObject *columns);

/* A call below another, and those of one call. */
typedef struct {
    uint64_t start_ns, end_ns, id;
    PyObject *tool;
} Child;

typedef struct {
    PyObject_HEAD
    Py_ssize_t count, room;
    Child *rows;
} Children;

/* The words of a column, in an array or copied. */
typedef struct {
    const uint64_t *words;
    uint64_t *own;
    Py_buffer memory;
} Column;

/* 0 for what is no number that a word can hold. */
static inline int word_of(PyObject *object, uint64_t *word) {
    if (!PyLong_CheckExact(object)) return 0;
    *word = PyLong_AsUnsignedLongLong(object);
    if (*word != UINT64_MAX || !PyErr_Occurred()) return 1;
    PyErr_Clear();
    return 0;
}

/* family.c */
extern PyType_Spec children_spec;
int read_column(PyObject *object, Py_ssize_t count, Column *column);
void let_columns_go(Column *columns, int count);
int add_to_family(DrainState *state, PyObject *families, PyObject *parent, const Child *child);
PyObject *add_children(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* settle.c */
PyObject *settle(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* drain.c */
PyObject *adopt_call(PyObject *module, PyObject *type);
PyObject *give_back(PyObject *module, PyObject *unused);
int drain_run(PyObject *module, DrainState *state);
int has_arrays(DrainState *state);
int drain_visit(DrainState *state, visitproc visit, void *arg);

#endif
