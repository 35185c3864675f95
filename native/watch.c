// SPDX-License-Identifier: Apache-2.0
#include "watch.h"

#include "clock.h"

void tp_watch_open(struct tp_watch *watch, struct tp_events *events)
{
    pthread_mutex_init(&watch->lock, NULL);
    watch->events = events;
    atomic_init(&watch->down, false);
    watch->gone_at = 0;
}

void tp_watch_close(struct tp_watch *watch)
{
    pthread_mutex_destroy(&watch->lock);
}

static bool tell(struct tp_watch *watch, bool down, const struct tp_address *flow, uint64_t now)
{
    bool news = false;
    pthread_mutex_lock(&watch->lock);
    if (atomic_load_explicit(&watch->down, memory_order_relaxed) != down &&
        (!down || watch->gone_at == 0 || now - watch->gone_at >= TP_SECOND)) {
        news = true;
        if (down)
            watch->gone_at = now;
        atomic_store_explicit(&watch->down, down, memory_order_relaxed);
    }
    pthread_mutex_unlock(&watch->lock);
    if (news) {
        struct tp_event event = {.kind = down ? TP_EVENT_LINK_DOWN : TP_EVENT_LINK_UP, .at_ns = now};
        if (flow)
            event.flow = *flow;
        tp_events_put(watch->events, &event);
    }
    return news;
}

bool tp_watch_failed(struct tp_watch *watch, const struct tp_address *flow, uint64_t now)
{
    return tell(watch, true, flow, now);
}

void tp_watch_back(struct tp_watch *watch, uint64_t now)
{
    tell(watch, false, NULL, now);
}
