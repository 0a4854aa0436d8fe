/* Numbers and texts as msgspec writes them in JSON. */

#include "hot.h"

typedef unsigned __int128 Wide;

enum { MOST_DIGITS = 20, MOST_DECIMALS = 9 };

static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                            "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                            "8081828384858687888990919293949596979899";

/* The digits of *number*, behind as many zeros as it takes to be *least*; how many, in *to*. */
static inline int digits_of(char to[MOST_DIGITS], uint64_t number, int least) {
    char found[MOST_DIGITS];
    int at = MOST_DIGITS;
    while (number >= 10) {
        at -= 2;
        memcpy(found + at, pairs + number % 100 * 2, 2);
        number /= 100;
    }
    if (number || at == MOST_DIGITS) found[--at] = (char)('0' + number);
    /* Of an even number of digits the first pair may have left nothing. */
    while (MOST_DIGITS - at < least) found[--at] = '0';
    memcpy(to, found + at, (size_t)(MOST_DIGITS - at));
    return MOST_DIGITS - at;
}

void put_number(Text *text, uint64_t number) {
    if (!has_room(text, MOST_DIGITS)) return;
    char digits[MOST_DIGITS];
    put(text, digits, digits_of(digits, number, 1));
}

void put_signed(Text *text, int64_t number) {
    if (number < 0) PUT(text, "-");
    put_number(text, number < 0 ? -(uint64_t)number : (uint64_t)number);
}

void put_padded(Text *text, uint64_t number, int digits) {
    char found[MOST_DIGITS];
    put(text, found, digits_of(found, number, digits));
}

/* What of a text is no plain character: 1 for a control, else what stands behind the backslash. */
static inline char escape_of(unsigned char byte) {
    if (byte >= 0x20) return byte == '"' || byte == '\\' ? (char)byte : 0;
    switch (byte) {
        case '\b': return 'b';
        case '\t': return 't';
        case '\n': return 'n';
        case '\f': return 'f';
        case '\r': return 'r';
        default: return 1;
    }
}

void put_quoted(Text *text, const char *bytes, Py_ssize_t count) {
    PUT(text, "\"");
    Py_ssize_t begin = 0;
    for (Py_ssize_t at = 0; at < count; at++) {
        char escape = escape_of((unsigned char)bytes[at]);
        if (!escape) continue;
        put(text, bytes + begin, at - begin);
        begin = at + 1;
        if (escape == 1) {
            PUT(text, "\\u00");
            put(text, &"0123456789abcdef"[(unsigned char)bytes[at] >> 4], 1);
            put(text, &"0123456789abcdef"[bytes[at] & 15], 1);
        }
        else {
            PUT(text, "\\");
            put(text, &escape, 1);
        }
    }
    put(text, bytes + begin, count - begin);
    PUT(text, "\"");
}

/* number / 10 ** decimals, without zeros at its end but the one behind the point. */
static void put_decimal(Text *text, uint64_t number, int decimals) {
    uint64_t power = 1;
    for (int n = 0; n < decimals; n++) power *= 10;
    put_number(text, number / power);
    uint64_t rest = number % power;
    if (!rest) {
        PUT(text, ".0");
        return;
    }
    PUT(text, ".");
    for (; rest % 10 == 0; rest /= 10) decimals--;
    put_padded(text, rest, decimals);
}

/* Below 0.00001 it is 1.5e-6: *number* nanoseconds, of which there are some. */
static void put_exponent(Text *text, uint64_t number) {
    int exponent = MOST_DECIMALS;
    for (; number % 10 == 0; number /= 10) exponent--;
    char digits[MOST_DIGITS];
    int count = digits_of(digits, number, 1);
    put(text, digits, 1);
    if (count > 1) {
        PUT(text, ".");
        put(text, digits + 1, count - 1);
    }
    PUT(text, "e-");
    put_number(text, (uint64_t)(exponent - count + 1));
}

/* A number that is a fraction of a power of two, by its bits. */
typedef struct {
    uint64_t fraction;
    int shift;
} Parts;

/*
 * So many decimals of a number, the nearest; whether these are read as the same number, which they
 * are within half of the distance to the next one. -1 where two are as near.
 */
static int decimals_of(Parts parts, uint64_t power, uint64_t *nearest) {
    const Wide scaled = (Wide)parts.fraction * power;
    const uint64_t half = 1ULL << (parts.shift - 1);
    uint64_t rest = (uint64_t)(scaled & (((Wide)1 << parts.shift) - 1));
    *nearest = (uint64_t)(scaled >> parts.shift);
    if (rest == half) return -1;
    if (rest > half) {
        ++*nearest;
        rest = 2 * half - rest;
    }
    return 2 * rest < power || (2 * rest == power && !(parts.fraction & 1));
}

/*
 * The shortest decimal that is read as *seconds*, and of these the nearest. *seconds* is from a
 * million to ten billion: mostly it takes six decimals or seven.
 */
static int put_shortest(Text *text, double seconds) {
    static const uint64_t powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000,
                                      1000000000};
    uint64_t bits, nearest;
    memcpy(&bits, &seconds, 8);
    const Parts parts = {(bits & ((1ULL << 52) - 1)) | 1ULL << 52, 1075 - (int)(bits >> 52)};
    /* What fewer decimals are enough for, five are. */
    int decimals = decimals_of(parts, powers[5], &nearest) ? 0 : 6;
    for (; decimals <= MOST_DECIMALS; decimals++) {
        int found = decimals_of(parts, powers[decimals], &nearest);
        if (found < 0) return 0;
        if (!found) continue;
        put_decimal(text, nearest, decimals);
        return 1;
    }
    return 0;
}

int put_double(Text *text, double number) {
    char *found = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (!found) {
        PyErr_Clear();
        return 0;
    }
    /* What has an exponent, or is no number, is written otherwise. */
    int is_plain = !strpbrk(found, "einEIN");
    if (is_plain) put(text, found, (Py_ssize_t)strlen(found));
    PyMem_Free(found);
    return is_plain;
}

/* As the double that Python's ``ns / 1e9`` is. */
void put_seconds(Text *text, uint64_t ns) {
    /* A decimal of 15 digits is the shortest of those that are read as the same double. */
    if (ns < 1000000000000000ULL) {
        if (ns && ns < 10000) put_exponent(text, ns);
        else put_decimal(text, ns, MOST_DECIMALS);
        return;
    }
    double seconds = (double)ns / 1e9;
    if (!put_shortest(text, seconds) && !put_double(text, seconds)) text->is_full = 1;
}
