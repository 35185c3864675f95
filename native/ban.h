// SPDX-License-Identifier: Apache-2.0
// Prefixes that are kept out until a moment: a table of fixed size.
//
// Looking one up costs one step for each prefix length in use, which are two when nobody bans by hand; adding
// and lifting an automatic one cost the same with one ban as with all. When the table is full the oldest of
// these goes, those made by hand last. Time comes as an argument. No lock of its own: tp_sources has it behind its own.
#ifndef TP_BAN_H
#define TP_BAN_H

#include <stdbool.h>

#include "bits.h"

struct tp_bans_entry;

struct tp_bans {
    struct tp_bans_entry *entries;
    uint32_t *buckets;     /* the first entry of each chain + 1 */
    uint32_t bucket_count; /* a power of two */
    uint32_t entry_count;
    uint32_t used;           /* entries that were ever in use */
    uint32_t free;           /* + 1 */
    uint32_t first[2];       /* + 1: automatic ones by age, and those by hand by their end */
    uint32_t last[2];
    uint32_t of_length[2][129]; /* how many bans there are of each length, by family */
    uint64_t lengths[2][3];     /* the same as bits: which are in use */
    uint64_t seed;
    uint32_t count;
};

/* -1 when memory is short. */
int tp_bans_open(struct tp_bans *bans, uint32_t most, uint64_t seed);
void tp_bans_close(struct tp_bans *bans);

/* Whether the address is kept out now; that is counted on the ban. */
bool tp_bans_hit(struct tp_bans *bans, const struct tp_address *address, uint64_t now);

/* Keeps `prefix` out until then, also when it was already; what a hand has set only a hand changes. */
void tp_bans_set(struct tp_bans *bans, const struct tp_address *prefix, enum tp_reason reason, bool by_hand,
                 uint64_t now, uint64_t until);

/* False when there was none. */
bool tp_bans_lift(struct tp_bans *bans, const struct tp_address *prefix);

/* Forgets those that have ended and stand first. */
void tp_bans_sweep(struct tp_bans *bans, uint64_t now);

/* Up to `room` bans from `*cursor` on (first 0), which moves; 0: that was all. */
unsigned tp_bans_list(const struct tp_bans *bans, uint64_t now, uint32_t *cursor, struct tp_ban *out,
                      unsigned room);

#endif
