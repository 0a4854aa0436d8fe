/*
 * A call's begin and end, in the order of the protocol (see `worker.hotpath`).
 *
 * Nothing in here runs Python between the mark and the deed: signal handlers, other threads and,
 * from 3.12 on, collections of garbage have their turn between bytecodes alone. Where Python is
 * called, what it needs to take the call up is listed before.
 */

#include "hot.h"

static inline PyObject *take_row(PyListObject *ready) {
    Py_ssize_t count = Py_SIZE(ready);
    if (!count) return NULL;
    PyObject *row = PyList_GET_ITEM(ready, count - 1);
    Py_SET_SIZE(ready, count - 1);
    return row; /* the list's reference is ours now */
}

static inline void give_row_back(PyListObject *ready, PyObject *row) {
    Py_ssize_t count = Py_SIZE(ready);
    if (count < ready->allocated) {
        PyList_SET_ITEM(ready, count, row);
        Py_SET_SIZE(ready, count + 1);
        return;
    }
    if (PyList_Append((PyObject *)ready, row)) PyErr_Clear();
    Py_DECREF(row);
}

void forget_call(Open *open) {
    Py_CLEAR(open->outer);
    Py_CLEAR(open->token);
    Py_CLEAR(open->row_object);
    Py_CLEAR(open->bound);
    Py_CLEAR(open->struck);
}

/* What Python says whose id that is; -1 with an error. */
static int ask_for_parent(Open *open, PyObject *found) {
    if (!found) return -1;
    open->parent = PyLong_AsUnsignedLongLong(found);
    Py_DECREF(found);
    return PyErr_Occurred() ? -1 : 0;
}

/* What the row says of its parent: 1 where it is known, 0 where a hook may have seen this very call
   (that takes another way), if calls of this kind are seen by hooks; -1 for an error. */
static inline int find_parent(State *state, Open *open, int is_observed) {
    if (PyLong_CheckExact(open->outer)) {
        open->parent = PyLong_AsUnsignedLongLong(open->outer);
        if (open->parent == (uint64_t)-1 && PyErr_Occurred()) return -1;
    }
    else if (is_observed && Py_IS_TYPE(open->outer, state->seen_type)) return 0;
    else if (ask_for_parent(open, PyObject_CallOneArg(state->parent_of, open->outer))) return -1;
    if (open->parent || slot_of(state->spans, state->root_offset) != Py_None) return 1;
    return ask_for_parent(open, PyObject_CallNoArgs(state->above)) ? -1 : 1;
}

/* It has not begun: 0, or -1 with an error. */
static int not_begun(Open *open, int found) {
    forget_call(open);
    return found;
}

/*
 * Begin a call, which *thread* is to be told of where no frame of ours says whose it is: 1 when it
 * has begun and is current, 0 when it has to go another way, and -1, with an error, when it has begun
 * and could not be made current, or the program was interrupted. Whoever runs meanwhile, in another
 * thread or a finaliser, may bind the tool anew: what it begins by is held before all else.
 */
int begin_call(State *state, Open *open, Binding *bound, uint64_t callee, int is_observed,
               uint64_t thread, Current current) {
    memset(open, 0, sizeof *open);
    open->bound = (Binding *)Py_NewRef((PyObject *)bound);
    if (PyContextVar_Get(state->current, NULL, &open->outer)) return not_begun(open, -1);
    int found = find_parent(state, open, is_observed);
    if (found != 1) return not_begun(open, found);
    if (is_released(bound)) return not_begun(open, 0);
    POINT("row-take");
    PyObject *row_object = take_row(bound->ready);
    if (!row_object) return not_begun(open, 0);
    open->row_object = row_object;
    open->row = PyLong_AsUnsignedLongLong(row_object);
    uint64_t *row = bound->words + open->row;
    POINT("row-next-id");
    /* Ahead of the mark: it takes memory. */
    uint64_t call_id = row[ID] + GENERATION_STEP;
    PyObject *id = PyLong_FromUnsignedLongLong(call_id);
    if (id && current) Py_SETREF(id, current(state, open, id));
    if (!id || is_released(bound)) {
        PyErr_Clear();
        Py_XDECREF(id);
        open->row_object = NULL;
        give_row_back(bound->ready, row_object);
        return not_begun(open, 0);
    }
    open->start_ns = now_ns();
    open->call_id = call_id;
    begin_row(row, &(OpenRow){.id = call_id, .parent = open->parent, .start_ns = open->start_ns,
                              .callee = callee, .thread = thread});
    POINT("row-begun");
    open->token = PyContextVar_Set(state->current, id);
    Py_DECREF(id);
    return open->token ? 1 : -1;
}

/* Resetting costs half of setting; in another context than its own a token is of no use. */
int restore_context(State *state, Open *open) {
    POINT("context-restore");
    if (open->token && PyContextVar_Reset(state->current, open->token) == 0) return 0;
    PyErr_Clear();
    PyObject *token = PyContextVar_Set(state->current, open->outer);
    Py_XDECREF(token);
    return token ? 0 : -1;
}

/* 0 when there is none; where there is no memory for its number it is a hole, to be looked for. */
static inline uint64_t take_position(State *state, Binding *bound, PyObject *tool) {
    PyObject *taken = Py_TYPE(bound->positions)->tp_iternext(bound->positions);
    if (!taken) {
        PyObject *suspected = NULL;
        if (PyErr_Occurred()) {
            PyErr_Clear();
            suspected = PyObject_CallOneArg(state->suspect_hole, tool);
        }
        PyErr_Clear();
        Py_XDECREF(suspected);
        return 0;
    }
    uint64_t position = PyLong_AsUnsignedLongLong(taken);
    Py_DECREF(taken);
    return position;
}

/* The slot that comes next was read by another core: it is asked for now, and is here by then. Behind
   a ring's end nothing happens. */
static inline void expect_store(const void *slot) {
#if defined(__x86_64__)
    for (int line = 0; line < SLOT_BYTES; line += 64)
        __asm__ volatile("prefetchw %0" : : "m"(*((const char *)slot + line)));
#else
    for (int line = 0; line < SLOT_BYTES; line += 64)
        __builtin_prefetch((const char *)slot + line, 1);
#endif
}

/*
 * Store a call that has returned, while its tool is bound as it was; 0 when the grant is exhausted
 * and nothing was done.
 */
int store_call(State *state, Open *open, const Captured *captured, uint64_t callee, uint64_t end_ns,
               PyObject *tool, uint64_t *taken) {
    Binding *bound = open->bound;
    POINT("slot-take");
    uint64_t position = *taken = take_position(state, bound, tool);
    if (!position) return 0;
    uint64_t *slot = (uint64_t *)(bound->slots + (int64_t)position + bound->shift);
    store_slot(slot, position, &(Record){.id = open->call_id, .parent = open->parent,
                                         .start_ns = open->start_ns, .end_ns = end_ns,
                                         .meta = callee << CALLEE_SHIFT | captured->low_meta,
                                         .body = captured->body});
    POINT("slot-stored");
    expect_store(slot + SLOT_WORDS);
    return 1;
}

int is_bound_anew(State *state, Open *open, PyObject *now) {
    if (!now || !Py_IS_TYPE(now, state->binding_type)) return 0;
    Binding *bound = (Binding *)now;
    if (bound->ready != open->bound->ready || is_released(bound)) return 0;
    if (PySet_GET_SIZE(state->forked_in)) {
        PyObject *id = PyLong_FromUnsignedLongLong(open->call_id);
        int has_forked = id ? PySet_Contains(state->forked_in, id) : -1;
        Py_XDECREF(id);
        PyErr_Clear();
        if (has_forked) return 0;
    }
    Py_SETREF(open->bound, (Binding *)Py_NewRef(now));
    return 1;
}

/*
 * Whether its tool has another grant now, the last one being exhausted. What strikes meanwhile is
 * kept: the call has to end first. One that was slow ends in Python, which looks at what it shows.
 */
int refilled(State *state, Open *open, PyObject *tool, uint64_t end_ns) {
    if (end_ns - open->start_ns >= SLOW_NS) return 0;
    PyObject *positions = open->bound->positions;
    POINT("grant-refill");
    PyObject *answer = PyObject_CallFunctionObjArgs(state->refill, tool, positions, NULL);
    POINT("grant-refilled");
    if (answer) {
        Py_DECREF(answer);
        return answer == Py_True;
    }
    PyObject *error = raised();
    if (is_the_programs(state, error)) Py_XSETREF(open->struck, error);
    else Py_DECREF(error);
    return 0;
}

/* Whether something has struck as it ended, which is the error from here on. */
int is_passed_on(Open *open) {
    PyObject *struck = open->struck;
    open->struck = NULL;
    if (struck) raise_again(struck);
    return struck != NULL;
}

int leave_context(State *state, Open *open) {
    if (PyContextVar_Reset(state->current, open->token) == 0) return 0;
    int is_elsewhere = PyErr_ExceptionMatches(PyExc_ValueError);
    PyErr_Clear();
    return is_elsewhere ? 0 : restore_context(state, open);
}

void free_row(Open *open) {
    POINT("row-give-up");
    PyObject *row_object = open->row_object;
    open->row_object = NULL;
    POINT("row-free");
    give_row_back(open->bound->ready, row_object);
}

/* Where there is no memory to list it, the call is lost, which its row says and, if that can be, the
   counter of its cause. */
void lose(State *state, Open *open) {
    if (is_released(open->bound)) {
        Py_CLEAR(open->row_object);
        return;
    }
    PyObject *counted = PyObject_CallFunction(state->lost, "KK", (unsigned long long)open->row,
                                              (unsigned long long)open->call_id);
    if (!counted) PyErr_Clear();
    Py_XDECREF(counted);
    mark_loss(open->bound->words + open->row, open->call_id);
    free_row(open);
    /* It may be current although making it so has failed. */
    if (restore_context(state, open)) PyErr_Clear();
}

/* What is left undone in this thread, with *entry* behind it; a new reference, NULL without memory. */
static PyObject *listed(State *state, PyObject *entry) {
    PyObject *key = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    PyObject *empty = PyList_New(0), *left = NULL;
    if (key && empty) left = PyDict_SetDefault(state->unfinished, key, empty);
    Py_XDECREF(key);
    Py_XDECREF(empty);
    POINT("left-list");
    if (!left || PyList_Append(left, entry)) {
        PyErr_Clear();
        return NULL;
    }
    POINT("left-listed");
    return Py_NewRef(left);
}

int is_the_programs(State *state, PyObject *error) {
    if (Py_IS_TYPE(error, (PyTypeObject *)PyExc_RecursionError)) return 0;
    PyObject *answer = PyObject_CallOneArg(state->is_programs, error);
    int is_programs = answer ? PyObject_IsTrue(answer) : 0;
    Py_XDECREF(answer);
    PyErr_Clear();
    return is_programs == 1;
}

static int finish(State *state, PyObject *left, PyObject *outer) {
    PyObject *done = PyObject_CallFunctionObjArgs(state->finish, left, outer, NULL);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

int take_up(State *state, PyObject *entry, PyObject *outer) {
    PyObject *left = listed(state, entry), *struck = NULL;
    if (!left) return 1;
    if (finish(state, left, outer)) {
        /* Struck; again within microseconds it is left to the next call. */
        struck = raised();
        if (finish(state, left, outer)) {
            PyObject *again = raised();
            if (is_the_programs(state, again)) Py_XSETREF(struck, Py_NewRef(again));
            Py_DECREF(again);
        }
        if (!is_the_programs(state, struck)) Py_CLEAR(struck);
    }
    Py_DECREF(left);
    if (!struck) return 0;
    raise_again(struck);
    return -1;
}

/*
 * Let Python end what the C path can't: a call that raised (*error*, end -1), one whose grant is
 * exhausted or whose tool is bound anew. 0, or -1 with an error that is the program's.
 */
int leave_call(State *state, Open *open, const Captured *captured, PyObject *wrapped, int64_t end_ns,
               PyObject *error) {
    PyObject *entry = Py_BuildValue(
        "[OOOO(OKKKLii)(y#I)]", Py_None, error ? error : Py_None, wrapped,
        (PyObject *)open->bound->ready, open->row_object, (unsigned long long)open->call_id,
        (unsigned long long)open->parent, (unsigned long long)open->start_ns, (long long)end_ns, 0,
        0, captured->body, (Py_ssize_t)(captured->low_meta & LENGTH_MASK), captured->low_meta);
    int done = 1;
    if (entry) done = take_up(state, entry, open->outer);
    else PyErr_Clear();
    Py_XDECREF(entry);
    if (done == 1) {
        lose(state, open);
        done = 0;
    }
    if (!done && is_passed_on(open)) done = -1;
    forget_call(open);
    return done;
}
