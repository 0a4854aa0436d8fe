/*
 * The points of the compiled path, in the campaign's own build of it: how often each is reached, and
 * what happens at the one that is waited for.
 *
 * Nothing in here runs Python: where a process is killed, nothing has come between its last store
 * and its end. Whoever reaches a point holds the interpreter's lock, and so whoever waits at one.
 */

#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define OFFERED __attribute__((visibility("default")))

/* More than there are, as a test knows. */
enum { MOST = 64 };

typedef struct {
    const char *name;
    uint64_t times;
} Place;

static Place places[MOST];
static Place *awaited;
static uint64_t awaited_nth, pause_ns;
static int is_watching, awaited_signal;

/* Names are literals of the module's, alive as long as this. */
static Place *place_of(const char *name) {
    for (Place *place = places; place < places + MOST; place++) {
        if (!place->name) place->name = name;
        if (!strcmp(place->name, name)) return place;
    }
    return NULL;
}

static void act(void) {
    struct timespec left = {(time_t)(pause_ns / 1000000000u), (long)(pause_ns % 1000000000u)};
    if (awaited_signal) raise(awaited_signal);
    else while (nanosleep(&left, &left)) {}
}

void reach_point(const char *name) {
    Place *place = is_watching ? place_of(name) : NULL;
    if (place && ++place->times == awaited_nth && place == awaited) act();
}

/* From now on: a signal, or else a pause, at the *nth* time that the point of that name is reached;
   the name is the caller's to keep. 0, or -1 where there is no room for it. */
OFFERED int stop_at(const char *name, uint64_t nth, int signal, uint64_t for_ns) {
    Place *place = place_of(name);
    if (!place) return -1;
    place->times = 0;
    awaited_nth = nth;
    awaited_signal = signal;
    pause_ns = for_ns;
    awaited = place;
    is_watching = 1;
    return 0;
}

OFFERED void count_points(void) { is_watching = 1; }

OFFERED uint64_t times_at(const char *name) {
    Place *place = place_of(name);
    return place ? place->times : 0;
}
