// SPDX-License-Identifier: Apache-2.0
// Events for the control plane: a bounded ring with an eventfd beside it.
//
// Workers put, anybody polls; a mutex is fine, since events are about connections and not about packets. When
// the ring is full all further events are lost until it has been emptied, and the poll that empties it ends
// with one TP_EVENT_LOST: whatever was told before it came in order, and nothing after it refers to a gap.
#ifndef TP_EVENT_H
#define TP_EVENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "api.h"

struct tp_events {
    pthread_mutex_t lock;
    struct tp_event *ring;
    uint32_t size, first, count;
    uint64_t lost; /* since the last TP_EVENT_LOST */
    _Atomic uint64_t ever_lost;
    int fd; /* the caller's; written to when the first event is put */
};

/* -1 when memory is short. */
int tp_events_open(struct tp_events *events, uint32_t size, int fd);
void tp_events_close(struct tp_events *events);

void tp_events_put(struct tp_events *events, const struct tp_event *event);

unsigned tp_events_poll(struct tp_events *events, struct tp_event *out, unsigned room, uint64_t now);

#endif
