/* What the files of the compiled path have in common; the layout itself is in layout.h. */

#ifndef SHMPERF_HOT_H
#define SHMPERF_HOT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "layout.h"

#include "drain.h"
#include "slot.h"

/* Where a block was found to stand. */
enum { SITES = 64 };
typedef struct {
    PyCodeObject *code;
    int at;
} Site;

struct steps;

/* Open calls in detail that may be given metadata, in so many lists by the rows that they have. */
enum { NOTED = 256 };

/* The resident memory that was read last, when, and by a process with which list of rows. */
typedef struct {
    PyObject *ready;
    uint64_t at_ns, bytes;
    int is_known;
} Memory;

/* What of the Python side the C side calls or looks at; one for each interpreter. */
typedef struct {
    PyTypeObject *binding_type, *fast_type, *steps_type, *awaited_type;
    /* What `adopt` was given; NULL before. */
    PyObject *current, *unfinished, *finish, *collecting, *is_programs, *spans, *above;
    PyObject *parent_of, *detour, *chosen, *lost, *suspect_hole, *refill, *forked_in;
    PyTypeObject *reached_type, *seen_type, *tool_type;
    /* `adopt_steps` and `adopt_loop`. */
    PyObject *named_callee, *pure_enter, *pure_exit, *placed, *read_memory;
    PyObject *is_vain, *exit_late;
    /* `adopt_detail`. */
    PyTypeObject *written_type;
    PyObject *handed_on, *enter_anew;
    /* `adopt_stepped`. */
    PyObject *pure_step_in, *pure_step_out;
    /* `adopt_pairs` and `adopt_blocks`. */
    PyTypeObject *started_type, *pair_type;
    PyObject *tools, *nothing, *no_params, *pairs, *pure_block;
    PyObject *pure_begin_pair, *pure_end_pair, *pair_announced, *pair_gave_up, *pair_ended_again;
    Py_ssize_t named_offset, pair_offset, pair_id_offset, pair_outer_offset, pair_is_open_offset;
    PyObject *outer_now, *running_loop;
    /* Before 3.12: by which name a thread notes its loop, the type of what it notes it by, and of which
       process that was found, which has these rows. */
    PyObject *loop_key, *loop_ready;
    PyTypeObject *loop_note_type;
    /* Names of methods and of what they are called with. */
    PyObject *enter_anyhow, *enter_in, *leave, *times_cpu, *in_order;
    /* Where the slots of Python's classes are. */
    Py_ssize_t bound_offset, sampled_offset, choice_offset, ended_offset, root_offset, fast_offset;
    Py_ssize_t tool_offset, detailed_offset, is_shown_offset, hand_out_offset;
    Site sites[SITES];
    struct steps *noted[NOTED];
    Memory memory;
    DrainState drain;
} State;

/* A tool's tuple: what its calls need to be recorded, with the addresses behind it. */
typedef struct {
    PyObject_HEAD
    PyObject *items; /* the tuple itself */
    uint64_t word;
    int fits_never;
    int64_t shift;
    const uint64_t *session;
    uint64_t *words;
    char *slots;
    PyMemoryViewObject *session_view, *words_view;
    PyListObject *ready;
    PyObject *positions;
} Binding;

/* Room for what is copied in pieces of 16 bytes and stored in pieces of 8. */
enum { BODY_ROOM = BODY_BYTES + 16 };

/* Parameters as a record holds them; low_meta is length and flags as they stand in the meta word. */
typedef struct {
    uint32_t low_meta;
    unsigned char body[BODY_ROOM];
} Captured;

/* A call between its begin and its end. References are its own. */
typedef struct {
    Binding *bound;
    PyObject *outer, *token, *row_object;
    /* What has struck as it ended, and is the program's: passed on once it has. */
    PyObject *struck;
    uint64_t row, call_id, parent, start_ns;
} Open;

static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The object in a slot of a Python class, by the slot's offset; borrowed, NULL when it is unset. */
static inline PyObject *slot_of(PyObject *object, Py_ssize_t offset) {
    return *(PyObject **)((char *)object + offset);
}

/* The exception that is set, as an object of its own, and no more set. */
static inline PyObject *raised(void) {
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *kind, *value, *traceback;
    PyErr_Fetch(&kind, &value, &traceback);
    PyErr_NormalizeException(&kind, &value, &traceback);
    if (value && traceback) PyException_SetTraceback(value, traceback);
    Py_XDECREF(kind);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* The same way back; the reference is taken over. */
static inline void raise_again(PyObject *error) {
#if PY_VERSION_HEX >= 0x030c0000
    PyErr_SetRaisedException(error);
#else
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(error)), error, PyException_GetTraceback(error));
#endif
}

/* binding.c */
extern PyType_Spec binding_spec;

/* A call's arguments: *count* in their order, and *named* with their names. */
typedef struct {
    PyObject *const *args, *const *names, *const *values;
    Py_ssize_t count, named;
} Given;

/* As they stand in a vectorcall, without the first *skip*. */
static inline Given given_by(PyObject *const *args, Py_ssize_t count, Py_ssize_t skip,
                             PyObject *kwnames) {
    Given given = {args + skip, NULL, args + count, count - skip, 0};
    if (kwnames) {
        given.names = ((PyTupleObject *)kwnames)->ob_item;
        given.named = PyTuple_GET_SIZE(kwnames);
    }
    return given;
}

static inline int is_released(Binding *bound) {
    return (bound->session_view->flags | bound->words_view->flags) & _Py_MEMORYVIEW_RELEASED;
}

/* Whether a tool's tuple is of this mode and session, and nothing forbids to go by it. */
static inline int fits(State *state, Binding *bound) {
    if (is_released(bound)) return 0;
#if PY_VERSION_HEX < 0x030c0000
    if (PyDict_GET_SIZE(state->collecting)) return 0;
#endif
    return __atomic_load_n(bound->session, __ATOMIC_RELAXED) == bound->word && !bound->fits_never;
}

/* capture.c: 1 when the parameters are short and encoded, 0 when somebody else has to. */
int capture(Captured *captured, const Given *given);
/* The same of a tuple without the first *skip*, and a dict. */
int capture_packed(Captured *captured, PyObject *args, PyObject *kwargs, int skip);

/* A tracked function. */
typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    State *state;
    PyObject *module;
    PyObject *function, *cell, *wrapped, *pure;
    /* Before 3.12: the function by which it is entered; NULL where that is not known. */
    PyObject *entrance;
    vectorcallfunc pure_call;
    uint64_t callee;
    int skip;
} Fast;

/* Where the tool looks now, by the wrapper's cell; borrowed. */
static inline PyObject *reached_now(State *state, Fast *fast) {
    PyObject *reached = PyCell_GET(fast->cell);
    return reached && Py_TYPE(reached)->tp_base == state->reached_type ? reached : NULL;
}

static inline Binding *bound_now(State *state, Fast *fast) {
    PyObject *reached = reached_now(state, fast);
    PyObject *bound = reached ? slot_of(reached, state->bound_offset) : NULL;
    return bound && Py_IS_TYPE(bound, state->binding_type) ? (Binding *)bound : NULL;
}

/* function.c */
extern PyType_Spec fast_spec;
PyObject *call_function(Fast *fast, PyObject *const *args, size_t flags, PyObject *kwnames);
PyObject *call_elsewhere(Fast *fast, PyObject *const *args, size_t flags, PyObject *kwnames);
PyObject *boost(PyObject *module, PyObject *args);
PyObject *begun_in_vain(State *state, Fast *fast, Open *open, const Captured *captured,
                        PyObject *const *args, size_t flags, PyObject *kwnames);
/* Whether the record of a call that has returned is stored. */
int is_stored(State *state, Fast *fast, Open *open, const Captured *captured, uint64_t end_ns);

/* What is current while a call is open, if it is not its *id*: a new reference, NULL with an error. */
typedef PyObject *(*Current)(State *state, Open *open, PyObject *id);

/* open.c */
int begin_call(State *state, Open *open, Binding *bound, uint64_t callee, int is_observed,
               uint64_t thread, Current current);
int store_call(State *state, Open *open, const Captured *captured, uint64_t callee, uint64_t end_ns,
               PyObject *tool, uint64_t *taken);
int refilled(State *state, Open *open, PyObject *tool, uint64_t end_ns);
int is_passed_on(Open *open);
int is_bound_anew(State *state, Open *open, PyObject *now);

/*
 * Whether its record can go where its tool's go by now, by the binding *now*: a tool is given other
 * grants while a call is open. Not where that is another process's, or the end of a call in which
 * this one has forked is to be told.
 */
static inline int follows(State *state, Open *open, PyObject *now) {
    if (now == (PyObject *)open->bound) return !is_released(open->bound);
    return is_bound_anew(state, open, now);
}
void free_row(Open *open);
int restore_context(State *state, Open *open);
/* The same, but for a call that ends in another context, which stays as it is. */
int leave_context(State *state, Open *open);
void forget_call(Open *open);
void lose(State *state, Open *open);
int leave_call(State *state, Open *open, const Captured *captured, PyObject *wrapped, int64_t end_ns,
               PyObject *error);
/* Whether an error is the program's: an interruption, and what its signal handlers raise. */
int is_the_programs(State *state, PyObject *error);
/* Lists *entry* and lets Python finish it: 0, -1 with an error that is the program's, and 1 where
   there is no memory to list it. */
int take_up(State *state, PyObject *entry, PyObject *outer);

/* module.c */
State *state_of_steps(PyObject *steps);
PyTypeObject *added_type(PyObject *module, PyType_Spec *spec);

/* A call begun in one step and ended in another. */
typedef struct steps {
    PyObject_HEAD
    PyObject *tool, *args, *kwargs, *opened, *metadata;
    /* Of a block, those inside it that are open; NULL for none. */
    PyObject *around;
    /* As Python has captured it; NULL where C has. */
    PyObject *body;
    Open open;
    uint64_t callee, meta, end_ns, position;
    long long cpu_ns, cpu_end_ns;
    /* In detail: its place in a list of `State.noted`. */
    struct steps *next, **link;
    Captured captured;
} Steps;

/* steps.c */
extern PyType_Spec steps_spec;
PyObject *steps_begin(State *state, Steps *self);
PyObject *steps_end(State *state, Steps *self);

/* detail.c */
long long cpu_now_ns(void);
void expect_metadata(State *state, Steps *self);
void forget_metadata(Steps *self);
PyObject *in_detail(PyObject *module, PyObject *id);
int whole_body(State *state, Steps *self, uint64_t end_ns, Captured *whole);
Binding *detailed_now(State *state, Fast *fast, PyObject **tool);
Steps *detailed_call(State *state, PyObject *tool, uint64_t callee, const Captured *captured,
                     int times_cpu);
int detail_returned(State *state, Fast *fast, Steps *call);
/* Python ends the call, with that *error* or, if it has returned, NULL: 0, or -1 with an error that is
   the program's. */
int detail_failed(State *state, Fast *fast, Steps *call, PyObject *error);
PyObject *call_in_detail(Fast *fast, PyObject *const *args, size_t flags, PyObject *kwnames);

/* pairs.c */
int block_init(PyObject *self, PyObject *args, PyObject *kwargs);
extern PyType_Spec begin_spec;
PyObject *end_pair(PyObject *module, PyObject *const *args, Py_ssize_t count);
int is_own_pair(State *state, Steps *self, PyObject *now);
PyObject *pair_of(State *state, Open *open, PyObject *id);

/* awaited.c */
extern PyType_Spec awaited_spec;
PyObject *begin_awaited(PyObject *fast, PyObject *const *given, Py_ssize_t count);

/* ringwrite.c */
extern PyType_Spec slot_spec;

/* sampled.c */
PyObject *call_sampled(State *state, Fast *fast, PyObject *sampled, PyObject *const *args,
                       size_t flags, PyObject *kwnames);
int packed(PyObject **tuple, PyObject **dict, PyObject *const *args, size_t flags, PyObject *kwnames);

#endif
