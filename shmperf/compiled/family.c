/*
 * The children of one call, as `analysis.children.Child`: start, end, id, tool. A row of them is 32
 * bytes here, and becomes a tuple when it is asked for.
 */

#include "hot.h"

/* Longer calls, and more of them at once, have sums that Python knows. */
enum { LONG_BITS = 40, MANY_BITS = 20 };

/* ---- columns ---- */

/*
 * The words in a column of so many: an array of them, or numbers in a tuple or list. 1; 0 for what
 * holds anything else; -1 with an error.
 */
int read_column(PyObject *object, Py_ssize_t count, Column *column) {
    const int is_tuple = PyTuple_CheckExact(object);
    if (!is_tuple && !PyList_CheckExact(object)) {
        if (!PyObject_CheckBuffer(object)) return 0;
        if (PyObject_GetBuffer(object, &column->memory, PyBUF_FORMAT)) {
            column->memory.obj = NULL;
            return -1;
        }
        column->words = column->memory.buf;
        return column->memory.format && !strcmp(column->memory.format, "Q")
               && column->memory.len == count * 8;
    }
    if ((is_tuple ? PyTuple_GET_SIZE(object) : PyList_GET_SIZE(object)) != count) return 0;
    if (!(column->own = PyMem_Malloc(8 * (size_t)(count + 1)))) {
        PyErr_NoMemory();
        return -1;
    }
    column->words = column->own;
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *number = is_tuple ? PyTuple_GET_ITEM(object, at) : PyList_GET_ITEM(object, at);
        if (!word_of(number, &column->own[at])) return 0;
    }
    return 1;
}

void let_columns_go(Column *columns, int count) {
    for (int at = 0; at < count; at++) {
        if (columns[at].memory.obj) PyBuffer_Release(&columns[at].memory);
        PyMem_Free(columns[at].own);
    }
}

/* ---- rows ---- */

static void children_dealloc(Children *self) {
    PyTypeObject *type = Py_TYPE(self);
    for (Py_ssize_t at = 0; at < self->count; at++) Py_DECREF(self->rows[at].tool);
    PyMem_Free(self->rows);
    type->tp_free(self);
    Py_DECREF(type);
}

/* 0 or -1. */
static int add_child(Children *self, const Child *child) {
    if (self->count == self->room) {
        Py_ssize_t room = self->room ? 2 * self->room : 4;
        Child *rows = PyMem_Realloc(self->rows, sizeof *rows * (size_t)room);
        if (!rows) {
            PyErr_NoMemory();
            return -1;
        }
        self->rows = rows;
        self->room = room;
    }
    Py_INCREF(child->tool);
    self->rows[self->count++] = *child;
    return 0;
}

static PyObject *tuple_of(const Child *child) {
    PyObject *found = PyTuple_New(4);
    const uint64_t numbers[] = {child->start_ns, child->end_ns, child->id};
    for (int at = 0; found && at < 3; at++) {
        PyObject *number = PyLong_FromUnsignedLongLong(numbers[at]);
        if (!number) Py_CLEAR(found);
        else PyTuple_SET_ITEM(found, at, number);
    }
    if (found) PyTuple_SET_ITEM(found, 3, Py_NewRef(child->tool));
    return found;
}

/* append(row): OverflowError where a number is no word. */
static PyObject *append(Children *self, PyObject *row) {
    if (!PyTuple_CheckExact(row) || PyTuple_GET_SIZE(row) != 4
        || !PyUnicode_CheckExact(PyTuple_GET_ITEM(row, 3)))
        return PyErr_Format(PyExc_TypeError, "start, end, id, tool");
    Child child = {.tool = PyTuple_GET_ITEM(row, 3)};
    uint64_t *const numbers[] = {&child.start_ns, &child.end_ns, &child.id};
    for (int at = 0; at < 3; at++)
        if (!word_of(PyTuple_GET_ITEM(row, at), numbers[at]))
            return PyErr_Format(PyExc_OverflowError, "no word");
    if (add_child(self, &child)) return NULL;
    Py_RETURN_NONE;
}

static PyObject *children_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    if ((kwargs && PyDict_GET_SIZE(kwargs)) || PyTuple_GET_SIZE(args))
        return PyErr_Format(PyExc_TypeError, "rows come one by one");
    return type->tp_alloc(type, 0);
}

static Py_ssize_t length(Children *self) { return self->count; }

static PyObject *iter(Children *self) {
    PyObject *list = PyList_New(self->count);
    for (Py_ssize_t at = 0; list && at < self->count; at++) {
        PyObject *row = tuple_of(&self->rows[at]);
        if (!row) Py_CLEAR(list);
        else PyList_SET_ITEM(list, at, row);
    }
    PyObject *found = list ? PyObject_GetIter(list) : NULL;
    Py_XDECREF(list);
    return found;
}

static PyMethodDef methods[] = {
    {"append", (PyCFunction)append, METH_O, "A further row: start, end, id, tool."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot children_slots[] = {
    {Py_tp_doc, "The rows of a family, as a list of `shmperf.analysis.children.Child` is."},
    {Py_tp_new, children_new},
    {Py_tp_dealloc, children_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_iter, iter},
    {Py_sq_length, length},
    {0, NULL},
};

/* It refers to texts alone: it needs no collection. */
PyType_Spec children_spec = {
    .name = "shmperf._hot.Children",
    .basicsize = sizeof(Children),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = children_slots,
};

/* ---- families ---- */

/* A row to the family of that *parent*, which has rows here, or a list. 0 or -1. */
int add_to_family(DrainState *state, PyObject *families, PyObject *parent, const Child *child) {
    PyObject *family = Py_XNewRef(PyDict_GetItemWithError(families, parent));
    if (!family) {
        if (PyErr_Occurred()) return -1;
        family = state->children_type->tp_alloc(state->children_type, 0);
        if (!family || PyDict_SetItem(families, parent, family)) {
            Py_XDECREF(family);
            return -1;
        }
    }
    int done = -1;
    if (Py_IS_TYPE(family, state->children_type)) done = add_child((Children *)family, child);
    else if (PyList_CheckExact(family)) {
        PyObject *row = tuple_of(child);
        done = row ? PyList_Append(family, row) : -1;
        Py_XDECREF(row);
    } else PyErr_SetString(PyExc_TypeError, "a family is its rows");
    Py_DECREF(family);
    return done;
}

static int add_rows(DrainState *state, PyObject *const *args, const Column *columns,
                    Py_ssize_t count) {
    const uint64_t *parents = columns[0].words;
    PyObject *parent = NULL;
    int done = 0;
    for (Py_ssize_t at = 0; !done && at < count; at++) {
        if (!parents[at]) continue;
        if (!parent || parents[at] != parents[at - 1]) {
            Py_XDECREF(parent);
            if (!(parent = PyLong_FromUnsignedLongLong(parents[at]))) return -1;
            if (PySet_Add(args[1], parent)) break;
        }
        const Child child = {columns[1].words[at], columns[2].words[at], columns[3].words[at],
                             args[2]};
        done = add_to_family(state, args[0], parent, &child);
    }
    Py_XDECREF(parent);
    return done || PyErr_Occurred() ? -1 : 0;
}

/* Calls, and their time, without a parent; 0 where the columns hold what Python has to look at. */
static int look_at(const Column *columns, Py_ssize_t count, uint64_t *calls, uint64_t *total_ns) {
    const uint64_t *parents = columns[0].words, *starts = columns[1].words, *ends = columns[2].words;
    uint64_t longest = 0;
    int is_ordered = 1;
    *calls = *total_ns = 0;
    for (Py_ssize_t at = 0; at < count; at++) {
        const uint64_t took = ends[at] - starts[at];
        is_ordered &= starts[at] <= ends[at];
        longest |= took;
        *calls += !parents[at];
        *total_ns += parents[at] ? 0 : took;
    }
    return is_ordered && !(longest >> LONG_BITS) && !(count >> MANY_BITS);
}

/*
 * add_children(families, changed, tool, parents, starts, ends, ids): a row for each to its parent's
 * family, which is then noted as changed. How many have no parent, and their time; None, and nothing
 * done, where Python has to do it.
 */
PyObject *add_children(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    DrainState *state = &((State *)PyModule_GetState(module))->drain;
    if (count != 7 || !PyDict_Check(args[0]) || !PyAnySet_Check(args[1])
        || !PyUnicode_CheckExact(args[2]))
        return PyErr_Format(PyExc_TypeError, "families, a set, a tool, four columns");
    Py_ssize_t length = PyObject_Length(args[3]);
    if (length < 0) return NULL;
    Column columns[4] = {0};
    int is_simple = 1, done = 0;
    uint64_t calls = 0, total_ns = 0;
    for (int at = 0; is_simple == 1 && at < 4; at++)
        is_simple = read_column(args[3 + at], length, &columns[at]);
    if (is_simple == 1) is_simple = look_at(columns, length, &calls, &total_ns);
    if (is_simple == 1 && calls < (uint64_t)length) done = add_rows(state, args, columns, length);
    let_columns_go(columns, 4);
    if (is_simple < 0 || done) return NULL;
    if (!is_simple) Py_RETURN_NONE;
    return Py_BuildValue("KK", calls, total_ns);
}
