/* Short parameters as msgpack: the bytes that `worker.capture.short_body` gives, value for value. */

#include "hot.h"

typedef struct {
    unsigned char *at, *end;
} Out;

/* What is asked of a value: encoded, not to be had here, or a container. */
enum { DONE, REFUSED, HOLDS_OTHERS };

/* Eight bytes are stored whatever the number takes: behind the end there is room for them. */
static inline void put_big_endian(Out *out, uint64_t number, int bytes) {
    number = __builtin_bswap64(number) >> (64 - 8 * bytes);
    memcpy(out->at, &number, 8);
    out->at += bytes;
}

static inline void put_tagged(Out *out, unsigned char tag, uint64_t number, int bytes) {
    *out->at++ = tag;
    put_big_endian(out, number << (64 - 8 * bytes) >> (64 - 8 * bytes), bytes);
}

/* The head of an array or a map; *few* is its form for up to 15, *wide* that for up to 65,535. */
static inline int put_head(Out *out, Py_ssize_t count, unsigned char few, unsigned char wide) {
    if (out->end - out->at < 3 || count > 0xffff) return REFUSED;
    if (count < 16) *out->at++ = few | (unsigned char)count;
    else put_tagged(out, wide, (uint64_t)count, 2);
    return DONE;
}

static inline int put_utf8(Out *out, const char *text, Py_ssize_t bytes) {
    if (out->end - out->at < bytes + 3) return REFUSED;
    if (bytes < 32) *out->at++ = 0xa0 | (unsigned char)bytes;
    else if (bytes < 256) put_tagged(out, 0xd9, (uint64_t)bytes, 1);
    else return REFUSED;
    memcpy(out->at, text, (size_t)bytes);
    out->at += bytes;
    return DONE;
}

static inline int put_text(Out *out, PyObject *text) {
    Py_ssize_t bytes = PyUnicode_GET_LENGTH(text);
    if (bytes > BODY_BYTES) return REFUSED;
    if (PyUnicode_IS_COMPACT_ASCII(text)) return put_utf8(out, PyUnicode_DATA(text), bytes);
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &bytes);
    if (!utf8) {
        PyErr_Clear(); /* half a surrogate pair, or no memory */
        return REFUSED;
    }
    return put_utf8(out, utf8, bytes);
}

/* The first *most* characters of a longer text. */
static int put_start(Out *out, PyObject *text, Py_ssize_t most) {
    if (PyUnicode_IS_COMPACT_ASCII(text)) return put_utf8(out, PyUnicode_DATA(text), most);
    PyObject *start = PyUnicode_Substring(text, 0, most);
    if (!start) {
        PyErr_Clear();
        return REFUSED;
    }
    int done = put_text(out, start);
    Py_DECREF(start);
    return done;
}

static inline int put_integer(Out *out, PyObject *value) {
    if (out->end - out->at < 9) return REFUSED;
    int overflow = 0;
    long long number;
#if PY_VERSION_HEX >= 0x030c0000
    if (PyUnstable_Long_IsCompact((PyLongObject *)value))
        number = PyUnstable_Long_CompactValue((PyLongObject *)value);
    else
#endif
        number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow > 0) {
        unsigned long long large = PyLong_AsUnsignedLongLong(value);
        if (large == (unsigned long long)-1 && PyErr_Occurred()) {
            PyErr_Clear();
            return REFUSED;
        }
        put_tagged(out, 0xcf, large, 8);
        return DONE;
    }
    if (overflow < 0) return REFUSED;
    if (number >= 0) {
        if (number < 0x80) *out->at++ = (unsigned char)number;
        else if (number < 0x100) put_tagged(out, 0xcc, (uint64_t)number, 1);
        else if (number < 0x10000) put_tagged(out, 0xcd, (uint64_t)number, 2);
        else if (number < 0x100000000) put_tagged(out, 0xce, (uint64_t)number, 4);
        else put_tagged(out, 0xcf, (uint64_t)number, 8);
    }
    else if (number >= -32) *out->at++ = (unsigned char)number;
    else if (number >= -0x80) put_tagged(out, 0xd0, (uint64_t)number, 1);
    else if (number >= -0x8000) put_tagged(out, 0xd1, (uint64_t)number, 2);
    else if (number >= -0x80000000LL) put_tagged(out, 0xd2, (uint64_t)number, 4);
    else put_tagged(out, 0xd3, (uint64_t)number, 8);
    return DONE;
}

/* What holds no others, and of texts only those of up to *most* characters. */
static inline int put_leaf(Out *out, PyObject *value, Py_ssize_t most) {
    PyTypeObject *kind = Py_TYPE(value);
    if (kind == &PyUnicode_Type)
        return PyUnicode_GET_LENGTH(value) <= most ? put_text(out, value) : REFUSED;
    if (kind == &PyLong_Type) return put_integer(out, value);
    if (out->end - out->at < 9) return REFUSED;
    if (value == Py_None) {
        *out->at++ = 0xc0;
        return DONE;
    }
    if (kind == &PyBool_Type) {
        *out->at++ = value == Py_True ? 0xc3 : 0xc2;
        return DONE;
    }
    if (kind == &PyFloat_Type) {
        double number = PyFloat_AS_DOUBLE(value);
        uint64_t bits;
        memcpy(&bits, &number, 8);
        put_tagged(out, 0xcb, bits, 8);
        return DONE;
    }
    return HOLDS_OTHERS;
}

static int put_dict(Out *out, PyObject *value) {
    PyObject *key, *member;
    Py_ssize_t at = 0;
    if (PyDict_GET_SIZE(value) > FEW || put_head(out, PyDict_GET_SIZE(value), 0x80, 0xde))
        return REFUSED;
    while (PyDict_Next(value, &at, &key, &member))
        if (!PyUnicode_CheckExact(key) || PyUnicode_GET_LENGTH(key) > SHORT || put_text(out, key)
            || put_leaf(out, member, SHORT) != DONE)
            return REFUSED;
    return DONE;
}

/* A list or a tuple, whose members stand in a row. */
static int put_sequence(Out *out, PyObject *value) {
    Py_ssize_t count = PySequence_Fast_GET_SIZE(value);
    if (count > FEW || put_head(out, count, 0x90, 0xdc)) return REFUSED;
    for (Py_ssize_t at = 0; at < count; at++)
        if (put_leaf(out, PySequence_Fast_GET_ITEM(value, at), SHORT) != DONE) return REFUSED;
    return DONE;
}

/* A parameter: a leaf, a text cut to the room that is left for texts, or a small container. */
static inline int put_parameter(Out *out, PyObject *value) {
    int done = put_leaf(out, value, SHORT_ALONE);
    if (done != HOLDS_OTHERS) return done;
    if (PyDict_CheckExact(value)) return put_dict(out, value);
    if (PyList_CheckExact(value) || PyTuple_CheckExact(value)) return put_sequence(out, value);
    return REFUSED;
}

/* The same where one of the texts is too long: all are cut in turn, while there is *room*. */
static int put_cut(Out *out, PyObject *value, Py_ssize_t *room, int *is_cut) {
    if (!PyUnicode_CheckExact(value)) return put_parameter(out, value);
    Py_ssize_t length = PyUnicode_GET_LENGTH(value), most = *room > 0 ? *room : 0;
    *is_cut |= length > *room;
    length = length < most ? length : most;
    *room -= length;
    return put_start(out, value, length);
}

static inline int put_all(Out *out, const Given *given, Py_ssize_t *room, int *is_cut) {
    Py_ssize_t count = given->count, named = given->named;
    if (count && named) *out->at++ = 0x92;
    if (count && put_head(out, count, 0x90, 0xdc)) return REFUSED;
    for (Py_ssize_t at = 0; at < count; at++)
        if (room ? put_cut(out, given->args[at], room, is_cut) : put_parameter(out, given->args[at]))
            return REFUSED;
    if (!named) return DONE;
    if (put_head(out, named, 0x80, 0xde)) return REFUSED;
    for (Py_ssize_t at = 0; at < named; at++) {
        PyObject *name = given->names[at], *value = given->values[at];
        if (!PyUnicode_CheckExact(name) || put_text(out, name)) return REFUSED;
        if (room ? put_cut(out, value, room, is_cut) : put_parameter(out, value)) return REFUSED;
    }
    return DONE;
}

static int has_long_text(PyObject *const *values, Py_ssize_t count) {
    for (Py_ssize_t at = 0; at < count; at++)
        if (PyUnicode_CheckExact(values[at]) && PyUnicode_GET_LENGTH(values[at]) > SHORT_ALONE)
            return 1;
    return 0;
}

int capture(Captured *captured, const Given *given) {
    Out out = {captured->body, captured->body + BODY_BYTES};
    int is_cut = 0;
    if (put_all(&out, given, NULL, NULL)) {
        if (!has_long_text(given->args, given->count) && !has_long_text(given->values, given->named))
            return 0;
        Py_ssize_t room = SUMMARY_BUDGET;
        out.at = captured->body;
        if (put_all(&out, given, &room, &is_cut)) return 0;
    }
    captured->low_meta = (uint32_t)(out.at - captured->body);
    if (given->count && given->named) captured->low_meta |= NAMED;
    if (is_cut) captured->low_meta |= PRUNED;
    return 1;
}

enum { MOST_NAMED = 32 };

int capture_packed(Captured *captured, PyObject *args, PyObject *kwargs, int skip) {
    PyObject *names[MOST_NAMED], *values[MOST_NAMED], *name, *value;
    Py_ssize_t at = 0, named = 0;
    captured->low_meta = 0;
    if (PyDict_GET_SIZE(kwargs) > MOST_NAMED) return 0;
    while (PyDict_Next(kwargs, &at, &name, &value)) {
        names[named] = name;
        values[named++] = value;
    }
    const Given given = {((PyTupleObject *)args)->ob_item + skip, names, values,
                         PyTuple_GET_SIZE(args) - skip, named};
    return given.count + named ? capture(captured, &given) : 1;
}
