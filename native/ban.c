// SPDX-License-Identifier: Apache-2.0
#include "ban.h"

#include <stdlib.h>

struct tp_bans_entry {
    struct tp_bits network;
    uint64_t since, until;
    uint64_t refused;
    uint32_t chain;          /* + 1; of the free ones too */
    uint32_t earlier, later; /* + 1, in the order of their end */
    uint8_t family, length, reason, by_hand;
    bool there;
};

int tp_bans_open(struct tp_bans *b, uint32_t most, uint64_t seed)
{
    *b = (struct tp_bans){.entry_count = most, .bucket_count = 64, .seed = seed};
    while (b->bucket_count < most)
        b->bucket_count *= 2;
    b->entries = calloc(most, sizeof *b->entries);
    b->buckets = calloc(b->bucket_count, sizeof *b->buckets);
    return b->entries && b->buckets ? 0 : -1;
}

void tp_bans_close(struct tp_bans *b)
{
    free(b->entries);
    free(b->buckets);
}

static uint32_t *bucket_of(struct tp_bans *b, uint8_t family, uint8_t length, struct tp_bits network)
{
    uint64_t kind = (uint64_t)(family == 6) << 7 ^ length;
    return &b->buckets[tp_bits_hash(network, kind, b->seed) & (b->bucket_count - 1)];
}

static struct tp_bans_entry *find(struct tp_bans *b, uint8_t family, uint8_t length, struct tp_bits network)
{
    for (uint32_t number = *bucket_of(b, family, length, network); number;) {
        struct tp_bans_entry *e = &b->entries[number - 1];
        if (e->family == family && e->length == length && tp_bits_same(e->network, network))
            return e;
        number = e->chain;
    }
    return NULL;
}

static void list_remove(struct tp_bans *b, struct tp_bans_entry *e)
{
    if (e->earlier)
        b->entries[e->earlier - 1].later = e->later;
    else
        b->first[e->by_hand] = e->later;
    if (e->later)
        b->entries[e->later - 1].earlier = e->earlier;
    else
        b->last[e->by_hand] = e->earlier;
}

/* Automatic ones go to the end, whatever their time has been changed to; those by hand are few. */
static void list_insert(struct tp_bans *b, struct tp_bans_entry *e)
{
    uint32_t number = (uint32_t)(e - b->entries) + 1;
    uint32_t before = b->last[e->by_hand];
    while (e->by_hand && before && b->entries[before - 1].until > e->until)
        before = b->entries[before - 1].earlier;
    e->earlier = before;
    e->later = before ? b->entries[before - 1].later : b->first[e->by_hand];
    if (before)
        b->entries[before - 1].later = number;
    else
        b->first[e->by_hand] = number;
    if (e->later)
        b->entries[e->later - 1].earlier = number;
    else
        b->last[e->by_hand] = number;
}

static void note_length(struct tp_bans *b, const struct tp_bans_entry *e, int change)
{
    unsigned six = e->family == 6;
    uint64_t bit = UINT64_C(1) << e->length % 64;
    b->of_length[six][e->length] += (uint32_t)change;
    if (b->of_length[six][e->length] > 0)
        b->lengths[six][e->length / 64] |= bit;
    else
        b->lengths[six][e->length / 64] &= ~bit;
}

static void end(struct tp_bans *b, struct tp_bans_entry *e)
{
    uint32_t number = (uint32_t)(e - b->entries) + 1;
    uint32_t *link = bucket_of(b, e->family, e->length, e->network);
    while (*link != number)
        link = &b->entries[*link - 1].chain;
    *link = e->chain;
    list_remove(b, e);
    note_length(b, e, -1);
    e->there = false;
    e->chain = b->free;
    b->free = number;
    b->count--;
}

static struct tp_bans_entry *vacant(struct tp_bans *b)
{
    if (!b->free && b->used < b->entry_count)
        return &b->entries[b->used++];
    if (!b->free)
        end(b, &b->entries[(b->first[0] ? b->first[0] : b->first[1]) - 1]);
    struct tp_bans_entry *e = &b->entries[b->free - 1];
    b->free = e->chain;
    return e;
}

bool tp_bans_hit(struct tp_bans *b, const struct tp_address *address, uint64_t now)
{
    if (b->count == 0)
        return false;
    unsigned six = address->family == 6;
    struct tp_bits bits = tp_bits_of(address);
    for (unsigned word = 0; word < 3; word++) {
        for (uint64_t left = b->lengths[six][word]; left; left &= left - 1) {
            uint8_t length = (uint8_t)(64 * word + (unsigned)__builtin_ctzll(left));
            struct tp_bans_entry *e = find(b, address->family, length, tp_bits_network(bits, length));
            if (!e)
                continue;
            if (e->until > now) {
                e->refused++;
                return true;
            }
            end(b, e);
        }
    }
    return false;
}

void tp_bans_set(struct tp_bans *b, const struct tp_address *prefix, enum tp_reason reason, bool by_hand,
                 uint64_t now, uint64_t until)
{
    struct tp_bits network = tp_bits_network(tp_bits_of(prefix), prefix->prefix);
    struct tp_bans_entry *e = find(b, prefix->family, prefix->prefix, network);
    if (e && e->by_hand && !by_hand && e->until > now)
        return;
    if (e)
        end(b, e);
    e = vacant(b);
    *e = (struct tp_bans_entry){
        .network = network,
        .since = now,
        .until = until,
        .family = prefix->family,
        .length = prefix->prefix,
        .reason = (uint8_t)reason,
        .by_hand = by_hand,
        .there = true,
    };
    uint32_t *bucket = bucket_of(b, e->family, e->length, e->network);
    e->chain = *bucket;
    *bucket = (uint32_t)(e - b->entries) + 1;
    list_insert(b, e);
    note_length(b, e, 1);
    b->count++;
}

bool tp_bans_lift(struct tp_bans *b, const struct tp_address *prefix)
{
    struct tp_bits network = tp_bits_network(tp_bits_of(prefix), prefix->prefix);
    struct tp_bans_entry *e = find(b, prefix->family, prefix->prefix, network);
    if (e)
        end(b, e);
    return e != NULL;
}

void tp_bans_sweep(struct tp_bans *b, uint64_t now)
{
    for (unsigned by_hand = 0; by_hand < 2; by_hand++) {
        while (b->first[by_hand] && b->entries[b->first[by_hand] - 1].until <= now)
            end(b, &b->entries[b->first[by_hand] - 1]);
    }
}

unsigned tp_bans_list(const struct tp_bans *b, uint64_t now, uint32_t *cursor, struct tp_ban *out,
                      unsigned room)
{
    unsigned count = 0;
    for (; *cursor < b->used && count < room; (*cursor)++) {
        const struct tp_bans_entry *e = &b->entries[*cursor];
        if (!e->there || e->until <= now)
            continue;
        out[count] = (struct tp_ban){
            .prefix = {.family = e->family, .prefix = e->length},
            .since_ns = e->since,
            .until_ns = e->until,
            .refused = e->refused,
            .reason = e->reason,
            .by_hand = e->by_hand,
        };
        tp_bits_write(e->network, &out[count++].prefix);
    }
    return count;
}
