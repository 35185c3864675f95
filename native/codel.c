// SPDX-License-Identifier: Apache-2.0
// The pseudocode of RFC 8289 5 turned inside out: there dequeue() loops over datagrams, here the queue does.
#include "codel.h"

/* Rounded down. */
static uint64_t root(uint64_t of)
{
    uint64_t result = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit > 0; bit >>= 1) {
        if ((result | bit) * (result | bit) <= of)
            result |= bit;
    }
    return result;
}

/* RFC 8289 5.3, with sixteen binary places: the more drops, the sooner the next. */
static uint64_t after(uint64_t from, uint32_t count)
{
    return from + (TP_CODEL_INTERVAL << 16) / root((uint64_t)count << 32);
}

/* RFC 8289 5.5, "dodequeue": whether waiting has been too long for an interval. */
static bool too_long(struct tp_codel *c, uint64_t now, uint64_t since, uint64_t behind)
{
    if (now - since < TP_CODEL_TARGET || behind <= TP_CODEL_SPARED) {
        c->above_at = 0;
        return false;
    }
    if (c->above_at == 0) {
        c->above_at = now + TP_CODEL_INTERVAL;
        return false;
    }
    return now >= c->above_at;
}

/* A queue that was hardly left alone since its last drops goes on where it was. */
static void begin(struct tp_codel *c, uint64_t now)
{
    uint32_t since_entry = c->count - c->count_at_entry;
    bool lately = now < c->drop_next + 16 * TP_CODEL_INTERVAL;
    c->count = since_entry > 1 && lately ? since_entry : 1;
    c->count_at_entry = c->count;
    c->drop_next = after(now, c->count);
    c->dropping = true;
    c->dropped = false; /* the time of the next is set already */
}

bool tp_codel_drop(struct tp_codel *c, uint64_t now, uint64_t since, uint64_t behind)
{
    bool long_wait = too_long(c, now, since, behind);
    if (!c->dropping) {
        if (long_wait)
            begin(c, now);
        return long_wait;
    }
    if (!long_wait) {
        c->dropping = c->dropped = false;
        return false;
    }
    if (c->dropped)
        c->drop_next = after(c->drop_next, c->count);
    c->dropped = now >= c->drop_next;
    c->count += c->dropped;
    return c->dropped;
}
