/*
 * Settling: the sum of each call's children, by their tools, and what they cover of it; as
 * `analysis.settlement.Settlement` does it, which does all that is not simple.
 */

#include "hot.h"

/* Children are of few tools mostly, and no clock has run for longer than 9 years. */
enum { MOST_TOOLS = 16 };
#define LATEST_END (1ULL << 58)
#define MOST_SUM (1ULL << 61)

/* ---- one family ---- */

typedef struct {
    PyObject *tool;
    uint64_t calls, total_ns, covered_ns;
} OfTool;

typedef struct {
    OfTool tools[MOST_TOOLS];
    int tool_count;
    Py_ssize_t call_count;
    uint64_t covered_ns;
} Sum;

static int order_of(const void *one, const void *other) {
    const Child *a = one, *b = other;
    if (a->start_ns != b->start_ns) return a->start_ns < b->start_ns ? -1 : 1;
    if (a->end_ns != b->end_ns) return a->end_ns < b->end_ns ? -1 : 1;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return a->tool == b->tool ? 0 : PyUnicode_Compare(a->tool, b->tool);
}

static OfTool *tool_in(Sum *sum, PyObject *tool) {
    for (int at = 0; at < sum->tool_count; at++)
        if (sum->tools[at].tool == tool || !PyUnicode_Compare(sum->tools[at].tool, tool))
            return &sum->tools[at];
    if (sum->tool_count == MOST_TOOLS) return NULL;
    OfTool *found = &sum->tools[sum->tool_count++];
    *found = (OfTool){.tool = tool};
    return found;
}

/* What `add_up` and `covered_within` find; 0 where Python has to do it. Sorts the rows. */
static int sum_up(Children *rows, uint64_t start, uint64_t end, Sum *sum) {
    sum->tool_count = 0;
    sum->call_count = 0;
    sum->covered_ns = 0;
    if (start > end || end > LATEST_END) return 0;
    uint64_t all_ns = 0;
    int is_sorted = 1;
    for (Py_ssize_t at = 0; at < rows->count; at++) {
        const Child *child = &rows->rows[at];
        OfTool *of = tool_in(sum, child->tool);
        /* One that outlived the call has to be clipped. */
        if (!of || child->start_ns > child->end_ns || child->end_ns > (child->id ? end : LATEST_END))
            return 0;
        const uint64_t took = child->end_ns - child->start_ns;
        if ((all_ns += took) > MOST_SUM) return 0;
        if (child->id) {
            of->calls++;
            of->total_ns += took;
            sum->call_count++;
        } else of->covered_ns += took;
        if (at && order_of(child - 1, child) > 0) is_sorted = 0;
    }
    if (!is_sorted) qsort(rows->rows, (size_t)rows->count, sizeof(Child), order_of);
    uint64_t last = start;
    for (Py_ssize_t at = 0; at < rows->count; at++) {
        const Child *child = &rows->rows[at];
        if (!child->id || child->end_ns <= last) continue;
        sum->covered_ns += child->end_ns - (child->start_ns > last ? child->start_ns : last);
        last = child->end_ns;
    }
    return 1;
}

/* ---- the graph ---- */

/* Appends what it is handed, and lets go of it. 0 or -1. */
static int tell(PyObject *list, PyObject *what) {
    int done = what ? PyList_Append(list, what) : -1;
    Py_XDECREF(what);
    return done;
}

/* Calls under a parent tool; None is none. */
typedef struct {
    PyObject *parent, *tool;
    uint64_t calls, total_ns;
    int64_t own_ns;
} Edge;

enum { EDGES = 256, MOST_EDGES = 128 };

/* What is counted so far, found by its names and told in its order, and the list that it goes to. */
typedef struct {
    Edge of[MOST_EDGES];
    int count;
    uint8_t places[EDGES];
    PyObject *list;
} Graph;

/* All are let go of, and told unless there is an error. 0 or -1. */
static int tell_edges(Graph *graph) {
    int done = PyErr_Occurred() ? -1 : 0;
    for (int at = 0; at < graph->count; at++) {
        Edge *edge = &graph->of[at];
        if (!done)
            done = tell(graph->list, Py_BuildValue("OOKKL", edge->parent, edge->tool, edge->calls,
                                                   edge->total_ns, (long long)edge->own_ns));
        Py_DECREF(edge->parent);
        Py_DECREF(edge->tool);
    }
    memset(graph->places, 0, sizeof graph->places);
    graph->count = 0;
    return done;
}

static Edge *edge_between(Graph *graph, PyObject *parent, PyObject *tool) {
    unsigned hash = (unsigned)((uintptr_t)parent >> 4) * 31 + (unsigned)((uintptr_t)tool >> 4);
    uint8_t *place = &graph->places[hash % EDGES];
    for (; *place; place = &graph->places[++hash % EDGES]) {
        Edge *edge = &graph->of[*place - 1];
        if (edge->parent == parent && edge->tool == tool) return edge;
    }
    Edge *edge = &graph->of[graph->count++];
    *edge = (Edge){Py_NewRef(parent), Py_NewRef(tool), 0, 0, 0};
    *place = (uint8_t)graph->count;
    return edge;
}

static int count_edge(Graph *graph, PyObject *parent, PyObject *tool, const OfTool *by) {
    if (graph->count == MOST_EDGES && tell_edges(graph)) return -1;
    Edge *edge = edge_between(graph, parent, tool);
    edge->calls += by->calls;
    edge->total_ns += by->total_ns;
    edge->own_ns += (int64_t)by->total_ns - (int64_t)by->covered_ns;
    const int64_t most = (int64_t)MOST_SUM;
    const int is_much = edge->total_ns > MOST_SUM || edge->own_ns > most || edge->own_ns < -most;
    return is_much ? tell_edges(graph) : 0;
}

/* ---- one call ---- */

typedef struct {
    uint64_t end, start, id, parent;
    PyObject *tool;
} Call;

typedef struct {
    DrainState *state;
    PyObject *families, *sums, *wanted, *others;
    Py_ssize_t most_ids;
    Graph graph;
    /* What Python is told. */
    PyObject *settled, *covered, *gone, *changed;
} Settling;

/* id, ids of the children, calls and time by tool, own time; all of one that somebody wants. */
static PyObject *row_of(const Call *call, PyObject *id, const Children *rows, const Sum *sum) {
    PyObject *ids = PyList_New(0), *tools = ids ? PyDict_New() : NULL;
    for (Py_ssize_t at = 0; tools && at < rows->count; at++)
        if (rows->rows[at].id
            && tell(ids, PyLong_FromUnsignedLongLong(rows->rows[at].id)))
            Py_CLEAR(tools);
    for (int at = 0; tools && at < sum->tool_count; at++) {
        const OfTool *of = &sum->tools[at];
        if (!of->calls) continue;
        PyObject *counts = Py_BuildValue("KK", of->calls, of->total_ns);
        if (!counts || PyDict_SetItem(tools, of->tool, counts)) Py_CLEAR(tools);
        Py_XDECREF(counts);
    }
    if (!tools) {
        Py_XDECREF(ids);
        return NULL;
    }
    return Py_BuildValue("ONNK", id, ids, tools, call->end - call->start - sum->covered_ns);
}

/* What its children covered was counted as own time of this call: to be taken off. 0 or -1. */
static int cover(Settling *settling, const Call *call, uint64_t covered_ns) {
    if (!covered_ns) return 0;
    if (tell(settling->covered, Py_BuildValue("OKK", call->tool, call->end, covered_ns))) return -1;
    if (!call->parent) {
        const OfTool by = {call->tool, 0, 0, covered_ns};
        return count_edge(&settling->graph, Py_None, call->tool, &by);
    }
    PyObject *parent = PyLong_FromUnsignedLongLong(call->parent);
    const Child child = {0, covered_ns, 0, call->tool};
    int done = parent ? add_to_family(settling->state, settling->families, parent, &child) : -1;
    if (!done) done = PyList_Append(settling->changed, parent);
    Py_XDECREF(parent);
    return done;
}

static int settle_in_python(Settling *settling, const Call *call) {
    /* Where there is room for few edges it goes by their order. */
    if (tell_edges(&settling->graph)) return -1;
    PyObject *found = PyObject_CallFunction(settling->others, "O(KKKK)", call->tool, call->id,
                                            call->parent, call->start, call->end);
    if (found == Py_None) {
        Py_DECREF(found);
        return 0;
    }
    return tell(settling->settled, found);
}

static int settle_here(Settling *settling, const Call *call, PyObject *id, const Children *rows,
                       const Sum *sum) {
    if (PyDict_DelItem(settling->families, id) || PyList_Append(settling->gone, id)) return -1;
    for (int at = 0; at < sum->tool_count; at++)
        if (count_edge(&settling->graph, call->tool, sum->tools[at].tool, &sum->tools[at])) return -1;
    if (cover(settling, call, sum->covered_ns)) return -1;
    if (!sum->call_count) return 0;
    int is_wanted = settling->wanted == Py_None ? 1 : PySequence_Contains(settling->wanted, id);
    if (is_wanted <= 0) return is_wanted;
    return tell(settling->settled, row_of(call, id, rows, sum));
}

/* 0 or -1. */
static int settle_one(Settling *settling, const Call *call) {
    PyObject *id = PyLong_FromUnsignedLongLong(call->id);
    PyObject *rows = id ? Py_XNewRef(PyDict_GetItemWithError(settling->families, id)) : NULL;
    int done = PyErr_Occurred() ? -1 : 0;
    if (rows) {
        const int is_summed = PyDict_Contains(settling->sums, id);
        Sum sum;
        if (is_summed < 0) done = -1;
        else if (!is_summed && Py_IS_TYPE(rows, settling->state->children_type)
                 && ((Children *)rows)->count <= settling->most_ids
                 && sum_up((Children *)rows, call->start, call->end, &sum))
            done = settle_here(settling, call, id, (Children *)rows, &sum);
        else done = settle_in_python(settling, call);
    }
    Py_XDECREF(rows);
    Py_XDECREF(id);
    return done;
}

/* ---- all of them ---- */

typedef struct {
    Call *calls;
    Py_ssize_t count, room;
} Calls;

/* By end: a child's own time is known before its parent asks for it. */
static int order_of_calls(const void *one, const void *other) {
    const Call *a = one, *b = other;
    if (a->end != b->end) return a->end < b->end ? -1 : 1;
    if (a->start != b->start) return a->start > b->start ? -1 : 1;
    if (a->tool != b->tool) {
        int order = PyUnicode_Compare(a->tool, b->tool);
        if (order) return order;
    }
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return a->parent < b->parent ? -1 : a->parent > b->parent;
}

static int add_call(Calls *calls, const Call *call) {
    if (calls->count == calls->room) {
        Py_ssize_t room = calls->room ? 2 * calls->room : 64;
        Call *more = PyMem_Realloc(calls->calls, sizeof *more * (size_t)room);
        if (!more) {
            PyErr_NoMemory();
            return -1;
        }
        calls->calls = more;
        calls->room = room;
    }
    calls->calls[calls->count++] = *call;
    return 0;
}

/* Those of a chunk that have a family. 1, 0 where Python has to do it, -1 with an error. */
static int find_in(PyObject *families, PyObject *chunk, Calls *calls) {
    if (!PyTuple_CheckExact(chunk) || PyTuple_GET_SIZE(chunk) != 2
        || !PyUnicode_CheckExact(PyTuple_GET_ITEM(chunk, 0)))
        return 0;
    PyObject *four = PyTuple_GET_ITEM(chunk, 1);
    if (!PyTuple_CheckExact(four) || PyTuple_GET_SIZE(four) != 4) return 0;
    Py_ssize_t count = PyObject_Length(PyTuple_GET_ITEM(four, 0));
    if (count < 0) return -1;
    Column columns[4] = {0};
    int found = 1;
    for (int at = 0; found == 1 && at < 4; at++)
        found = read_column(PyTuple_GET_ITEM(four, at), count, &columns[at]);
    for (Py_ssize_t at = 0; found == 1 && at < count; at++) {
        PyObject *id = PyLong_FromUnsignedLongLong(columns[0].words[at]);
        int has_family = id ? PyDict_Contains(families, id) : -1;
        Py_XDECREF(id);
        const Call call = {columns[3].words[at], columns[2].words[at], columns[0].words[at],
                           columns[1].words[at], PyTuple_GET_ITEM(chunk, 0)};
        if (has_family < 0 || (has_family && add_call(calls, &call))) found = -1;
    }
    let_columns_go(columns, 4);
    return found;
}

static PyObject *settled(Settling *settling, Calls *calls) {
    if (calls->count > 1) qsort(calls->calls, (size_t)calls->count, sizeof(Call), order_of_calls);
    PyObject *found = NULL;
    settling->settled = PyList_New(0);
    settling->covered = PyList_New(0);
    settling->gone = PyList_New(0);
    settling->changed = PyList_New(0);
    if (!PyErr_Occurred()) {
        int done = 0;
        for (Py_ssize_t at = 0; !done && at < calls->count; at++)
            done = settle_one(settling, &calls->calls[at]);
        if (!tell_edges(&settling->graph) && !done)
            found = PyTuple_Pack(4, settling->settled, settling->covered, settling->gone,
                                 settling->changed);
    }
    Py_XDECREF(settling->settled);
    Py_XDECREF(settling->covered);
    Py_XDECREF(settling->gone);
    Py_XDECREF(settling->changed);
    return found;
}

/*
 * settle(families, sums, chunks, wanted, most_ids, edges, others): settle the calls in *chunks* that
 * have a family; one that is not simple by *others* (tool, record). *edges* gets what is to be
 * counted: before that is called what comes before it. What those calls are that are *wanted*, all
 * for None; what was covered; which families are gone; and which have got a row. None, and nothing
 * done, where Python has to do it.
 */
PyObject *settle(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 7 || !PyDict_Check(args[0]) || !PyDict_CheckExact(args[1])
        || !PyList_CheckExact(args[2]) || !PyList_CheckExact(args[5]))
        return PyErr_Format(PyExc_TypeError, "families, sums, chunks, wanted, most, edges, others");
    Py_ssize_t most_ids = PyLong_AsSsize_t(args[4]);
    if (most_ids == -1 && PyErr_Occurred()) return NULL;
    Settling settling = {.families = args[0], .sums = args[1], .wanted = args[3], .others = args[6]};
    settling.state = &((State *)PyModule_GetState(module))->drain;
    settling.most_ids = most_ids;
    settling.graph.list = args[5];
    /* What others do may change the list. */
    PyObject *chunks = PyList_AsTuple(args[2]), *found = NULL;
    if (!chunks) return NULL;
    Calls calls = {0};
    int is_simple = 1;
    for (Py_ssize_t at = 0; is_simple == 1 && at < PyTuple_GET_SIZE(chunks); at++)
        is_simple = find_in(args[0], PyTuple_GET_ITEM(chunks, at), &calls);
    if (is_simple == 1) found = settled(&settling, &calls);
    else if (!is_simple) found = Py_NewRef(Py_None);
    PyMem_Free(calls.calls);
    Py_DECREF(chunks);
    return found;
}
