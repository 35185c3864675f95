// SPDX-License-Identifier: Apache-2.0
#include "source.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"

enum { REMEMBERED = 8192 }; /* sources without half-identified connections whose rate is still known */

struct tp_source {
    uint64_t key[2];
    uint64_t tokens; /* in nanoseconds: one accept costs a second divided by the rate */
    uint64_t at;     /* when tokens was right */
    uint32_t half;
    uint32_t chain;        /* + 1 */
    uint32_t older, newer; /* + 1, in the list of those with half == 0 */
};

int tp_sources_open(struct tp_sources *s, uint32_t max_half, uint32_t max_half_per_source,
                    uint32_t max_per_second)
{
    *s = (struct tp_sources){
        .entry_count = max_half + REMEMBERED,
        .bucket_count = 1024,
        .max_half = max_half,
        .max_half_per_source = max_half_per_source,
        .max_per_second = max_per_second,
    };
    while (s->bucket_count < s->entry_count)
        s->bucket_count *= 2;
    if (getrandom(&s->seed, sizeof s->seed, 0) != sizeof s->seed)
        s->seed = tp_now(); /* weaker against somebody who picks colliding /64s, and never fatal */
    pthread_mutex_init(&s->lock, NULL);
    s->entries = calloc(s->entry_count, sizeof *s->entries);
    s->buckets = calloc(s->bucket_count, sizeof *s->buckets);
    return s->entries && s->buckets ? 0 : -1;
}

void tp_sources_close(struct tp_sources *s)
{
    pthread_mutex_destroy(&s->lock);
    free(s->entries);
    free(s->buckets);
}

static void key_of(const struct tp_address *from, uint64_t key[2])
{
    key[0] = key[1] = 0;
    if (!from)
        return;
    key[0] = from->family;
    memcpy(&key[1], from->bytes, from->family == 4 ? 4 : 8);
}

static uint32_t *bucket_of(struct tp_sources *s, const uint64_t key[2])
{
    uint64_t h = key[1] ^ s->seed ^ key[0] << 56;
    h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ h >> 27 ^ s->seed >> 32) * UINT64_C(0x94d049bb133111eb);
    return &s->buckets[(h ^ h >> 31) & (s->bucket_count - 1)];
}

static void idle_remove(struct tp_sources *s, struct tp_source *e)
{
    if (e->older)
        s->entries[e->older - 1].newer = e->newer;
    else
        s->oldest = e->newer;
    if (e->newer)
        s->entries[e->newer - 1].older = e->older;
    else
        s->newest = e->older;
    e->older = e->newer = 0;
}

static void idle_append(struct tp_sources *s, struct tp_source *e)
{
    uint32_t number = (uint32_t)(e - s->entries) + 1;
    e->older = s->newest;
    e->newer = 0;
    if (s->newest)
        s->entries[s->newest - 1].newer = number;
    else
        s->oldest = number;
    s->newest = number;
}

/* An entry nobody needs: never used, or of the source that was quiet the longest. There always is one, since
 * entries that must stay have a half-identified connection and those are fewer than all. */
static struct tp_source *vacate(struct tp_sources *s)
{
    if (s->used < s->entry_count)
        return &s->entries[s->used++];
    struct tp_source *e = &s->entries[s->oldest - 1];
    idle_remove(s, e);
    uint32_t number = (uint32_t)(e - s->entries) + 1;
    uint32_t *link = bucket_of(s, e->key);
    while (*link != number)
        link = &s->entries[*link - 1].chain;
    *link = e->chain;
    return e;
}

/* The entry of `key`, which is not in the list of idle ones while the caller has it. */
static struct tp_source *enter(struct tp_sources *s, const uint64_t key[2], uint64_t now)
{
    uint32_t *bucket = bucket_of(s, key);
    for (uint32_t number = *bucket; number; number = s->entries[number - 1].chain) {
        struct tp_source *e = &s->entries[number - 1];
        if (e->key[0] == key[0] && e->key[1] == key[1]) {
            if (e->half == 0)
                idle_remove(s, e);
            return e;
        }
    }
    struct tp_source *e = vacate(s);
    *e = (struct tp_source){.key = {key[0], key[1]}, .tokens = TP_SECOND, .at = now};
    bucket = bucket_of(s, key);
    e->chain = *bucket;
    *bucket = (uint32_t)(e - s->entries) + 1;
    return e;
}

static bool within_rate(const struct tp_sources *s, struct tp_source *e, uint64_t now)
{
    if (s->max_per_second == 0)
        return true;
    uint64_t price = TP_SECOND / s->max_per_second;
    if (now > e->at) {
        uint64_t gained = now - e->at;
        e->tokens = gained > TP_SECOND - e->tokens ? TP_SECOND : e->tokens + gained;
        e->at = now;
    }
    if (e->tokens < price)
        return false;
    e->tokens -= price;
    return true;
}

enum tp_reason tp_source_admit(struct tp_sources *s, const struct tp_address *from, uint64_t now,
                               uint32_t *number)
{
    uint64_t key[2];
    key_of(from, key);
    enum tp_reason reason = TP_REASON_NONE;
    pthread_mutex_lock(&s->lock);
    struct tp_source *e = enter(s, key, now);
    if (from && !within_rate(s, e, now))
        reason = TP_REASON_LIMIT_RATE;
    else if (from && e->half >= s->max_half_per_source)
        reason = TP_REASON_LIMIT_SOURCE;
    else if (s->half >= s->max_half)
        reason = TP_REASON_LIMIT_CONNECTIONS;
    if (reason == TP_REASON_NONE) {
        e->half++;
        s->half++;
        *number = (uint32_t)(e - s->entries);
    } else if (e->half == 0) {
        idle_append(s, e);
    }
    pthread_mutex_unlock(&s->lock);
    return reason;
}

void tp_source_settle(struct tp_sources *s, uint32_t number)
{
    pthread_mutex_lock(&s->lock);
    struct tp_source *e = &s->entries[number];
    s->half--;
    e->half--;
    if (e->half == 0)
        idle_append(s, e);
    pthread_mutex_unlock(&s->lock);
}
