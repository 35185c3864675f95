// SPDX-License-Identifier: Apache-2.0
// CoDel under a clock of ours: when it begins to drop, how the pace grows, when it stops; and against the
// pseudocode of RFC 8289 written down as it stands there.
#include <math.h>

#include "codel.h"
#include "harness.h"

enum { MUCH = 100000 };

static const uint64_t begin = 1000 * TP_MILLISECOND;

static void short_waits_are_never_punished(void)
{
    struct tp_codel c = {0};
    for (uint64_t t = begin; t < begin + 10 * TP_SECOND; t += TP_MILLISECOND)
        CHECK(!tp_codel_drop(&c, t, t - TP_CODEL_TARGET + 1, MUCH));
}

static void a_long_wait_is_allowed_for_an_interval(void)
{
    struct tp_codel c = {0};
    uint64_t t = begin;
    for (; t < begin + TP_CODEL_INTERVAL; t += TP_MILLISECOND)
        CHECK(!tp_codel_drop(&c, t, t - TP_CODEL_TARGET, MUCH));
    CHECK(tp_codel_drop(&c, t, t - TP_CODEL_TARGET, MUCH));
    CHECK(!tp_codel_drop(&c, t, t - TP_CODEL_TARGET, MUCH)); /* and one, no more */
}

static void one_short_wait_starts_the_interval_afresh(void)
{
    struct tp_codel c = {0};
    for (unsigned i = 0; i < 10; i++) {
        uint64_t t = begin + i * (TP_CODEL_INTERVAL - TP_MILLISECOND);
        CHECK(!tp_codel_drop(&c, t, t - 1, MUCH));
        CHECK(!tp_codel_drop(&c, t + TP_MILLISECOND, t - TP_SECOND, MUCH));
    }
}

static void the_last_frame_is_left_alone(void)
{
    struct tp_codel c = {0};
    for (uint64_t t = begin; t < begin + 5 * TP_SECOND; t += TP_MILLISECOND)
        CHECK(!tp_codel_drop(&c, t, t - TP_SECOND, TP_CODEL_SPARED));
}

static void drops_come_at_the_pace_of_the_square_root(void)
{
    struct tp_codel c = {0};
    uint64_t drops[64];
    unsigned count = 0;
    for (uint64_t t = begin; count < 64; t += TP_MILLISECOND / 100) {
        if (tp_codel_drop(&c, t, t - TP_SECOND, MUCH))
            drops[count++] = t;
    }
    for (unsigned i = 1; i < 64; i++) {
        double gap = (double)(drops[i] - drops[i - 1]), wanted = 1e8 / sqrt(i);
        CHECK(fabs(gap - wanted) < wanted / 100 + 2e4);
    }
}

/* RFC 8289 5: dodequeue, control_law and dequeue over a queue of arrival times, in the RFC's own words. */
static struct {
    double first_above_time, drop_next;
    unsigned count, lastcount;
    bool dropping;
} rfc;
static uint64_t arrival[1 << 16];
static unsigned head, tail, bytes_each = 1000;

static bool dodequeue(double now, bool *empty)
{
    *empty = head == tail;
    if (*empty) {
        rfc.first_above_time = 0;
        return false;
    }
    double sojourn = now - (double)arrival[head++ % (1 << 16)];
    if (sojourn < 5e6 || (tail - head) * bytes_each <= TP_CODEL_SPARED) {
        rfc.first_above_time = 0;
    } else if (rfc.first_above_time == 0) {
        rfc.first_above_time = now + 1e8;
    } else if (now >= rfc.first_above_time) {
        return true;
    }
    return false;
}

/* In whole nanoseconds and with sixteen binary places, as ours: roundings add up over a thousand drops. */
static double control_law(double t, unsigned count)
{
    return t + floor(1e8 * 65536 / floor(sqrt(count) * 65536));
}

/* How many it drops before the one that it gives. */
static unsigned dequeue(double now)
{
    bool empty;
    unsigned dropped = 0;
    bool ok = dodequeue(now, &empty);
    if (empty) {
        rfc.dropping = false;
        return 0;
    }
    if (rfc.dropping) {
        if (!ok)
            rfc.dropping = false;
        while (now >= rfc.drop_next && rfc.dropping) {
            dropped++;
            rfc.count++;
            ok = dodequeue(now, &empty);
            if (!ok)
                rfc.dropping = false;
            else
                rfc.drop_next = control_law(rfc.drop_next, rfc.count);
        }
    } else if (ok) {
        dropped++;
        ok = dodequeue(now, &empty);
        rfc.dropping = true;
        unsigned delta = rfc.count - rfc.lastcount;
        rfc.count = 1;
        if (delta > 1 && now - rfc.drop_next < 16 * 1e8)
            rfc.count = delta;
        rfc.drop_next = control_law(now, rfc.count);
        rfc.lastcount = rfc.count;
    }
    return dropped;
}

static uint32_t chance(uint32_t below)
{
    static uint32_t state = 8289;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % below;
}

static void it_drops_what_the_rfc_drops(void)
{
    struct tp_codel c = {0};
    unsigned drops = 0, mine = 0;
    uint64_t now = begin;
    for (unsigned step = 0; step < 400000; step++) {
        /* Load and service change about every second. */
        unsigned phase = step / 2000 % 7;
        for (unsigned n = chance(phase < 4 ? 4 : 2) + (phase == 3); n > 0 && tail - head < 60000; n--)
            arrival[tail++ % (1 << 16)] = now;
        now += chance(1000) * 1000;
        if (head == tail || chance(10) == 0)
            continue;
        unsigned at = head, given = dequeue((double)now), asked = 0;
        while (tp_codel_drop(&c, now, arrival[(at + asked) % (1 << 16)],
                             (uint64_t)(tail - at - asked - 1) * bytes_each))
            asked++;
        drops += given;
        mine += asked;
        CHECK(asked == given);
    }
    CHECK(drops > 1000 && drops == mine);
}

int main(void)
{
    RUN(short_waits_are_never_punished);
    RUN(a_long_wait_is_allowed_for_an_interval);
    RUN(one_short_wait_starts_the_interval_afresh);
    RUN(the_last_frame_is_left_alone);
    RUN(drops_come_at_the_pace_of_the_square_root);
    RUN(it_drops_what_the_rfc_drops);
    return 0;
}
