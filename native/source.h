// SPDX-License-Identifier: Apache-2.0
// Who may open connections: limits on half-identified connections, in all and per source, and on their rate.
//
// A source is one IPv4 address or one IPv6 /64. The kernel spreads a source's connections over all workers,
// so this table is shared, behind a mutex that is taken once per accepted connection and never for a packet.
// Its memory is fixed: when it is full of sources that are merely remembered for their rate, the one that was
// quiet the longest is forgotten. Time comes as an argument.
#ifndef TP_SOURCE_H
#define TP_SOURCE_H

#include <pthread.h>

#include "address.h"

struct tp_source;

struct tp_sources {
    pthread_mutex_t lock;
    struct tp_source *entries;
    uint32_t *buckets;     /* the first entry of each chain + 1 */
    uint32_t bucket_count; /* a power of two */
    uint32_t entry_count;
    uint32_t used;           /* entries that were ever in use */
    uint32_t oldest, newest; /* + 1: the entries with no half-identified connection, by their last accept */
    uint64_t seed;
    uint32_t half;
    uint32_t max_half, max_half_per_source, max_per_second;
};

/* -1 when memory is short. */
int tp_sources_open(struct tp_sources *sources, uint32_t max_half, uint32_t max_half_per_source,
                    uint32_t max_per_second);
void tp_sources_close(struct tp_sources *sources);

/* `from` NULL is a load balancer that has not yet said for whom it speaks: only the limit on all counts.
 * TP_REASON_NONE and the number of the source, to be given to tp_source_settle exactly once; or the limit. */
enum tp_reason tp_source_admit(struct tp_sources *sources, const struct tp_address *from, uint64_t now,
                               uint32_t *number);

/* The connection is identified, or gone. */
void tp_source_settle(struct tp_sources *sources, uint32_t number);

#endif
