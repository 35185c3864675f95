// SPDX-License-Identifier: Apache-2.0
// Who may open connections: limits per source and in all, on connections that have not proven anything yet and
// on their rate; and who has lost that right for a while.
//
// A source is one IPv4 address or one IPv6 /64. A connection is half-identified until its protocol is known,
// and begun until charon has answered it. The kernel spreads a source's connections over all workers, so this
// table is shared, behind a mutex that is taken a few times in a connection's life and never for a packet. Its
// memory is fixed: when it is full of sources that are merely remembered, the one that was quiet the longest is
// forgotten. Knows no socket, so that a source may as well be told by a balancer. Time comes as an argument.
#ifndef TP_SOURCE_H
#define TP_SOURCE_H

#include <pthread.h>

#include "address.h"
#include "ban.h"

struct tp_source;

struct tp_sources {
    pthread_mutex_t lock;
    struct tp_source *entries;
    uint32_t *buckets;     /* the first entry of each chain + 1 */
    uint32_t bucket_count; /* a power of two */
    uint32_t entry_count;
    uint32_t used;           /* entries that were ever in use */
    uint32_t oldest, newest; /* + 1: the entries with no unproven connection, by when they were last needed */
    uint64_t seed;
    uint32_t half, begun;
    uint32_t max_half, max_begun;
    struct tp_tuning tuning;
    struct tp_bans bans;
};

/* -1 when memory is short. */
int tp_sources_open(struct tp_sources *sources, const struct tp_config *config);
void tp_sources_close(struct tp_sources *sources);

void tp_sources_tune(struct tp_sources *sources, const struct tp_tuning *tuning);

/* TP_REASON_NONE and the number of the source, with one more half-identified connection: settle or begin it.
 * Or why not. `from` NULL is a load balancer that has not yet said for whom it speaks: only the limits on all
 * count. */
enum tp_reason tp_source_admit(struct tp_sources *sources, const struct tp_address *from, uint64_t now,
                               uint32_t *number);

/* A half-identified connection is gone, or need not be counted any more. */
void tp_source_settle(struct tp_sources *sources, uint32_t number);

/* A half-identified connection has told its protocol: TP_REASON_NONE, and it counts as begun until
 * tp_source_answered. Or the limit, and it still counts as half-identified. */
enum tp_reason tp_source_begin(struct tp_sources *sources, uint32_t number);

/* A begun connection was answered, or is gone. */
void tp_source_answered(struct tp_sources *sources, uint32_t number);

/* A connection from there ended in a hostile way. True when that bans its source. */
bool tp_source_strike(struct tp_sources *sources, const struct tp_address *from, enum tp_reason reason,
                      uint64_t now);

/* For the control plane: api.h has what they do. */
void tp_sources_ban(struct tp_sources *sources, const struct tp_address *prefix, uint64_t now, uint64_t ns);
/* A ban that another process had set. */
void tp_sources_restore(struct tp_sources *sources, const struct tp_ban *ban);
bool tp_sources_unban(struct tp_sources *sources, const struct tp_address *prefix);
unsigned tp_sources_bans(struct tp_sources *sources, uint64_t now, uint32_t *cursor, struct tp_ban *bans,
                         unsigned room);
uint32_t tp_sources_banned(struct tp_sources *sources, uint64_t now);

#endif
