/*
 * Calls in detail, which optimization mode asks for: a function's, and what each kind of call adds
 * to its record (see `worker.callbody`).
 */

#include "hot.h"

#include <stddef.h>

long long cpu_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- metadata ----------------------------------------------------------------------------------- */

static Steps **noted_at(State *state, uint64_t call_id) {
    return &state->noted[(call_id & (GENERATION_STEP - 1)) % NOTED];
}

/* From here on `in_detail` finds the open call. */
void expect_metadata(State *state, Steps *self) {
    forget_metadata(self);
    Py_XSETREF(self->metadata, Py_NewRef(Py_None));
    Steps **first = noted_at(state, self->open.call_id);
    self->next = *first;
    if (self->next) self->next->link = &self->next;
    self->link = first;
    *first = self;
}

void forget_metadata(Steps *self) {
    if (!self->link) return;
    *self->link = self->next;
    if (self->next) self->next->link = self->link;
    self->link = NULL;
    self->next = NULL;
}

/* in_detail(id): the open call of that id which C has begun in detail; None where there is none. */
PyObject *in_detail(PyObject *module, PyObject *id) {
    uint64_t call_id = PyLong_AsUnsignedLongLong(id);
    if (call_id == UINT64_MAX && PyErr_Occurred()) return NULL;
    Steps *found = *noted_at(PyModule_GetState(module), call_id);
    while (found && found->open.call_id != call_id) found = found->next;
    return Py_NewRef(found ? (PyObject *)found : Py_None);
}

/* --- the record --------------------------------------------------------------------------------- */

/*
 * Have the resident memory at hand that is told of a call which ends now; 0, or -1 with an error.
 * How old it may be `callbody` says, which reads it. What was read in another process than the
 * call's has another list of rows.
 */
static int recall_memory(State *state, Steps *self, uint64_t end_ns) {
    Memory *memory = &state->memory;
    PyObject *ready = (PyObject *)self->open.bound->ready;
    uint64_t start_ns = self->open.start_ns;
    uint64_t most_ns = end_ns - start_ns < MEMORY_AGE_NS ? MEMORY_MOST_AGE_NS : MEMORY_AGE_NS;
    if (memory->ready == ready && end_ns - memory->at_ns < most_ns) return 0;
    PyObject *bytes, *read = PyObject_CallFunction(
        state->read_memory, "KK", (unsigned long long)start_ns, (unsigned long long)end_ns);
    unsigned long long at_ns;
    if (!read || !PyArg_ParseTuple(read, "OK", &bytes, &at_ns)) {
        Py_XDECREF(read);
        return -1;
    }
    memory->is_known = PyLong_CheckExact(bytes);
    memory->bytes = memory->is_known ? PyLong_AsUnsignedLongLong(bytes) : 0;
    memory->at_ns = at_ns;
    Py_XSETREF(memory->ready, Py_NewRef(ready));
    Py_DECREF(read);
    return PyErr_Occurred() ? -1 : 0;
}

static unsigned char *put_big_endian(unsigned char *at, unsigned char tag, uint64_t number) {
    number = __builtin_bswap64(number);
    *at = tag;
    memcpy(at + 1, &number, 8);
    return at + 9;
}

/* msgpack's least form of a number: what a process has takes four bytes, or eight. */
static unsigned char *put_memory(unsigned char *at, const Memory *memory) {
    if (memory->bytes >= 0x100000000) return put_big_endian(at, 0xcf, memory->bytes);
    if (memory->is_known) put_big_endian(at, 0xce, memory->bytes << 32);
    else *at = 0xc0;
    return at + (memory->is_known ? 5 : 1);
}

/*
 * The body of a call in detail that has returned and has no metadata, as `callbody.detailed_body`
 * makes it: parameters, memory, CPU, and three times nothing. 0 where that is somebody else's, -1
 * with an error.
 */
int whole_body(State *state, Steps *self, uint64_t end_ns, Captured *whole) {
    uint32_t length = self->captured.low_meta & LENGTH_MASK;
    if (self->metadata && self->metadata != Py_None) return 0;
    if (length + 24 > BODY_BYTES) return 0;
    if (recall_memory(state, self, end_ns)) return -1;
    if (state->memory.is_known && state->memory.bytes < 0x10000) return 0;
    unsigned char *at = whole->body;
    *at++ = 0x96;
    if (length) memcpy(at, self->captured.body, length);
    else *at = 0xc0;
    at = put_memory(at + (length ? length : 1), &state->memory);
    if (self->cpu_ns < 0) *at++ = 0xc0;
    else {
        long long spent = self->cpu_end_ns - self->cpu_ns;
        long long elapsed = (long long)(end_ns - self->open.start_ns);
        double share = spent < elapsed ? 100.0 * (double)spent / (double)elapsed : 100.0;
        uint64_t bits;
        memcpy(&bits, &share, 8);
        at = put_big_endian(at, 0xcb, bits);
    }
    memset(at, 0xc0, 3);
    whole->low_meta = (self->captured.low_meta & ~(uint32_t)LENGTH_MASK)
                      | (uint32_t)(at + 3 - whole->body);
    return 1;
}

/* --- a function's ------------------------------------------------------------------------------- */

/* What the calls of its tool need to be recorded in detail, if that is what is asked of them now, and
   the tool: new references, as both may be others behind the next allocation. */
Binding *detailed_now(State *state, Fast *fast, PyObject **tool) {
    PyObject *reached = reached_now(state, fast);
    if (!state->written_type || !reached || !Py_IS_TYPE(reached, state->tool_type)) return NULL;
    PyObject *bound = slot_of(reached, state->detailed_offset);
    if (!bound || !Py_IS_TYPE(bound, state->binding_type) || !fits(state, (Binding *)bound))
        return NULL;
    if (slot_of(reached, state->is_shown_offset) == Py_True) return NULL;
    *tool = Py_NewRef(reached);
    return (Binding *)Py_NewRef(bound);
}

/* A call of the *tool* in detail that has not begun, with the parameters *captured*; NULL, without an
   error, where it has to go another way. */
Steps *detailed_call(State *state, PyObject *tool, uint64_t callee, const Captured *captured,
                     int times_cpu) {
    if (captured->low_meta & PRUNED) return NULL;
    Steps *call = (Steps *)state->written_type->tp_alloc(state->written_type, 0);
    if (!call) {
        PyErr_Clear(); /* no memory */
        return NULL;
    }
    call->tool = Py_NewRef(tool);
    call->args = Py_NewRef(state->nothing);
    call->opened = Py_NewRef(Py_None);
    call->callee = callee;
    call->captured = *captured;
    call->captured.low_meta |= DETAIL;
    call->meta = call->callee << CALLEE_SHIFT | call->captured.low_meta;
    call->cpu_end_ns = -1;
    call->cpu_ns = times_cpu ? cpu_now_ns() : -1;
    return call;
}

/* Python ends the call, with that *error* or, if it has returned, none: 0, or -1 with an error that
   is the program's. */
int detail_failed(State *state, Fast *fast, Steps *call, PyObject *error) {
    PyObject *entry = Py_BuildValue("[OOO]", call, error ? error : Py_None, fast->wrapped);
    if (!entry) PyErr_Clear();
    int done = entry ? take_up(state, entry, call->open.outer) : 1;
    Py_XDECREF(entry);
    if (done != 1) return done;
    if (call->open.row_object) lose(state, &call->open);
    return 0;
}

static PyObject *failed(State *state, Fast *fast, Steps *call) {
    PyObject *error = raised();
    POINT("detail-raised");
    if (detail_failed(state, fast, call, error)) Py_DECREF(error);
    else raise_again(error);
    return NULL;
}

/* The function has handed out a coroutine, with whose end the call ends. */
static PyObject *handed_on(State *state, Fast *fast, Steps *call, PyObject *coroutine) {
    PyObject *handed = PyObject_CallFunctionObjArgs(state->handed_on, fast->wrapped, call, coroutine,
                                                    NULL);
    Py_DECREF(coroutine);
    return handed ? handed : failed(state, fast, call);
}

/* Where the next calls have to look, this one having been slow: 0, or -1 with an error that is the
   program's. */
static int look_anew(State *state, Fast *fast, Steps *call) {
    if (slot_of(call->tool, state->is_shown_offset) != Py_True) return 0;
    PyObject *done = PyObject_CallOneArg(state->enter_anew, fast->wrapped);
    if (done) {
        Py_DECREF(done);
        return 0;
    }
    PyObject *error = raised();
    int is_programs = is_the_programs(state, error);
    if (is_programs) raise_again(error);
    else Py_DECREF(error);
    return is_programs ? -1 : 0;
}

/* The function has returned: 0, or -1 with an error that is the program's. */
int detail_returned(State *state, Fast *fast, Steps *call) {
    POINT("detail-returned");
    PyObject *ended = steps_end(state, call);
    int struck = 0;
    if (ended) Py_DECREF(ended);
    else {
        /* Ended or not: once more, as often as one likes. */
        PyObject *error = raised();
        struck = detail_failed(state, fast, call, NULL);
        if (!struck && is_the_programs(state, error)) {
            raise_again(error);
            struck = -1;
        }
        else Py_DECREF(error);
    }
    return struck ? struck : look_anew(state, fast, call);
}

static PyObject *called(State *state, Fast *fast, Steps *call, PyObject *const *args, size_t flags,
                        PyObject *kwnames) {
    expect_metadata(state, call);
    POINT("detail-begun");
    PyObject *result = call_function(fast, args, flags, kwnames);
    if (!result) return failed(state, fast, call);
    if (PyCoro_CheckExact(result) && slot_of(fast->wrapped, state->hand_out_offset) != Py_None)
        return handed_on(state, fast, call, result);
    if (detail_returned(state, fast, call)) Py_CLEAR(result);
    return result;
}

PyObject *call_in_detail(Fast *fast, PyObject *const *args, size_t flags, PyObject *kwnames) {
    State *state = fast->state;
    Py_ssize_t count = PyVectorcall_NARGS(flags), skip = fast->skip && count;
    const Given given = given_by(args, count, skip, kwnames);
    Captured captured;
    captured.low_meta = 0;
    PyObject *tool = NULL, *result = NULL;
    Binding *bound = NULL;
    Steps *call = NULL;
    if (!(given.count + given.named) || capture(&captured, &given))
        bound = detailed_now(state, fast, &tool);
    if (bound) call = detailed_call(state, tool, fast->callee, &captured, 1);
    int begun = 0;
    if (call)
        begun = begin_call(state, &call->open, bound, fast->callee | IN_DETAIL, 1,
                           PyThread_get_thread_ident(), NULL);
    Py_XDECREF(bound);
    Py_XDECREF(tool);
    if (begun == 0) result = call_elsewhere(fast, args, flags, kwnames);
    else if (begun < 0)
        result = begun_in_vain(state, fast, &call->open, &call->captured, args, flags, kwnames);
    else result = called(state, fast, call, args, flags, kwnames);
    Py_XDECREF(call);
    return result;
}
