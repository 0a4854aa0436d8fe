/*
 * Slots and rows by threads that nothing keeps apart, for ThreadSanitizer to watch.
 *
 *   slots CALLS
 *
 * Two threads record calls and take turns as Python's lock makes the threads of a worker; a third
 * drains the ring and a fourth looks at the rows, as a collector does from its own process, and no
 * lock is theirs. What a call writes follows from its id, so words of two calls show wherever they
 * are mixed. The first that do end it, told in one line.
 */

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "slot.h"

/* Few of both: a slot, and a row, is used again while it is still looked at. */
enum { SLOTS = 16, ROWS = 4, ROW_WORDS = 8, RING_BYTES = SLOTS * SLOT_BYTES };
enum { BODY_WORDS = BODY_BYTES / 8, LOST_EVERY = 61 };

static uint64_t slots[SLOTS * SLOT_WORDS];
static _Alignas(128) uint64_t rows[ROWS * ROW_WORDS];
static _Alignas(128) uint64_t head = RING_BYTES;
static _Alignas(128) int is_over;

/* The writers', by turns. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static uint64_t calls, begun, lost, next = RING_BYTES, granted = RING_BYTES;
static uint64_t *ready[ROWS];
static int ready_count;

static uint64_t drained;

static void must(int holds, const char *promise, uint64_t call_id) {
    if (holds) return;
    printf("broken: %s (call %llx)\n", promise, (unsigned long long)call_id);
    fflush(stdout);
    _Exit(1);
}

static uint64_t generation_of(uint64_t call_id) { return call_id >> ROW_BITS & GENERATION_MASK; }

static uint64_t *row_of(uint64_t call_id) {
    return rows + (call_id & ((1 << ROW_BITS) - 1)) * ROW_WORDS;
}

/* A word of a call's record, whatever it means. */
static uint64_t word_of(uint64_t call_id, int which) {
    return (call_id + (uint64_t)which) * 0x9e3779b97f4a7c15;
}

static uint64_t meta_of(uint64_t call_id) {
    return word_of(call_id, METAS) << 8 | word_of(call_id, METAS) % (BODY_BYTES + 1);
}

/* --- the worker --------------------------------------------------------------------------------- */

static void begin(uint64_t *row, uint64_t call_id) {
    begin_row(row, &(OpenRow){.id = call_id, .parent = call_id, .start_ns = call_id,
                              .callee = call_id, .thread = call_id});
}

/* As `RingWriter.grant`: what the head has released; 0 while the ring is full. */
static uint64_t taken_position(void) {
    if (next == granted) granted = __atomic_load_n(&head, __ATOMIC_ACQUIRE) + RING_BYTES;
    if (next == granted) return 0;
    uint64_t position = next;
    next += SLOT_BYTES;
    return position;
}

static void store(uint64_t call_id, uint64_t position) {
    uint64_t body[BODY_WORDS];
    for (int at = 0; at < BODY_WORDS; at++) body[at] = word_of(call_id, COLUMNS + at);
    store_slot(slots + position % RING_BYTES / 8, position,
               &(Record){.id = call_id, .parent = word_of(call_id, PARENTS),
                         .start_ns = word_of(call_id, STARTS), .end_ns = word_of(call_id, ENDS),
                         .meta = meta_of(call_id), .body = (const unsigned char *)body});
}

/* The turn is handed on wherever Python might. */
static void hand_on(void) {
    pthread_mutex_unlock(&turn);
    sched_yield();
    pthread_mutex_lock(&turn);
}

static void *record(void *unused) {
    (void)unused;
    pthread_mutex_lock(&turn);
    while (begun < calls) {
        int is_lost = begun++ % LOST_EVERY == 0;
        uint64_t *row = ready[--ready_count], call_id = row[ID] + GENERATION_STEP, position;
        begin(row, call_id);
        hand_on();
        if (is_lost) {
            mark_loss(row, call_id);
            lost++;
        }
        else {
            while (!(position = taken_position())) hand_on();
            store(call_id, position);
        }
        ready[ready_count++] = row;
    }
    pthread_mutex_unlock(&turn);
    return NULL;
}

/* --- the collector ------------------------------------------------------------------------------ */

static void check(const uint64_t *slot, uint64_t *const columns[COLUMNS], size_t at) {
    uint64_t call_id = slot[IDS];
    for (int column = 0; column < COLUMNS; column++)
        must(slot[column] == columns[column][at], "a committed slot stays as it is", call_id);
    int is_whole = slot[METAS] == meta_of(call_id);
    for (int column = PARENTS; column < METAS; column++)
        is_whole &= slot[column] == word_of(call_id, column);
    uint64_t length = slot[METAS] & LENGTH_MASK, body[BODY_WORDS];
    for (int word = 0; word < BODY_WORDS; word++) body[word] = word_of(call_id, COLUMNS + word);
    is_whole = is_whole && length <= BODY_BYTES && !memcmp(slot + BODY_WORD, body, length);
    must(is_whole, "a record is of one call", call_id);
    uint64_t last = word_at(row_of(call_id) + ID);
    must(generation_of(last) >= generation_of(call_id), "a call begins before it ends", call_id);
}

static void *drain(void *unused) {
    (void)unused;
    uint64_t room[COLUMNS][SLOTS], *columns[COLUMNS], position = RING_BYTES;
    for (int column = 0; column < COLUMNS; column++) columns[column] = room[column];
    for (;;) {
        int was_over = __atomic_load_n(&is_over, __ATOMIC_ACQUIRE);
        size_t first = position % RING_BYTES / SLOT_BYTES;
        const uint64_t *slot = slots + first * SLOT_WORDS;
        size_t count = count_committed(slot, SLOTS - first, position);
        for (size_t at = 0; at < count; at++) read_columns(slot + at * SLOT_WORDS, columns, at);
        for (size_t at = 0; at < count; at++) {
            uint64_t copied[SLOT_WORDS];
            memcpy(copied, slot + at * SLOT_WORDS, SLOT_BYTES);
            check(copied, columns, at);
        }
        drained += count;
        position += count * SLOT_BYTES;
        __atomic_store_n(&head, position, __ATOMIC_RELEASE);
        if (count) continue;
        if (was_over) return NULL;
        sched_yield();
    }
}

static void *watch(void *unused) {
    (void)unused;
    const int words[] = {START, PARENT, CALLEE, THREAD};
    uint64_t ids[ROWS] = {0}, losses[ROWS] = {0};
    while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
        for (int at = 0; at < ROWS; at++) {
            const uint64_t *row = rows + at * ROW_WORDS;
            uint64_t call_id = __atomic_load_n(row + ID, __ATOMIC_ACQUIRE);
            must(call_id >= ids[at], "a row's calls follow each other", call_id);
            ids[at] = call_id;
            if (generation_of(call_id))
                for (int word = 0; word < 4; word++)
                    must(word_at(row + words[word]) >= call_id, "a row is no former call's", call_id);
            uint64_t loss = word_at(row + LOSS);
            must(loss >= losses[at], "a row's losses are added up", call_id);
            losses[at] = loss;
        }
        sched_yield();
    }
    return NULL;
}

int main(int count, char **given) {
    calls = count > 1 ? strtoull(given[1], NULL, 10) : 0;
    for (uint64_t at = 0; at < ROWS; at++) {
        ready[ready_count++] = rows + at * ROW_WORDS;
        rows[at * ROW_WORDS + ID] = 1ULL << BLOCK_SHIFT | at;
    }
    void *(*const parts[])(void *) = {watch, drain, record, record};
    pthread_t threads[4];
    for (int at = 0; at < 4; at++)
        must(!pthread_create(threads + at, NULL, parts[at], NULL), "a thread starts", 0);
    for (int at = 3; at >= 0; at--) {
        if (at == 1) __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
        pthread_join(threads[at], NULL);
    }
    uint64_t used = 0, losses = 0;
    for (const uint64_t *row = rows; row < rows + ROWS * ROW_WORDS; row += ROW_WORDS) {
        used += generation_of(row[ID]);
        losses += row[LOSS] >> LOSS_SHIFT;
    }
    must(used == calls && losses == lost && drained + lost == calls, "begun is drained or lost", 0);
    printf("%llu drained, %llu lost\n", (unsigned long long)drained, (unsigned long long)lost);
    return 0;
}
