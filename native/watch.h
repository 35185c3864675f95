// SPDX-License-Identifier: Apache-2.0
// Is the link there? Told to the control plane when it changes, by whichever worker sees it: that it is gone
// at most once a second, that it is back at once. A loss that was not told for that reason is seen again, and
// told, with the next datagram.
#ifndef TP_WATCH_H
#define TP_WATCH_H

#include <pthread.h>
#include <stdatomic.h>

#include "event.h"

struct tp_watch {
    pthread_mutex_t lock;
    struct tp_events *events;
    _Atomic bool down; /* as told */
    uint64_t gone_at;  /* when it was last told to be down */
};

void tp_watch_open(struct tp_watch *watch, struct tp_events *events);
void tp_watch_close(struct tp_watch *watch);

/* A send for `flow` failed as it does when a link is gone. True when that was news and has been told. */
bool tp_watch_failed(struct tp_watch *watch, const struct tp_address *flow, uint64_t now);

/* The rare half of tp_watch_worked. */
void tp_watch_back(struct tp_watch *watch, uint64_t now);

/* The link took or gave a datagram. */
static inline void tp_watch_worked(struct tp_watch *watch, uint64_t now)
{
    if (atomic_load_explicit(&watch->down, memory_order_relaxed))
        tp_watch_back(watch, now);
}

#endif
