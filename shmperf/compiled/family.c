/* The sum of a call's children, as `analysis.children` makes it of rows: start, end, id, tool. */

#include "hot.h"

typedef struct {
    uint64_t start, end, id;
    PyObject *tool;
} Row;

typedef struct {
    PyObject *tool;
    uint64_t calls, total_ns, covered_ns;
} OfTool;

enum { MOST_TOOLS = 16 };

/* 1 when it is a row whose numbers are below a half of what 64 bits hold; borrowed. */
static int read_row(PyObject *object, Row *row) {
    if (!PyTuple_CheckExact(object) || PyTuple_GET_SIZE(object) != 4) return 0;
    uint64_t *const numbers[] = {&row->start, &row->end, &row->id};
    for (int at = 0; at < 3; at++) {
        PyObject *number = PyTuple_GET_ITEM(object, at);
        if (!PyLong_CheckExact(number)) return 0;
        *numbers[at] = PyLong_AsUnsignedLongLong(number);
        if (*numbers[at] == UINT64_MAX && PyErr_Occurred()) {
            PyErr_Clear();
            return 0;
        }
    }
    row->tool = PyTuple_GET_ITEM(object, 3);
    return PyUnicode_CheckExact(row->tool) && row->end >= row->start && row->end <= INT64_MAX / 2;
}

static inline int is_before(const Row *one, const Row *other) {
    if (one->start != other->start) return one->start < other->start;
    if (one->end != other->end) return one->end < other->end;
    return one->id < other->id;
}

static OfTool *tool_of(OfTool *tools, int *count, PyObject *tool) {
    for (int at = 0; at < *count; at++)
        if (tools[at].tool == tool || PyUnicode_Compare(tools[at].tool, tool) == 0) return &tools[at];
    if (*count == MOST_TOOLS) return NULL;
    tools[*count] = (OfTool){tool, 0, 0, 0};
    return &tools[(*count)++];
}

/* All rows; 0 when there is one that is not simple. *in_order* tells whether they are sorted. */
static int read_rows(PyObject *list, Row *rows, int *in_order) {
    *in_order = 1;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(list); at++) {
        if (!read_row(PyList_GET_ITEM(list, at), &rows[at])) return 0;
        if (at && !is_before(&rows[at - 1], &rows[at])) *in_order = 0;
    }
    return 1;
}

static PyObject *dict_of(const OfTool *tools, int count) {
    PyObject *found = PyDict_New();
    for (int at = 0; found && at < count; at++) {
        PyObject *counts = Py_BuildValue("[KKL]", tools[at].calls, tools[at].total_ns,
                                         (long long)(tools[at].total_ns - tools[at].covered_ns));
        if (!counts || PyDict_SetItem(found, tools[at].tool, counts)) Py_CLEAR(found);
        Py_XDECREF(counts);
    }
    return found;
}

static PyObject *ids_of(PyObject *list, const Row *rows, Py_ssize_t count) {
    PyObject *found = PyList_New(0);
    for (Py_ssize_t at = 0; found && at < count; at++)
        if (rows[at].id && PyList_Append(found, PyTuple_GET_ITEM(PyList_GET_ITEM(list, at), 2)))
            Py_CLEAR(found);
    return found;
}

/* Calls and time by tool, the time covered, and the ids; NULL without an error: not simple. */
static PyObject *summed(PyObject *list, const Row *rows, uint64_t start, uint64_t end) {
    OfTool tools[MOST_TOOLS];
    int count = 0;
    uint64_t covered = 0, last = start, sum = 0;
    const Py_ssize_t all = PyList_GET_SIZE(list);
    for (Py_ssize_t at = 0; at < all; at++) {
        const Row *row = &rows[at];
        OfTool *of = tool_of(tools, &count, row->tool);
        sum += row->end - row->start;
        if (!of || sum > INT64_MAX / 2) return NULL;
        if (!row->id) {
            of->covered_ns += row->end - row->start;
            continue;
        }
        of->calls++;
        of->total_ns += row->end - row->start;
        if (row->end > last) {
            covered += row->end - (row->start > last ? row->start : last);
            last = row->end;
        }
    }
    /* One that outlived the call has to be clipped: rare. */
    if (last > end) return NULL;
    PyObject *by_tool = dict_of(tools, count), *ids = by_tool ? ids_of(list, rows, all) : NULL;
    if (ids) return Py_BuildValue("NKN", by_tool, covered, ids);
    Py_XDECREF(by_tool);
    return NULL;
}

/*
 * sum_children(rows, start, end): what `add_up`, `covered_within` and the ids are of a call that
 * lasted from *start* to *end*; the list is sorted afterwards. None where Python has to do it.
 */
PyObject *sum_children(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 3 || !PyList_CheckExact(args[0]))
        return PyErr_Format(PyExc_TypeError, "a list of rows, start, end");
    uint64_t start = PyLong_AsUnsignedLongLong(args[1]), end = PyLong_AsUnsignedLongLong(args[2]);
    if (PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) return NULL;
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    Row *rows = PyMem_Malloc(sizeof *rows * (size_t)(PyList_GET_SIZE(args[0]) + 1));
    if (!rows) return PyErr_NoMemory();
    int in_order, is_simple = read_rows(args[0], rows, &in_order);
    if (is_simple && !in_order) {
        /* Numbers and texts are compared: nothing else runs, and the list stays as long. */
        if (PyList_Sort(args[0])) {
            PyMem_Free(rows);
            return NULL;
        }
        is_simple = read_rows(args[0], rows, &in_order);
    }
    PyObject *found = is_simple ? summed(args[0], rows, start, end) : NULL;
    PyMem_Free(rows);
    if (!found && !PyErr_Occurred()) Py_RETURN_NONE;
    return found;
}

/* ---- adding ---- */

/* The words of a column that has them; others are not simple. */
static int words_of(PyObject *column, Py_ssize_t count, Py_buffer *memory) {
    if (!PyObject_CheckBuffer(column) || memory_of(column, memory)) {
        memory->obj = NULL;
        return -1;
    }
    return memory->len == count * 8 && (!count || !((uintptr_t)memory->buf & 7)) ? 0 : -1;
}

static PyObject *row_of(const uint64_t *const *columns, Py_ssize_t at, PyObject *tool) {
    PyObject *row = PyTuple_New(4);
    for (int column = 0; row && column < 3; column++) {
        PyObject *number = PyLong_FromUnsignedLongLong(columns[column][at]);
        if (!number) Py_CLEAR(row);
        else PyTuple_SET_ITEM(row, column, number);
    }
    if (row) PyTuple_SET_ITEM(row, 3, Py_NewRef(tool));
    return row;
}

/* The rows of that parent, noted as changed; a new reference. */
static PyObject *family_of(PyObject *families, PyObject *changed, uint64_t parent) {
    PyObject *key = PyLong_FromUnsignedLongLong(parent);
    PyObject *found = key ? PyObject_GetItem(families, key) : NULL;
    if (found && (!PyList_CheckExact(found) || PySet_Add(changed, key))) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "a family is a list");
        Py_CLEAR(found);
    }
    Py_XDECREF(key);
    return found;
}

static int add_rows(PyObject *const *args, const uint64_t *parents, const uint64_t *const *columns,
                    Py_ssize_t count) {
    PyObject *family = NULL;
    int done = 0;
    for (Py_ssize_t at = 0; !done && at < count; at++) {
        if (!at || parents[at] != parents[at - 1]) {
            Py_XDECREF(family);
            if (!(family = family_of(args[0], args[1], parents[at]))) return -1;
        }
        PyObject *row = row_of(columns, at, args[2]);
        done = row ? PyList_Append(family, row) : -1;
        Py_XDECREF(row);
    }
    Py_XDECREF(family);
    return done;
}

/*
 * add_children(families, changed, tool, parents, starts, ends, ids): a row for each to its parent's
 * family, which is then noted as changed. The columns are words, of one length.
 */
PyObject *add_children(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 7 || !PyAnySet_Check(args[1]) || !PyUnicode_CheckExact(args[2]))
        return PyErr_Format(PyExc_TypeError, "families, a set, a tool, four columns");
    Py_ssize_t length = PyObject_Length(args[3]);
    if (length < 0) return NULL;
    Py_buffer memory[4];
    int held = 0, done = 0;
    while (!done && held < 4) done = words_of(args[3 + held], length, &memory[held]), held++;
    if (done && !PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "columns of words");
    if (!done) {
        const uint64_t *columns[] = {memory[1].buf, memory[2].buf, memory[3].buf};
        done = add_rows(args, memory[0].buf, columns, length);
    }
    for (int at = 0; at < held; at++) PyBuffer_Release(&memory[at]);
    if (done) return NULL;
    Py_RETURN_NONE;
}
