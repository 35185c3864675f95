// SPDX-License-Identifier: Apache-2.0
// What the workers of a pump share. The outside is api.h.
#ifndef TP_PUMP_H
#define TP_PUMP_H

#include <stdatomic.h>

#include "worker.h"

struct tp_pump {
    struct tp_config config;
    struct tp_events events;
    struct tp_sources sources;
    struct tp_prefixes *access; /* what the workers use; changed by one thread at a time */
    struct tp_watch watch;
    struct tp_tickets tickets;
    _Atomic uint32_t open;                           /* connections of all workers */
    _Atomic uint32_t relays;                         /* of all workers */
    _Atomic uint32_t next_worker;                    /* for adopted connections that fit any */
    _Atomic uint64_t limit_told_at[TP_REASON_COUNT]; /* TP_EVENT_LIMIT: once a second and reason */
    _Atomic uint64_t ban_told_at;                    /* TP_EVENT_BAN: once a second */
    struct tp_worker *workers;
    unsigned opened, running; /* of workers */
    bool frozen;
};

/* Starts the workers' threads; 0 or -1. */
int tp_pump_run(struct tp_pump *pump, struct tp_error *error);

/* Counts one more open connection unless that would be too many. */
bool tp_pump_enter(struct tp_pump *pump);
void tp_pump_leave(struct tp_pump *pump);

/* A connection was refused: told at most once a second for each reason. */
void tp_pump_tell_limit(struct tp_pump *pump, enum tp_reason reason, const struct tp_address *remote,
                        const struct tp_address *local, uint64_t now);
/* A source was banned: told at most once a second. */
void tp_pump_tell_ban(struct tp_pump *pump, enum tp_reason reason, const struct tp_address *remote,
                      const struct tp_address *local, uint64_t now);

#endif
