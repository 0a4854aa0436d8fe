/*
 * A slot stored for Python, whose own stores others may see in any order: what `record.SLOT` packs,
 * with a position that releases it. It calls nothing: as `pack_into` does, it stores all or has not
 * begun to.
 */

#include "hot.h"

enum { BUFFER, OFFSET, WORDS, BODY = WORDS + COLUMNS, POSITION, ARGUMENTS };

/* 0, or -1 with an error where an argument is no word. */
static int read_words(PyObject *const *args, uint64_t words[COLUMNS], uint64_t *position) {
    for (int column = 0; column < COLUMNS; column++) {
        words[column] = PyLong_AsUnsignedLongLong(args[WORDS + column]);
        if (words[column] == UINT64_MAX && PyErr_Occurred()) return -1;
    }
    *position = PyLong_AsUnsignedLongLong(args[POSITION]);
    return *position == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
}

/* The slot at that offset; NULL, with an error, where there is none. */
static uint64_t *slot_at(const Py_buffer *memory, PyObject *offset) {
    Py_ssize_t at = PyLong_AsSsize_t(offset);
    if (at == -1 && PyErr_Occurred()) return NULL;
    char *slot = (char *)memory->buf + at;
    if (at >= 0 && at <= memory->len - SLOT_BYTES && (uintptr_t)slot % sizeof(uint64_t) == 0)
        return (uint64_t *)slot;
    PyErr_SetString(PyExc_ValueError, "no slot there");
    return NULL;
}

/* pack_into(buffer, offset, id, parent, start_ns, end_ns, meta, body, position) */
static PyObject *store_packed(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    uint64_t words[COLUMNS], position;
    if (count != ARGUMENTS || !PyBytes_Check(args[BODY]))
        return PyErr_Format(PyExc_TypeError, "a buffer, an offset, and what a slot holds");
    if (read_words(args, words, &position)) return NULL;
    Py_ssize_t length = PyBytes_GET_SIZE(args[BODY]);
    if (length > BODY_BYTES || (uint64_t)length != (words[METAS] & LENGTH_MASK))
        return PyErr_Format(PyExc_ValueError, "a body of the length that its meta word tells");
    Py_buffer memory;
    if (PyObject_GetBuffer(args[BUFFER], &memory, PyBUF_WRITABLE)) return NULL;
    uint64_t *slot = slot_at(&memory, args[OFFSET]);
    if (slot) {
        unsigned char body[BODY_BYTES] = {0};
        memcpy(body, PyBytes_AS_STRING(args[BODY]), (size_t)length);
        /* What a former record has left behind a shorter body. */
        memset(slot + BODY_WORD, 0, BODY_BYTES);
        store_slot(slot, position, &(Record){.id = words[IDS], .parent = words[PARENTS],
                                             .start_ns = words[STARTS], .end_ns = words[ENDS],
                                             .meta = words[METAS], .body = body});
    }
    PyBuffer_Release(&memory);
    if (!slot) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"pack_into", (PyCFunction)(void (*)(void))store_packed, METH_FASTCALL,
     "As that of `record.SLOT`; the position is stored last, and releases the rest."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A slot as a worker stores it where stores may be seen out of order."},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec slot_spec = {
    .name = "shmperf._hot.Slot",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
