/*
 * The words that worker and collector share: a slot and a row as the one writes them while the
 * other looks (see `shm.ring` and `shm.inflight`).
 *
 *     word      stored                            seen by another process
 *     payload   plainly, while the slot is        plainly, behind its commit word, until the ring's
 *               granted                           head says that it is free
 *     commit    last, and releases the payload    acquired: what was stored before is there
 *     row       each word whole, the id last,     at any time: words of the id's call, or of a
 *               which releases the others         later one, never of one before
 *
 * Python that has C stores its slots by way of it, too, where these orders are not the machine's own
 * (ringwrite.c; see `shm.fence`).
 *
 * Nothing in here knows of Python. Its lock would keep threads from doing this at once, so a test
 * does without both (tests/programs/races/slots.c).
 */

#ifndef SHMPERF_SLOT_H
#define SHMPERF_SLOT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "layout.h"

/* Where the campaign of faults stops a process; nothing, but in a build of its own. */
#ifdef SHMPERF_POINTS
void reach_point(const char *name);
#define POINT(name) reach_point(name)
#else
#define POINT(name) ((void)0)
#endif

/* Both sides of every store are of one endianness, which msgpack's is not. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "written for little-endian machines"
#endif

/* The words of a slot before its body, in their order, each a column of a batch. */
enum { IDS, PARENTS, STARTS, ENDS, METAS, COLUMNS };

enum { COMMIT_WORD = SLOT_WORDS - 1 };

/* What a slot is to hold; the body can be read, and the slot written, in pieces of 16 bytes. */
typedef struct {
    uint64_t id, parent, start_ns, end_ns, meta;
    const unsigned char *body;
} Record;

/* What a row is to hold. */
typedef struct {
    uint64_t id, parent, start_ns, callee, thread;
} OpenRow;

/* One store, whatever the compiler makes of others: who looks meanwhile sees all of it or nothing. */
static inline void put_word(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* One load, likewise. */
static inline uint64_t word_at(const uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* --- the worker --------------------------------------------------------------------------------- */

static inline void begin_row(uint64_t *row, const OpenRow *call) {
    POINT("row-start");
    put_word(row + START, call->start_ns);
    put_word(row + PARENT, call->parent);
    POINT("row-callee");
    put_word(row + CALLEE, call->callee);
    POINT("row-thread");
    put_word(row + THREAD, call->thread);
    POINT("row-id");
    __atomic_store_n(row + ID, call->id, __ATOMIC_RELEASE);
}

/* Count the call that occupies the row as lost, once. */
static inline void mark_loss(uint64_t *row, uint64_t call_id) {
    uint64_t generation = call_id >> ROW_BITS & GENERATION_MASK;
    if ((row[LOSS] & GENERATION_MASK) != generation)
        put_word(row + LOSS, ((row[LOSS] >> LOSS_SHIFT) + 1) << LOSS_SHIFT | generation);
}

/* Only a granted slot, with the position that it was granted for. */
static inline void store_slot(uint64_t *slot, uint64_t position, const Record *record) {
    POINT("slot-store");
    slot[IDS] = record->id;
    slot[PARENTS] = record->parent;
    slot[STARTS] = record->start_ns;
    slot[ENDS] = record->end_ns;
    slot[METAS] = record->meta;
    POINT("slot-body");
    uint32_t length = record->meta & LENGTH_MASK;
    for (uint32_t at = 0; at < length; at += 16)
        memcpy((char *)(slot + BODY_WORD) + at, record->body + at, 16);
    POINT("slot-commit");
    __atomic_store_n(slot + COMMIT_WORD, position, __ATOMIC_RELEASE);
}

/* --- the collector ------------------------------------------------------------------------------ */

/* How many slots from *slot on, at most so many, hold what is expected there from *position* on. */
static inline size_t count_committed(const uint64_t *slot, size_t most, uint64_t position) {
    size_t count = 0;
    const uint64_t *word = slot + COMMIT_WORD;
    /* The payload behind a position that is seen is there: the writer has released it. */
    while (count < most && __atomic_load_n(word, __ATOMIC_ACQUIRE) == position) {
        count++;
        word += SLOT_WORDS;
        position += SLOT_BYTES;
        __builtin_prefetch(word + 3 * SLOT_WORDS);
        __builtin_prefetch(word + 2 * SLOT_WORDS + 1);
    }
    return count;
}

/* Each word is read once: what was found out of it has to hold for what is handed out. */
static inline void read_columns(const uint64_t *slot, uint64_t *const to[COLUMNS], size_t at) {
    for (int column = 0; column < COLUMNS; column++) to[column][at] = word_at(slot + column);
}

#endif
