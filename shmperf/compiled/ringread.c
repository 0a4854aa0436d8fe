/*
 * Committed slots of a ring, read in one go: what `shm.ring.RingReader` reads where slots are not
 * sealed. Nothing that stands in the ring is believed: what is read lies within the view.
 */

#include "hot.h"

/* So many are handed out as a tuple: an array of few numbers costs more than the numbers. */
enum { FEW_SLOTS = 16 };

static void batch_dealloc(Batch *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->view);
    for (int column = 0; column < COLUMNS; column++) Py_XDECREF(self->columns[column]);
    PyMem_Free(self->words[0]);
    type->tp_free(self);
    Py_DECREF(type);
}

static inline int is_failure(uint64_t meta) {
    uint64_t status = meta & STATUS_BITS;
    return status == ERROR_BITS || status == TIMEOUT_BITS;
}

static void fill(Batch *self, const uint64_t *word) {
    uint64_t *const *to = self->words;
    uint64_t least = UINT64_MAX, longest = 0, parent = 0, flags = 0, failures = 0, blocks = 0;
    for (Py_ssize_t at = 0; at < self->count; at++, word += SLOT_WORDS) {
        read_columns(word, to, (size_t)at);
        const uint64_t took = took_ns(to[STARTS][at], to[ENDS][at]);
        least = took < least ? took : least;
        longest = took > longest ? took : longest;
        parent = to[PARENTS][at] > parent ? to[PARENTS][at] : parent;
        flags |= to[METAS][at];
        failures += (uint64_t)is_failure(to[METAS][at]);
        blocks |= (to[IDS][at] ^ to[IDS][0]) >> BLOCK_SHIFT;
    }
    self->least_ns = least;
    self->longest_ns = longest;
    self->parent = parent;
    self->flags = flags;
    self->failures = failures;
    self->has_one_block = !blocks;
}

static Batch *batch_of(DrainState *state, PyObject *view, Py_ssize_t first, Py_ssize_t count,
                       const uint64_t *words) {
    uint64_t *room = PyMem_Malloc(sizeof(uint64_t) * COLUMNS * (size_t)count);
    Batch *self = room ? (Batch *)state->batch_type->tp_alloc(state->batch_type, 0) : NULL;
    if (!self) {
        PyMem_Free(room);
        return (Batch *)(PyErr_Occurred() ? NULL : PyErr_NoMemory());
    }
    self->count = count;
    self->first_word = first;
    self->view = Py_NewRef(view);
    for (int column = 0; column < COLUMNS; column++) self->words[column] = room + column * count;
    fill(self, words + first);
    return self;
}

/* A ring's slots from where it is read on to its end, and which position is next. */
typedef struct {
    Py_ssize_t first_word, most;
    uint64_t position;
} Mark;

/* How many are committed; -1 for a mark that does not lie within the memory. */
static Py_ssize_t committed_at(const Py_buffer *memory, const Mark *mark) {
    if (mark->first_word < 0 || mark->most < 0 || mark->most > memory->len / SLOT_BYTES
        || mark->first_word > memory->len / 8 - mark->most * SLOT_WORDS) {
        PyErr_SetString(PyExc_ValueError, "no slots of these words");
        return -1;
    }
    const uint64_t *slot = (const uint64_t *)memory->buf + mark->first_word;
    Py_ssize_t there = (Py_ssize_t)count_committed(slot, (size_t)mark->most, mark->position);
    POINT("ring-committed");
    return there;
}

/*
 * read_slots(words, first_word, most, position): the batch of committed slots from *position* on,
 * whose slot begins at *first_word*; None when there is none.
 */
PyObject *read_slots(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    State *state = PyModule_GetState(module);
    if (count != 4) return PyErr_Format(PyExc_TypeError, "words, first word, most, position");
    Mark mark = {PyLong_AsSsize_t(args[1]), PyLong_AsSsize_t(args[2]),
                 PyLong_AsUnsignedLongLong(args[3])};
    if (PyErr_Occurred()) return NULL;
    Py_buffer memory;
    if (memory_of(args[0], &memory)) return NULL;
    Batch *found = NULL;
    Py_ssize_t there = committed_at(&memory, &mark);
    if (there > 0) found = batch_of(&state->drain, args[0], mark.first_word, there, memory.buf);
    PyBuffer_Release(&memory);
    if (!there) Py_RETURN_NONE;
    return (PyObject *)found;
}

/* A pair of a mark's number and of what is there, to the list. */
static int add_found(PyObject *found, Py_ssize_t number, Batch *batch) {
    PyObject *pair = batch ? Py_BuildValue("nO", number, batch) : NULL;
    Py_XDECREF(batch);
    int failed = !pair || PyList_Append(found, pair);
    Py_XDECREF(pair);
    return failed;
}

/*
 * read_marked(words, marks): what is committed in any of several rings, as pairs of a ring's number
 * and its batch. *marks* are words, too: of each ring the first word, how many slots, the position.
 */
PyObject *read_marked(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    State *state = PyModule_GetState(module);
    if (count != 2) return PyErr_Format(PyExc_TypeError, "words, marks");
    Py_buffer memory, marks;
    if (memory_of(args[0], &memory)) return NULL;
    if (memory_of(args[1], &marks)) {
        PyBuffer_Release(&memory);
        return NULL;
    }
    PyObject *found = PyList_New(0);
    const uint64_t *word = marks.buf;
    for (Py_ssize_t at = 0; found && at < marks.len / (3 * 8); at++, word += 3) {
        Mark mark = {(Py_ssize_t)word[0], (Py_ssize_t)word[1], word[2]};
        Py_ssize_t there = committed_at(&memory, &mark);
        if (!there) continue;
        Batch *batch = NULL;
        if (there > 0)
            batch = batch_of(&state->drain, args[0], mark.first_word, there, memory.buf);
        if (add_found(found, at, batch)) Py_CLEAR(found);
    }
    PyBuffer_Release(&marks);
    PyBuffer_Release(&memory);
    return found;
}

/* ---- what a batch tells ---- */

static DrainState *state_of(Batch *self) {
    State *state = PyType_GetModuleState(Py_TYPE(self));
    return &state->drain;
}

static PyObject *few_of(const uint64_t *words, Py_ssize_t count) {
    PyObject *found = PyTuple_New(count);
    for (Py_ssize_t at = 0; found && at < count; at++) {
        PyObject *number = PyLong_FromUnsignedLongLong(words[at]);
        if (!number) Py_CLEAR(found);
        else PyTuple_SET_ITEM(found, at, number);
    }
    return found;
}

static PyObject *array_of(DrainState *state, const uint64_t *words, Py_ssize_t count) {
    if (!has_arrays(state)) return NULL;
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)words, count * 8);
    if (!bytes) return NULL;
    PyObject *args[] = {state->typecode, bytes};
    PyObject *found = PyObject_Vectorcall(state->array_type, args, 2, NULL);
    Py_DECREF(bytes);
    return found;
}

static PyObject *column(Batch *self, void *which) {
    PyObject **known = &self->columns[(intptr_t)which];
    const uint64_t *words = self->words[(intptr_t)which];
    if (!*known) {
        if (self->count <= FEW_SLOTS) *known = few_of(words, self->count);
        else *known = array_of(state_of(self), words, self->count);
    }
    return Py_XNewRef(*known);
}

/* A slot as `record.SLOT` unpacks it. */
PyObject *slot_of_words(const uint64_t *word) {
    PyObject *slot = PyTuple_New(COLUMNS + 2);
    if (!slot) return NULL;
    for (int at = 0; at < COLUMNS; at++)
        PyTuple_SET_ITEM(slot, at, PyLong_FromUnsignedLongLong(word[at]));
    PyTuple_SET_ITEM(slot, COLUMNS, PyBytes_FromStringAndSize((const char *)(word + BODY_WORD), BODY_BYTES));
    PyTuple_SET_ITEM(slot, COLUMNS + 1, PyLong_FromUnsignedLongLong(word[COMMIT_WORD]));
    for (int at = 0; at < COLUMNS + 2; at++)
        if (!PyTuple_GET_ITEM(slot, at)) {
            Py_DECREF(slot);
            return NULL;
        }
    return slot;
}

static PyObject *slots_from(Batch *self, Py_ssize_t first) {
    Py_buffer memory;
    if (memory_of(self->view, &memory)) return NULL;
    PyObject *found = PyList_New(self->count - first);
    const uint64_t *word = (const uint64_t *)memory.buf + self->first_word + first * SLOT_WORDS;
    for (Py_ssize_t at = first; found && at < self->count; at++, word += SLOT_WORDS) {
        PyObject *slot = slot_of_words(word);
        if (!slot) Py_CLEAR(found);
        else PyList_SET_ITEM(found, at - first, slot);
    }
    PyBuffer_Release(&memory);
    return found;
}

static PyObject *newest(Batch *self, PyObject *limit) {
    Py_ssize_t most = PyLong_AsSsize_t(limit);
    if (most == -1 && PyErr_Occurred()) return NULL;
    return slots_from(self, most < 0 || most > self->count ? 0 : self->count - most);
}

static PyObject *at(Batch *self, PyObject *index) {
    Py_ssize_t which = PyLong_AsSsize_t(index);
    if (which == -1 && PyErr_Occurred()) return NULL;
    if (which < 0 || which >= self->count) return PyErr_Format(PyExc_IndexError, "no slot there");
    Py_buffer memory;
    if (memory_of(self->view, &memory)) return NULL;
    PyObject *found = slot_of_words((const uint64_t *)memory.buf + self->first_word
                                    + which * SLOT_WORDS);
    PyBuffer_Release(&memory);
    return found;
}

static PyObject *iter(Batch *self) {
    PyObject *slots = slots_from(self, 0);
    PyObject *found = slots ? PyObject_GetIter(slots) : NULL;
    Py_XDECREF(slots);
    return found;
}

static PyObject *all_flags(Batch *self, PyObject *unused) {
    return PyLong_FromUnsignedLongLong(self->flags);
}

static PyObject *blocks(Batch *self, PyObject *unused) {
    PyObject *found = PySet_New(NULL);
    for (Py_ssize_t at = 0; found && at < (self->has_one_block ? 1 : self->count); at++) {
        PyObject *block = PyLong_FromUnsignedLongLong(self->words[IDS][at] >> BLOCK_SHIFT);
        if (!block || PySet_Add(found, block)) Py_CLEAR(found);
        Py_XDECREF(block);
    }
    return found;
}

static PyObject *durations(Batch *self, PyObject *unused) {
    PyObject *found = PyList_New(self->count);
    for (Py_ssize_t at = 0; found && at < self->count; at++) {
        uint64_t took = took_ns(self->words[STARTS][at], self->words[ENDS][at]);
        PyObject *number = PyLong_FromUnsignedLongLong(took);
        if (!number) Py_CLEAR(found);
        else PyList_SET_ITEM(found, at, number);
    }
    return found;
}

static PyObject *spread(Batch *self, PyObject *unused) {
    return Py_BuildValue("KKKKKK", self->least_ns, self->longest_ns, self->words[ENDS][0],
                         self->words[ENDS][self->count - 1], self->parent, self->failures);
}

static Py_ssize_t length(Batch *self) { return self->count; }

static PyMethodDef methods[] = {
    {"all_flags", (PyCFunction)all_flags, METH_NOARGS, "The union of the meta words."},
    {"at", (PyCFunction)at, METH_O, "One slot, whole."},
    {"blocks", (PyCFunction)blocks, METH_NOARGS, "The blocks of rows that its ids belong to."},
    {"durations", (PyCFunction)durations, METH_NOARGS, "What each call took, bounded."},
    {"newest", (PyCFunction)newest, METH_O, "The last slots, whole; -1 for all."},
    {"spread", (PyCFunction)spread, METH_NOARGS, "As `Batch.spread`."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getters[] = {
    {"ids", (getter)column, NULL, NULL, (void *)IDS},
    {"parents", (getter)column, NULL, NULL, (void *)PARENTS},
    {"starts", (getter)column, NULL, NULL, (void *)STARTS},
    {"ends", (getter)column, NULL, NULL, (void *)ENDS},
    {"metas", (getter)column, NULL, NULL, (void *)METAS},
    {NULL},
};

static PyType_Slot batch_slots[] = {
    {Py_tp_doc, "Slots by columns, as `shmperf.shm.ring.Batch`."},
    {Py_tp_dealloc, batch_dealloc},
    {Py_tp_iter, iter},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {Py_sq_length, length},
    {0, NULL},
};

/* What it refers to never leads back to it: it needs no collection. */
PyType_Spec batch_spec = {
    .name = "shmperf._hot.Batch",
    .basicsize = sizeof(Batch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = batch_slots,
};
