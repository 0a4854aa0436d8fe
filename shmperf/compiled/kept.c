/*
 * The newest calls of one tool, copied out of their ring and decoded when they are asked for: as
 * `collector.keeping.Kept`, which it stands for.
 */

#include "hot.h"

/* A slot as words; or, of one that was put together, as the tuple that it is then. */
typedef struct {
    uint64_t end_ns, id, place;
    PyObject *worker, *done, *slot;
    uint64_t words[SLOT_WORDS];
} Entry;

typedef struct {
    PyObject_HEAD
    Py_ssize_t limit, count, room;
    Entry **entries;
} Kept;

static PyObject *kept_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    Py_ssize_t limit;
    if ((kwargs && PyDict_GET_SIZE(kwargs)) || !PyArg_ParseTuple(args, "n:Kept", &limit)) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "a limit");
        return NULL;
    }
    Kept *self = (Kept *)type->tp_alloc(type, 0);
    if (self) self->limit = limit;
    return (PyObject *)self;
}

static void let_go(Entry *entry) {
    Py_DECREF(entry->worker);
    Py_DECREF(entry->done);
    Py_XDECREF(entry->slot);
    PyMem_Free(entry);
}

static void let_all_go(Entry **entries, Py_ssize_t count) {
    for (Py_ssize_t at = 0; at < count; at++) let_go(entries[at]);
}

static void kept_dealloc(Kept *self) {
    PyTypeObject *type = Py_TYPE(self);
    let_all_go(self->entries, self->count);
    PyMem_Free(self->entries);
    type->tp_free(self);
    Py_DECREF(type);
}

static int by_end(const void *one, const void *other) {
    const Entry *a = *(Entry *const *)one, *b = *(Entry *const *)other;
    if (a->end_ns != b->end_ns) return a->end_ns < b->end_ns ? -1 : 1;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return a->place < b->place ? -1 : a->place > b->place;
}

/* In the order of their ends, and no more than the limit. */
static void prune(Kept *self) {
    int in_order = 1;
    for (Py_ssize_t at = 0; at < self->count; at++) {
        self->entries[at]->place = (uint64_t)at;
        if (at && self->entries[at - 1]->end_ns >= self->entries[at]->end_ns) in_order = 0;
    }
    if (!in_order) qsort(self->entries, (size_t)self->count, sizeof *self->entries, by_end);
    Py_ssize_t surplus = self->limit < 0 ? 0 : self->count - self->limit;
    if (surplus <= 0) return;
    let_all_go(self->entries, surplus);
    self->count -= surplus;
    memmove(self->entries, self->entries + surplus, sizeof *self->entries * (size_t)self->count);
}

/* A further entry; its slot is the caller's to fill in. NULL with an error. */
static Entry *further(Kept *self, PyObject *worker, PyObject *done) {
    if (self->count == self->room) {
        Py_ssize_t room = self->room ? 2 * self->room : 16;
        Entry **entries = PyMem_Realloc(self->entries, sizeof *entries * (size_t)room);
        if (!entries) return (Entry *)PyErr_NoMemory();
        self->entries = entries;
        self->room = room;
    }
    Entry *entry = PyMem_Malloc(sizeof *entry);
    if (!entry) return (Entry *)PyErr_NoMemory();
    entry->worker = Py_NewRef(worker);
    entry->done = Py_NewRef(done);
    entry->slot = NULL;
    self->entries[self->count++] = entry;
    return entry;
}

static int add_words(Kept *self, Batch *batch, PyObject *worker, PyObject *done) {
    Py_buffer memory;
    if (memory_of(batch->view, &memory)) return -1;
    Py_ssize_t first = self->limit < 0 || self->limit > batch->count ? 0 : batch->count - self->limit;
    int is_done = 0;
    for (Py_ssize_t at = first; at < batch->count; at++) {
        Entry *entry = further(self, worker, done);
        if (!entry) {
            is_done = -1;
            break;
        }
        memcpy(entry->words, (const uint64_t *)memory.buf + batch->first_word + at * SLOT_WORDS,
               SLOT_BYTES);
        for (int column = 0; column < COLUMNS; column++)
            entry->words[column] = batch->words[column][at];
        entry->end_ns = entry->words[ENDS];
        entry->id = entry->words[IDS];
    }
    PyBuffer_Release(&memory);
    return is_done;
}

static int add_slots(Kept *self, PyObject *batch, PyObject *worker, PyObject *done) {
    PyObject *slots = PyObject_CallMethod(batch, "newest", "n", self->limit);
    if (!slots) return -1;
    int is_done = PyList_CheckExact(slots) ? 0 : -1;
    if (is_done) PyErr_SetString(PyExc_TypeError, "a batch's newest are a list");
    for (Py_ssize_t at = 0; !is_done && at < PyList_GET_SIZE(slots); at++) {
        PyObject *slot = PyList_GET_ITEM(slots, at);
        if (!PyTuple_CheckExact(slot) || PyTuple_GET_SIZE(slot) != COLUMNS + 2) {
            PyErr_SetString(PyExc_TypeError, "a slot");
            is_done = -1;
            break;
        }
        uint64_t end = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(slot, ENDS));
        uint64_t id = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(slot, IDS));
        Entry *entry = PyErr_Occurred() ? NULL : further(self, worker, done);
        if (!entry) {
            is_done = -1;
            break;
        }
        entry->slot = Py_NewRef(slot);
        entry->end_ns = end;
        entry->id = id;
    }
    Py_DECREF(slots);
    return is_done;
}

/* add(batch, worker, done): consider the newest of *batch*, of *worker*. */
static PyObject *add(Kept *self, PyTypeObject *type, PyObject *const *args, Py_ssize_t count,
                     PyObject *names) {
    State *state = PyType_GetModuleState(type);
    if (count != 3 || names) return PyErr_Format(PyExc_TypeError, "a batch, its worker, passes");
    int is_done = Py_IS_TYPE(args[0], state->drain.batch_type)
                      ? add_words(self, (Batch *)args[0], args[1], args[2])
                      : add_slots(self, args[0], args[1], args[2]);
    if (is_done) return NULL;
    if (self->limit >= 0 && self->count > 2 * self->limit) prune(self);
    Py_RETURN_NONE;
}

/* ---- taking ---- */

typedef struct {
    PyObject *known, *decode, *template_of;
    Decoding decoding;
    /* The template of the last call, which is mostly the next one's, too. */
    PyObject *worker, *template;
    uint64_t callee;
} Taking;

static int template_for(Taking *taking, Entry *entry) {
    uint64_t callee = entry->words[METAS] >> CALLEE_SHIFT & 0xffff;
    if (taking->template && taking->worker == entry->worker && taking->callee == callee) return 0;
    Py_CLEAR(taking->template);
    PyObject *number = PyLong_FromUnsignedLongLong(callee);
    if (!number) return -1;
    PyObject *args[] = {entry->worker, number};
    PyObject *found = PyObject_Vectorcall(taking->template_of, args, 2, NULL);
    Py_DECREF(number);
    if (!found) return -1;
    if (!PyTuple_CheckExact(found) || PyTuple_GET_SIZE(found) != 3) {
        Py_DECREF(found);
        PyErr_SetString(PyExc_TypeError, "a template is a tuple of three");
        return -1;
    }
    taking->template = found;
    taking->worker = entry->worker;
    taking->callee = callee;
    return 0;
}

static PyObject *known_call(Taking *taking, Entry *entry) {
    if (!PyDict_GET_SIZE(taking->known)) return NULL;
    PyObject *id = PyLong_FromUnsignedLongLong(entry->id);
    if (!id) return NULL;
    PyObject *found = PyDict_GetItemWithError(taking->known, id);
    Py_DECREF(id);
    return Py_XNewRef(found);
}

static PyObject *call_of(DrainState *state, Taking *taking, Entry *entry) {
    PyObject *call = known_call(taking, entry);
    if (call || PyErr_Occurred()) return call;
    if (!entry->slot) {
        if (template_for(taking, entry)) return NULL;
        call = decode_simple(state, entry->words, taking->template, &taking->decoding);
        if (call || PyErr_Occurred()) return call;
    }
    PyObject *slot = entry->slot ? Py_NewRef(entry->slot) : slot_of_words(entry->words);
    if (!slot) return NULL;
    PyObject *args[] = {slot, entry->worker, entry->done};
    call = PyObject_Vectorcall(taking->decode, args, 3, NULL);
    Py_DECREF(slot);
    return call;
}

/* What `Mask.needles` made: pairs of a sign and of a tuple of bytes. */
static int are_needles(PyObject *needles) {
    if (!PyTuple_CheckExact(needles)) return 0;
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(needles); at++) {
        PyObject *pair = PyTuple_GET_ITEM(needles, at);
        if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2) return 0;
        PyObject *sign = PyTuple_GET_ITEM(pair, 0), *looked_for = PyTuple_GET_ITEM(pair, 1);
        if (!PyBytes_CheckExact(sign) || !PyTuple_CheckExact(looked_for)) return 0;
        for (Py_ssize_t n = 0; n < PyTuple_GET_SIZE(looked_for); n++)
            if (!PyBytes_CheckExact(PyTuple_GET_ITEM(looked_for, n))) return 0;
    }
    return 1;
}

/*
 * take(known, decode, template_of, needles, offset_ns, latest_ns): the newest calls, oldest first,
 * and none is left. Those in *known*, by id, are as they are there; what is simple is decoded here,
 * after *template_of* (worker, callee's number); all others by *decode* (slot, worker, done).
 */
static PyObject *take(Kept *self, PyTypeObject *type, PyObject *const *args, Py_ssize_t count,
                      PyObject *names) {
    State *state = PyType_GetModuleState(type);
    if (count != 6 || names || !PyDict_CheckExact(args[0]) || !are_needles(args[3]))
        return PyErr_Format(PyExc_TypeError, "calls, two functions, needles, two times");
    if (!state->drain.call_type) return PyErr_Format(PyExc_RuntimeError, "no class of calls");
    Taking taking = {.known = args[0], .decode = args[1], .template_of = args[2]};
    taking.decoding.needles = args[3];
    taking.decoding.offset_ns = PyLong_AsLongLong(args[4]);
    taking.decoding.latest_ns = PyLong_AsUnsignedLongLong(args[5]);
    if (PyErr_Occurred()) return NULL;
    prune(self);
    /* Others may be added while this calls them. */
    Entry **entries = self->entries;
    Py_ssize_t left = self->count;
    self->entries = NULL;
    self->count = self->room = 0;
    PyObject *found = PyList_New(left);
    POINT("kept-take");
    for (Py_ssize_t at = 0; found && at < left; at++) {
        PyObject *call = call_of(&state->drain, &taking, entries[at]);
        if (call) PyList_SET_ITEM(found, at, call);
        else Py_CLEAR(found);
    }
    Py_XDECREF(taking.template);
    let_all_go(entries, left);
    PyMem_Free(entries);
    return found;
}

static Py_ssize_t length(Kept *self) {
    return self->limit < 0 || self->count < self->limit ? self->count : self->limit;
}

static PyMethodDef methods[] = {
    {"add", (PyCFunction)(void (*)(void))add, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "Consider the newest of a batch."},
    {"take", (PyCFunction)(void (*)(void))take, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "The newest calls, oldest first."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot kept_slots[] = {
    {Py_tp_doc, "The newest calls of one tool, as `shmperf.collector.keeping.Kept`."},
    {Py_tp_new, kept_new},
    {Py_tp_dealloc, kept_dealloc},
    {Py_tp_methods, methods},
    {Py_sq_length, length},
    {0, NULL},
};

/* Workers, which it refers to, never lead back to it: it needs no collection. */
PyType_Spec kept_spec = {
    .name = "shmperf._hot.Kept",
    .basicsize = sizeof(Kept),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = kept_slots,
};
