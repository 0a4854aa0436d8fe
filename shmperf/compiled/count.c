/* What is counted of a batch: durations by bucket, and the last call of each row. */

#include "hot.h"

typedef unsigned __int128 Wide;

/* Indices among the boundaries, and how many of them there may be. */
enum { MOST_BOUNDARIES = 2048, OCTAVES = 65 };

/* `bisect_left`, among the boundaries from *low* to *high*. */
static inline Py_ssize_t place_in(const uint64_t *boundaries, Py_ssize_t low, Py_ssize_t high,
                                  uint64_t duration) {
    while (low < high) {
        Py_ssize_t middle = (low + high) / 2;
        if (boundaries[middle] < duration) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* dict[key] += count. */
static int add_to(PyObject *dict, PyObject *key, uint64_t count) {
    PyObject *known = PyDict_GetItemWithError(dict, key);
    if (!known && PyErr_Occurred()) return -1;
    PyObject *more = PyLong_FromUnsignedLongLong(count);
    PyObject *sum = more && known ? PyNumber_Add(known, more) : Py_XNewRef(more);
    int done = sum ? PyDict_SetItem(dict, key, sum) : -1;
    Py_XDECREF(more);
    Py_XDECREF(sum);
    return done;
}

static int add_place(PyObject *histogram, Py_ssize_t index, uint64_t count) {
    PyObject *key = PyLong_FromSsize_t(index);
    int done = key ? add_to(histogram, key, count) : -1;
    Py_XDECREF(key);
    return done;
}

static int count_few(Batch *batch, const uint64_t *boundaries, Py_ssize_t size, Py_ssize_t first,
                     PyObject *histogram) {
    for (Py_ssize_t at = 0; at < batch->count; at++) {
        uint64_t took = took_ns(batch->words[STARTS][at], batch->words[ENDS][at]);
        if (took && add_place(histogram, place_in(boundaries, 0, size, took) + first, 1)) return -1;
    }
    return 0;
}

/* Of many a table is made first, and of each octave it is known where its boundaries begin. */
static int count_many(Batch *batch, const uint64_t *boundaries, Py_ssize_t size, Py_ssize_t first,
                      PyObject *histogram) {
    uint32_t counts[MOST_BOUNDARIES + 1];
    Py_ssize_t begins[OCTAVES];
    memset(counts, 0, sizeof counts[0] * (size_t)(size + 1));
    for (int octave = 0; octave < OCTAVES - 1; octave++)
        begins[octave] = place_in(boundaries, octave ? begins[octave - 1] : 0, size, 1ULL << octave);
    begins[OCTAVES - 1] = size;
    for (Py_ssize_t at = 0; at < batch->count; at++) {
        uint64_t took = took_ns(batch->words[STARTS][at], batch->words[ENDS][at]);
        if (!took) continue;
        int octave = 63 - __builtin_clzll(took);
        counts[place_in(boundaries, begins[octave], begins[octave + 1], took)]++;
    }
    for (Py_ssize_t place = 0; place <= size; place++)
        if (counts[place] && add_place(histogram, place + first, counts[place])) return -1;
    return 0;
}

/*
 * count_durations(batch, boundaries, first, histogram): the buckets of durations above nothing, by
 * their place among the *boundaries*, which are words in order, plus *first*, into *histogram*.
 * How many took nothing, and the sum, which ends with the greatest signed number.
 */
PyObject *count_durations(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    State *state = PyModule_GetState(module);
    if (count != 4 || !Py_IS_TYPE(args[0], state->drain.batch_type) || !PyDict_CheckExact(args[3]))
        return PyErr_Format(PyExc_TypeError, "a batch, boundaries, the first, a dict");
    Batch *batch = (Batch *)args[0];
    Py_ssize_t first = PyLong_AsSsize_t(args[2]);
    if (first == -1 && PyErr_Occurred()) return NULL;
    Py_buffer memory;
    if (memory_of(args[1], &memory)) return NULL;
    Py_ssize_t size = memory.len / 8;
    int done = -1;
    if (size > MOST_BOUNDARIES) PyErr_SetString(PyExc_ValueError, "too many boundaries");
    else done = (batch->count < 48 ? count_few : count_many)(batch, memory.buf, size, first, args[3]);
    PyBuffer_Release(&memory);
    if (done) return NULL;
    Wide sum = 0;
    uint64_t zeros = 0;
    for (Py_ssize_t at = 0; at < batch->count; at++) {
        uint64_t took = took_ns(batch->words[STARTS][at], batch->words[ENDS][at]);
        sum += took;
        zeros += !took;
    }
    return Py_BuildValue("KK", zeros, sum < INT64_MAX ? (uint64_t)sum : (uint64_t)INT64_MAX);
}

/* ---- the last calls of rows ---- */

/* Rows met lately: most calls are of the row before them, or of a few that take turns. */
enum { LATELY = 256 };

typedef struct {
    uint64_t ids[LATELY];
    PyObject *found;
} Rows;

static inline uint64_t key_of(uint64_t id) { return id & ~((uint64_t)GENERATION_MASK << ROW_BITS); }

/* Its row's last call, unless a later one is known. */
static int note(PyObject *found, uint64_t id) {
    PyObject *key = PyLong_FromUnsignedLongLong(key_of(id)), *number = PyLong_FromUnsignedLongLong(id);
    int done = -1;
    if (key && number) {
        PyObject *known = PyDict_GetItemWithError(found, key);
        if (known ? PyLong_AsUnsignedLongLong(known) < id : !PyErr_Occurred())
            done = PyDict_SetItem(found, key, number);
        else done = known ? 0 : -1;
    }
    Py_XDECREF(key);
    Py_XDECREF(number);
    return done;
}

static int note_all(Rows *rows, const uint64_t *ids, Py_ssize_t count) {
    for (Py_ssize_t at = 0; at < count; at++) {
        uint64_t id = ids[at], key = key_of(id);
        uint64_t *place = &rows->ids[(key ^ key >> BLOCK_SHIFT) % LATELY];
        if (key_of(*place) == key) *place = *place > id ? *place : id;
        else {
            /* An id of all zeros stands for an empty place, and for itself is noted at once. */
            if (*place && note(rows->found, *place)) return -1;
            *place = id;
        }
        if (!id && note(rows->found, id)) return -1;
    }
    return 0;
}

/* last_of_rows(batches): by the key of each row that calls of *batches* were in, the last of these. */
PyObject *last_of_rows(PyObject *module, PyObject *batches) {
    State *state = PyModule_GetState(module);
    if (!PyList_CheckExact(batches)) return PyErr_Format(PyExc_TypeError, "a list of batches");
    Rows rows = {{0}, PyDict_New()};
    if (!rows.found) return NULL;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(batches); at++) {
        PyObject *batch = PyList_GET_ITEM(batches, at);
        if (!Py_IS_TYPE(batch, state->drain.batch_type)) {
            PyErr_SetString(PyExc_TypeError, "a list of batches");
            goto failed;
        }
        if (note_all(&rows, ((Batch *)batch)->words[IDS], ((Batch *)batch)->count)) goto failed;
    }
    for (int at = 0; at < LATELY; at++)
        if (rows.ids[at] && note(rows.found, rows.ids[at])) goto failed;
    return rows.found;
failed:
    Py_DECREF(rows.found);
    return NULL;
}
