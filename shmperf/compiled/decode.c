/*
 * A slot as its call, where that is simple: finished well, in normal mode, parameters without
 * names of their own that hold no others, and nothing in them that the mask might hide. Everything
 * else, and whatever is damaged, is left to `record.decode`, which knows what to say of it.
 */

#include "hot.h"

enum { MOST_TEXT = 4096, SHORTEST_SUSPECT = 7 };

/* ---- what the mask looks for ---- */

typedef struct {
    unsigned char bytes[BODY_BYTES];
    size_t count;
    uint64_t present[4];
} Lowered;

static void lower(Lowered *to, const unsigned char *body, size_t count) {
    memset(to->present, 0, sizeof to->present);
    to->count = count;
    for (size_t at = 0; at < count; at++) {
        unsigned char byte = body[at];
        if (byte >= 'A' && byte <= 'Z') byte |= 0x20;
        to->bytes[at] = byte;
        to->present[byte >> 6] |= 1ULL << (byte & 63);
    }
}

static inline int holds(const Lowered *body, PyObject *needle) {
    const unsigned char *bytes = (const unsigned char *)PyBytes_AS_STRING(needle);
    size_t count = (size_t)PyBytes_GET_SIZE(needle);
    for (size_t at = 0; at < count; at++)
        if (!(body->present[bytes[at] >> 6] >> (bytes[at] & 63) & 1)) return 0;
    return count < 2 || memmem(body->bytes, body->count, bytes, count) != NULL;
}

/*
 * As `Mask.suspects`. *needles*: pairs of a sign and of what is looked for where that sign is, of
 * which all were made by `Mask.needles`.
 */
static int suspects(PyObject *needles, const unsigned char *bytes, size_t count) {
    if (count < SHORTEST_SUSPECT) return 0;
    Lowered body;
    lower(&body, bytes, count);
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(needles); at++) {
        PyObject *pair = PyTuple_GET_ITEM(needles, at);
        if (!holds(&body, PyTuple_GET_ITEM(pair, 0))) continue;
        PyObject *looked_for = PyTuple_GET_ITEM(pair, 1);
        for (Py_ssize_t n = 0; n < PyTuple_GET_SIZE(looked_for); n++)
            if (holds(&body, PyTuple_GET_ITEM(looked_for, n))) return 1;
    }
    return 0;
}

/* ---- values ---- */

typedef struct {
    const unsigned char *at, *end;
} Packed;

/* So many bytes of a big-endian number; 0 where they are not there. */
static inline int take(Packed *from, int bytes, uint64_t *number) {
    if (from->end - from->at < bytes) return 0;
    *number = 0;
    for (int n = 0; n < bytes; n++) *number = *number << 8 | *from->at++;
    return 1;
}

static int put_real(Text *text, Packed *from, int bytes) {
    uint64_t bits;
    if (!take(from, bytes, &bits)) return 0;
    double number;
    float single;
    uint32_t half = (uint32_t)bits;
    if (bytes == 8) memcpy(&number, &bits, 8);
    else {
        memcpy(&single, &half, 4);
        number = single;
    }
    return put_double(text, number);
}

static int put_words(Text *text, Packed *from, uint64_t bytes) {
    if ((uint64_t)(from->end - from->at) < bytes) return 0;
    put_quoted(text, (const char *)from->at, (Py_ssize_t)bytes);
    from->at += bytes;
    return 1;
}

/* The next value of msgpack as JSON; 0 for what is not simple. */
static int put_value(Text *text, Packed *from) {
    if (from->at >= from->end) return 0;
    unsigned char tag = *from->at++;
    uint64_t number;
    if (tag < 0x80) return put_number(text, tag), 1;
    if (tag >= 0xe0) return put_signed(text, (int8_t)tag), 1;
    if (tag >= 0xa0 && tag < 0xc0) return put_words(text, from, tag & 31);
    switch (tag) {
        case 0xc0: return PUT(text, "null"), 1;
        case 0xc2: return PUT(text, "false"), 1;
        case 0xc3: return PUT(text, "true"), 1;
        case 0xca: return put_real(text, from, 4);
        case 0xcb: return put_real(text, from, 8);
        case 0xcc: case 0xcd: case 0xce: case 0xcf:
            return take(from, 1 << (tag - 0xcc), &number) && (put_number(text, number), 1);
        case 0xd0: return take(from, 1, &number) && (put_signed(text, (int8_t)number), 1);
        case 0xd1: return take(from, 2, &number) && (put_signed(text, (int16_t)number), 1);
        case 0xd2: return take(from, 4, &number) && (put_signed(text, (int32_t)number), 1);
        case 0xd3: return take(from, 8, &number) && (put_signed(text, (int64_t)number), 1);
        case 0xd9: return take(from, 1, &number) && put_words(text, from, number);
        default: return 0;
    }
}

/* An array of values behind the *heads* of their names: ``{"name":``, and ``,"other":``. */
static int put_params(Text *text, Packed *from, PyObject *heads) {
    if ((*from->at & 0xf0) != 0x90) return 0;
    Py_ssize_t count = *from->at++ & 15;
    if (count > PyTuple_GET_SIZE(heads)) return 0;
    if (!count) PUT(text, "{");
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *head = PyTuple_GET_ITEM(heads, at);
        put(text, PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head));
        if (!put_value(text, from)) return 0;
    }
    PUT(text, "}");
    return from->at == from->end && !text->is_full;
}

/* The text, cut; what is not valid UTF-8 is left to others. NULL without an error for that. */
static PyObject *cut_text(const Text *text, const char *begin, int *is_cut) {
    PyObject *whole = PyUnicode_DecodeUTF8(begin, text->at - begin, NULL);
    if (!whole) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) PyErr_Clear();
        return NULL;
    }
    *is_cut = PyUnicode_GET_LENGTH(whole) > SUMMARY_CHARACTERS;
    if (!*is_cut) return whole;
    PyObject *cut = PyUnicode_Substring(whole, 0, SUMMARY_CHARACTERS);
    Py_DECREF(whole);
    return cut;
}

static PyObject *params_of(const uint64_t *slot, PyObject *heads, const Decoding *decoding,
                           int *is_cut) {
    const unsigned char *body = (const unsigned char *)(slot + BODY_WORD);
    size_t length = slot[METAS] & LENGTH_MASK;
    *is_cut = 0;
    if (!length) return PyUnicode_FromStringAndSize("{}", 2);
    if (length > BODY_BYTES) length = BODY_BYTES;
    if (!PyTuple_CheckExact(heads) || suspects(decoding->needles, body, length)) return NULL;
    char room[MOST_TEXT];
    Text text = {room, room + MOST_TEXT, 0};
    Packed from = {body, body + length};
    return put_params(&text, &from, heads) ? cut_text(&text, room, is_cut) : NULL;
}

/*
 * The call in the words of a *slot*, which is a copy; *template* is the tool, the pid, and the
 * heads of its parameters or None. NULL without an error when it is not simple.
 */
PyObject *decode_simple(DrainState *state, const uint64_t *slot, PyObject *template,
                        const Decoding *decoding) {
    if (slot[METAS] & (KIND_BITS | UNTIMED_BIT)) return NULL;
    int is_cut;
    PyObject *params = params_of(slot, PyTuple_GET_ITEM(template, 2), decoding, &is_cut);
    if (!params) return NULL;
    const uint64_t start = slot[STARTS] < decoding->latest_ns ? slot[STARTS] : decoding->latest_ns;
    const uint64_t took = slot[ENDS] > slot[STARTS] ? slot[ENDS] - slot[STARTS] : 0;
    PyObject *made[] = {
        PyLong_FromUnsignedLongLong(slot[IDS]),
        PyLong_FromUnsignedLongLong(slot[PARENTS]),
        PyLong_FromLongLong((int64_t)start + decoding->offset_ns),
        PyLong_FromUnsignedLongLong(took),
        PyLong_FromLong(0),
    };
    PyObject *call = NULL;
    if (made[0] && made[1] && made[2] && made[3] && made[4]) {
        PyObject *args[] = {PyTuple_GET_ITEM(template, 0), made[0], PyTuple_GET_ITEM(template, 1),
                            made[1], made[2], made[3], made[4], params, is_cut ? Py_True : Py_False};
        call = PyObject_Vectorcall(state->call_type, args, 9, NULL);
    }
    for (int at = 0; at < 5; at++) Py_XDECREF(made[at]);
    Py_DECREF(params);
    return call;
}
