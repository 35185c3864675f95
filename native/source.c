// SPDX-License-Identifier: Apache-2.0
#include "source.h"

#include <stdlib.h>
#include <sys/random.h>

#include "clock.h"

enum { REMEMBERED = 8192 }; /* sources without unproven connections whose rate and strikes are still known */

struct tp_source {
    struct tp_bits bits;
    uint64_t tokens;        /* in nanoseconds: one accept costs a second divided by the rate */
    uint64_t at;            /* when tokens was right */
    uint64_t strikes_since; /* when the first of `strikes` was */
    uint32_t strikes;
    uint32_t half, begun;
    uint32_t chain;        /* + 1 */
    uint32_t older, newer; /* + 1, in the list of those with neither half nor begun */
    uint8_t family;
};

int tp_sources_open(struct tp_sources *s, const struct tp_config *config)
{
    *s = (struct tp_sources){
        .entry_count = config->max_half + config->max_begun + REMEMBERED,
        .bucket_count = 1024,
        .max_half = config->max_half,
        .max_begun = config->max_begun,
        .tuning = config->tuning,
    };
    while (s->bucket_count < s->entry_count)
        s->bucket_count *= 2;
    if (getrandom(&s->seed, sizeof s->seed, 0) != sizeof s->seed)
        s->seed = tp_now(); /* weaker against somebody who picks colliding /64s, and never fatal */
    pthread_mutex_init(&s->lock, NULL);
    s->entries = calloc(s->entry_count, sizeof *s->entries);
    s->buckets = calloc(s->bucket_count, sizeof *s->buckets);
    return tp_bans_open(&s->bans, config->max_bans, s->seed) == 0 && s->entries && s->buckets ? 0 : -1;
}

void tp_sources_close(struct tp_sources *s)
{
    pthread_mutex_destroy(&s->lock);
    tp_bans_close(&s->bans);
    free(s->entries);
    free(s->buckets);
}

void tp_sources_tune(struct tp_sources *s, const struct tp_tuning *tuning)
{
    pthread_mutex_lock(&s->lock);
    s->tuning = *tuning;
    pthread_mutex_unlock(&s->lock);
}

/* The source an address belongs to, as a prefix; all who are not known yet are one. */
static struct tp_address source_of(const struct tp_address *from)
{
    if (!from)
        return (struct tp_address){0};
    struct tp_address prefix = {.family = from->family, .prefix = from->family == 4 ? 32 : 64};
    tp_bits_write(tp_bits_network(tp_bits_of(from), prefix.prefix), &prefix);
    return prefix;
}

static uint32_t *bucket_of(struct tp_sources *s, uint8_t family, struct tp_bits bits)
{
    return &s->buckets[tp_bits_hash(bits, family, s->seed) & (s->bucket_count - 1)];
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

static bool idle(const struct tp_source *e)
{
    return e->half == 0 && e->begun == 0;
}

/* An entry nobody needs: never used, or of the source that was quiet the longest. There always is one, since
 * entries that must stay have an unproven connection and those are fewer than all. */
static struct tp_source *vacate(struct tp_sources *s)
{
    if (s->used < s->entry_count)
        return &s->entries[s->used++];
    struct tp_source *e = &s->entries[s->oldest - 1];
    idle_remove(s, e);
    uint32_t number = (uint32_t)(e - s->entries) + 1;
    uint32_t *link = bucket_of(s, e->family, e->bits);
    while (*link != number)
        link = &s->entries[*link - 1].chain;
    *link = e->chain;
    return e;
}

/* The entry of a source, which is not in the list of idle ones while the caller has it. */
static struct tp_source *enter(struct tp_sources *s, const struct tp_address *source, uint64_t now)
{
    struct tp_bits bits = tp_bits_of(source);
    uint32_t *bucket = bucket_of(s, source->family, bits);
    for (uint32_t number = *bucket; number; number = s->entries[number - 1].chain) {
        struct tp_source *e = &s->entries[number - 1];
        if (e->family == source->family && tp_bits_same(e->bits, bits)) {
            if (idle(e))
                idle_remove(s, e);
            return e;
        }
    }
    struct tp_source *e = vacate(s);
    *e = (struct tp_source){.bits = bits, .family = source->family, .tokens = TP_SECOND, .at = now};
    bucket = bucket_of(s, source->family, bits);
    e->chain = *bucket;
    *bucket = (uint32_t)(e - s->entries) + 1;
    return e;
}

static void release(struct tp_sources *s, struct tp_source *e)
{
    if (idle(e))
        idle_append(s, e);
}

static bool within_rate(const struct tp_sources *s, struct tp_source *e, uint64_t now)
{
    if (s->tuning.max_accepts_per_second == 0)
        return true;
    uint64_t price = TP_SECOND / s->tuning.max_accepts_per_second;
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
    struct tp_address source = source_of(from);
    enum tp_reason reason = TP_REASON_NONE;
    pthread_mutex_lock(&s->lock);
    if (from && tp_bans_hit(&s->bans, from, now)) {
        pthread_mutex_unlock(&s->lock);
        return TP_REASON_BANNED;
    }
    struct tp_source *e = enter(s, &source, now);
    if (from && !within_rate(s, e, now))
        reason = TP_REASON_LIMIT_RATE;
    else if (from && e->half >= s->tuning.max_half_per_source)
        reason = TP_REASON_LIMIT_SOURCE;
    else if (s->half >= s->max_half)
        reason = TP_REASON_LIMIT_CONNECTIONS;
    if (reason == TP_REASON_NONE) {
        e->half++;
        s->half++;
        *number = (uint32_t)(e - s->entries);
    }
    release(s, e);
    pthread_mutex_unlock(&s->lock);
    return reason;
}

void tp_source_settle(struct tp_sources *s, uint32_t number)
{
    pthread_mutex_lock(&s->lock);
    struct tp_source *e = &s->entries[number];
    s->half--;
    e->half--;
    release(s, e);
    pthread_mutex_unlock(&s->lock);
}

enum tp_reason tp_source_begin(struct tp_sources *s, uint32_t number)
{
    enum tp_reason reason = TP_REASON_NONE;
    pthread_mutex_lock(&s->lock);
    struct tp_source *e = &s->entries[number];
    if (e->family != 0 && s->tuning.max_begun_per_source > 0 && e->begun >= s->tuning.max_begun_per_source)
        reason = TP_REASON_LIMIT_SOURCE;
    else if (s->begun >= s->max_begun)
        reason = TP_REASON_LIMIT_IKE;
    if (reason == TP_REASON_NONE) {
        s->half--;
        e->half--;
        s->begun++;
        e->begun++;
    }
    pthread_mutex_unlock(&s->lock);
    return reason;
}

void tp_source_answered(struct tp_sources *s, uint32_t number)
{
    pthread_mutex_lock(&s->lock);
    struct tp_source *e = &s->entries[number];
    s->begun--;
    e->begun--;
    release(s, e);
    pthread_mutex_unlock(&s->lock);
}

static bool of_a_limit(enum tp_reason reason)
{
    return reason == TP_REASON_LIMIT_RATE || reason == TP_REASON_LIMIT_SOURCE;
}

bool tp_source_strike(struct tp_sources *s, const struct tp_address *from, enum tp_reason reason, uint64_t now)
{
    struct tp_address source = source_of(from);
    bool banned = false;
    pthread_mutex_lock(&s->lock);
    const struct tp_tuning *t = &s->tuning;
    if (t->ban_closes > 0 && (t->ban_limits || !of_a_limit(reason))) {
        struct tp_source *e = enter(s, &source, now);
        /* Another worker's clock may be slightly older. */
        if (e->strikes == 0 || (now > e->strikes_since && now - e->strikes_since > t->ban_within_ns)) {
            e->strikes = 0;
            e->strikes_since = now;
        }
        banned = ++e->strikes >= t->ban_closes;
        if (banned) {
            e->strikes = 0;
            tp_bans_sweep(&s->bans, now);
            tp_bans_set(&s->bans, &source, reason, false, now, now + t->ban_ns);
        }
        release(s, e);
    }
    pthread_mutex_unlock(&s->lock);
    return banned;
}

void tp_sources_ban(struct tp_sources *s, const struct tp_address *prefix, uint64_t now, uint64_t ns)
{
    pthread_mutex_lock(&s->lock);
    tp_bans_sweep(&s->bans, now);
    tp_bans_set(&s->bans, prefix, TP_REASON_CONTROL, true, now, now + ns);
    pthread_mutex_unlock(&s->lock);
}

bool tp_sources_unban(struct tp_sources *s, const struct tp_address *prefix)
{
    pthread_mutex_lock(&s->lock);
    bool lifted = tp_bans_lift(&s->bans, prefix);
    pthread_mutex_unlock(&s->lock);
    return lifted;
}

void tp_sources_restore(struct tp_sources *s, const struct tp_ban *ban)
{
    pthread_mutex_lock(&s->lock);
    tp_bans_set(&s->bans, &ban->prefix, (enum tp_reason)ban->reason, ban->by_hand != 0, ban->since_ns,
                ban->until_ns);
    pthread_mutex_unlock(&s->lock);
}

unsigned tp_sources_bans(struct tp_sources *s, uint64_t now, uint32_t *cursor, struct tp_ban *bans,
                         unsigned room)
{
    pthread_mutex_lock(&s->lock);
    unsigned count = tp_bans_list(&s->bans, now, cursor, bans, room);
    pthread_mutex_unlock(&s->lock);
    return count;
}

uint32_t tp_sources_banned(struct tp_sources *s, uint64_t now)
{
    pthread_mutex_lock(&s->lock);
    tp_bans_sweep(&s->bans, now);
    uint32_t count = s->bans.count;
    pthread_mutex_unlock(&s->lock);
    return count;
}
