/* Calls as lines of JSON, those of normal mode that went well; all others by way of msgspec. */

#include "hot.h"

/* What is known of the last line's second: most lines are of the same. */
typedef struct {
    uint64_t second;
    char text[20];
} Second;

static inline void put_two(char *to, unsigned number) {
    to[0] = (char)('0' + number / 10);
    to[1] = (char)('0' + number % 10);
}

/* Year, month and day of the day number *days* since 1970 (Hinnant, "chrono-compatible ..."). */
static void put_date(char *to, uint64_t days) {
    const uint64_t shifted = days + 719468, era = shifted / 146097;
    const unsigned of_era = (unsigned)(shifted - era * 146097);
    const unsigned year_of_era
        = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    const unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const unsigned shifted_month = (5 * of_year + 2) / 153;
    const unsigned month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    const unsigned year = (unsigned)(year_of_era + era * 400) + (month <= 2);
    put_two(to, year / 100);
    put_two(to + 2, year % 100);
    to[4] = to[7] = '-';
    put_two(to + 5, month);
    put_two(to + 8, of_year - (153 * shifted_month + 2) / 5 + 1);
}

static void put_timestamp(Text *text, Second *known, uint64_t wall_ns) {
    const uint64_t second = wall_ns / 1000000000;
    if (second != known->second) {
        const unsigned of_day = (unsigned)(second % 86400);
        put_date(known->text, second / 86400);
        known->text[10] = 'T';
        known->text[13] = known->text[16] = ':';
        put_two(known->text + 11, of_day / 3600);
        put_two(known->text + 14, of_day / 60 % 60);
        put_two(known->text + 17, of_day % 60);
        known->second = second;
    }
    put(text, known->text, 19);
    PUT(text, ".");
    put_padded(text, wall_ns % 1000000000 / 1000, 6);
    PUT(text, "+00:00");
}

static void put_hex(Text *text, uint64_t number) {
    if (!has_room(text, 18)) return;
    *text->at++ = '"';
    for (int shift = 60; shift >= 0; shift -= 4)
        *text->at++ = "0123456789abcdef"[number >> shift & 15];
    *text->at++ = '"';
}

/* An unsigned number of less than 64 bits; 0 where the object is none. */
static inline int number_of(PyObject *object, uint64_t *number) {
    if (!object || !PyLong_Check(object)) return 0;
    *number = PyLong_AsUnsignedLongLong(object);
    if (*number == UINT64_MAX && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
}

/* 1 when it is put; of other letters than ASCII's the bytes are not kept with the text. */
static int put_string(Text *text, PyObject *string) {
    if (!string || !PyUnicode_CheckExact(string)) return 0;
    if (PyUnicode_IS_COMPACT_ASCII(string)) {
        put_quoted(text, PyUnicode_DATA(string), PyUnicode_GET_LENGTH(string));
        return 1;
    }
    PyObject *bytes = PyUnicode_AsUTF8String(string);
    if (!bytes) {
        PyErr_Clear();
        return 0;
    }
    put_quoted(text, PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return 1;
}

typedef struct {
    uint64_t id, pid, parent, start, took, status, trace;
    PyObject *tool, *params;
    int is_truncated;
} Simple;

/* 0 for a call that is not simple. */
static int look_at(const DrainState *state, PyObject *call, Simple *found) {
    const Py_ssize_t *offsets = state->call_offsets;
#define FIELD(name) slot_of(call, offsets[CALL_##name])
    PyObject *truncated = FIELD(TRUNCATED), *remote = FIELD(REMOTE);
    found->tool = FIELD(TOOL);
    found->params = FIELD(PARAMS);
    found->is_truncated = truncated == Py_True;
    return number_of(FIELD(ID), &found->id) && number_of(FIELD(PID), &found->pid)
           && number_of(FIELD(PARENT), &found->parent) && number_of(FIELD(START), &found->start)
           && number_of(FIELD(DURATION), &found->took) && number_of(FIELD(TRACE), &found->trace)
           && number_of(FIELD(STATUS), &found->status) && !found->status
           && (found->is_truncated || truncated == Py_False) && FIELD(ERR) == Py_None
           && FIELD(DETAIL) == Py_None && FIELD(MESSAGE) == Py_None
           && FIELD(FINGERPRINT) == Py_None && FIELD(WHERE) == Py_None && remote
           && PyUnicode_CheckExact(remote) && !PyUnicode_GET_LENGTH(remote)
           && found->start <= INT64_MAX && found->took <= INT64_MAX - found->start;
#undef FIELD
}

/* 0 when the call is not simple; the text may be full then, or hold a part. */
static int put_line(Text *text, const DrainState *state, Second *second, PyObject *call) {
    Simple of;
    if (!look_at(state, call, &of)) return 0;
    PUT(text, "{\"tool\":");
    if (!put_string(text, of.tool)) return 0;
    PUT(text, ",\"timestamp\":\"");
    put_timestamp(text, second, of.start);
    PUT(text, "\",\"data\":{\"t\":");
    if (!put_string(text, of.tool)) return 0;
    PUT(text, ",\"p\":");
    if (!put_string(text, of.params)) return 0;
    PUT(text, ",\"s\":");
    put_seconds(text, of.start);
    PUT(text, ",\"e\":");
    put_seconds(text, of.start + of.took);
    PUT(text, ",\"d\":");
    put_seconds(text, of.took);
    PUT(text, ",\"id\":");
    put_hex(text, of.id);
    PUT(text, ",\"pid\":");
    put_number(text, of.pid);
    if (of.parent) {
        PUT(text, ",\"parent\":");
        put_hex(text, of.parent);
    }
    if (of.is_truncated) PUT(text, ",\"truncated\":true");
    if (of.trace) {
        PUT(text, ",\"trace\":");
        put_hex(text, of.trace);
    }
    PUT(text, "}}\n");
    return !text->is_full;
}

/* The lines so far, and the place for more of them, in the bytes that are handed out in the end. */
typedef struct {
    PyObject *bytes;
    Text text;
} Page;

static Py_ssize_t used_of(const Page *page) {
    return page->bytes ? page->text.at - PyBytes_AS_STRING(page->bytes) : 0;
}

/* As many bytes as that, with the lines so far; 0 or -1 with an error, and then without a page. */
static int resize(Page *page, Py_ssize_t size) {
    const Py_ssize_t used = used_of(page);
    if (!page->bytes) page->bytes = PyBytes_FromStringAndSize(NULL, size);
    else _PyBytes_Resize(&page->bytes, size);
    if (!page->bytes) return -1;
    char *begin = PyBytes_AS_STRING(page->bytes);
    page->text = (Text){begin + used, begin + size, 0};
    return 0;
}

/* Room for so many further bytes; 0 or -1 with an error. */
static int make_room(Page *page, Py_ssize_t bytes) {
    const Py_ssize_t size = page->bytes ? PyBytes_GET_SIZE(page->bytes) : 0;
    if (size - used_of(page) >= bytes) return 0;
    return resize(page, size + (size > bytes ? size : bytes));
}

/* A line is mostly shorter than this; one that is not gets a second try, and msgspec the rest. */
enum { MOSTLY = 224, ROOM = 1024, MORE_ROOM = 65536 };

static int add_line(Page *page, const DrainState *state, Second *second, PyObject *call,
                    PyObject *others) {
    for (Py_ssize_t bytes = ROOM; bytes <= MORE_ROOM; bytes *= MORE_ROOM / ROOM) {
        if (make_room(page, bytes)) return -1;
        const Py_ssize_t used = used_of(page);
        if (put_line(&page->text, state, second, call)) return 0;
        int was_full = page->text.is_full;
        page->text.at = PyBytes_AS_STRING(page->bytes) + used;
        page->text.is_full = 0;
        if (!was_full) break;
    }
    PyObject *line = PyObject_CallOneArg(others, call);
    if (!line) return -1;
    if (!PyBytes_CheckExact(line)) {
        PyErr_SetString(PyExc_TypeError, "a line is bytes");
        Py_DECREF(line);
        return -1;
    }
    int done = make_room(page, PyBytes_GET_SIZE(line));
    if (!done) put(&page->text, PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line));
    Py_DECREF(line);
    return done;
}

/* lines(calls, others): a list's calls as lines, each that is not simple by *others*. */
PyObject *lines(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    const DrainState *state = &((State *)PyModule_GetState(module))->drain;
    if (count != 2 || !PyList_CheckExact(args[0]))
        return PyErr_Format(PyExc_TypeError, "a list of calls, and a function");
    Page page = {NULL, {NULL, NULL, 0}};
    Second second = {UINT64_MAX, ""};
    if (make_room(&page, MOSTLY * PyList_GET_SIZE(args[0]) + ROOM)) return NULL;
    /* The list may change in what others do. */
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(args[0]); at++) {
        PyObject *call = Py_NewRef(PyList_GET_ITEM(args[0], at));
        int done = -1;
        if ((PyObject *)Py_TYPE(call) != state->call_type)
            PyErr_SetString(PyExc_TypeError, "a list of calls");
        else done = add_line(&page, state, &second, call, args[1]);
        Py_DECREF(call);
        if (done) goto failed;
    }
    resize(&page, used_of(&page));
    return page.bytes;
failed:
    Py_XDECREF(page.bytes);
    return NULL;
}

/* Signed nanoseconds: when the call ended; 0 where that has no room, or is no number. */
static int end_of(const DrainState *state, PyObject *call, int64_t *end) {
    PyObject *start = slot_of(call, state->call_offsets[CALL_START]);
    PyObject *took = slot_of(call, state->call_offsets[CALL_DURATION]);
    if (!start || !PyLong_Check(start) || !took) return 0;
    int start_overflow, took_overflow = 0;
    const int64_t from = PyLong_AsLongLongAndOverflow(start, &start_overflow);
    int64_t ns = 0;
    if (PyLong_Check(took)) ns = PyLong_AsLongLongAndOverflow(took, &took_overflow);
    else if (took != Py_None) return 0;
    return !start_overflow && !took_overflow && !__builtin_add_overflow(from, ns, end);
}

/* are_in_order(calls): whether each of a list's calls ends after the one before it. */
PyObject *are_in_order(PyObject *module, PyObject *calls) {
    const DrainState *state = &((State *)PyModule_GetState(module))->drain;
    if (!PyList_CheckExact(calls)) return PyErr_Format(PyExc_TypeError, "a list of calls");
    int64_t last = 0, end;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(calls); at++) {
        PyObject *call = PyList_GET_ITEM(calls, at);
        if ((PyObject *)Py_TYPE(call) != state->call_type)
            return PyErr_Format(PyExc_TypeError, "a list of calls");
        /* What can't be compared is to be sorted. */
        if (!end_of(state, call, &end) || (at && end <= last)) Py_RETURN_FALSE;
        last = end;
    }
    Py_RETURN_TRUE;
}
