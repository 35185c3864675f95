// SPDX-License-Identifier: Apache-2.0
#include "event.h"

#include <stdlib.h>
#include <sys/eventfd.h>

int tp_events_open(struct tp_events *events, uint32_t size, int fd)
{
    *events = (struct tp_events){.size = size, .fd = fd};
    pthread_mutex_init(&events->lock, NULL);
    events->ring = calloc(size, sizeof *events->ring);
    return events->ring ? 0 : -1;
}

void tp_events_close(struct tp_events *events)
{
    pthread_mutex_destroy(&events->lock);
    free(events->ring);
}

void tp_events_put(struct tp_events *events, const struct tp_event *event)
{
    bool wake = false;
    pthread_mutex_lock(&events->lock);
    if (events->lost > 0 || events->count == events->size) {
        events->lost++;
        atomic_fetch_add_explicit(&events->ever_lost, 1, memory_order_relaxed);
    } else {
        events->ring[(events->first + events->count) % events->size] = *event;
        wake = events->count++ == 0;
    }
    pthread_mutex_unlock(&events->lock);
    /* It can only fail when the counter is full, and then the reader is awake already. */
    if (wake)
        (void)eventfd_write(events->fd, 1);
}

unsigned tp_events_poll(struct tp_events *events, struct tp_event *out, unsigned room, uint64_t now)
{
    unsigned fetched = 0;
    pthread_mutex_lock(&events->lock);
    while (fetched < room && events->count > 0) {
        out[fetched++] = events->ring[events->first];
        events->first = (events->first + 1) % events->size;
        events->count--;
    }
    if (fetched < room && events->lost > 0) {
        out[fetched++] = (struct tp_event){.kind = TP_EVENT_LOST, .at_ns = now};
        events->lost = 0;
    }
    pthread_mutex_unlock(&events->lock);
    return fetched;
}
