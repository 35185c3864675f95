// SPDX-License-Identifier: Apache-2.0
// Everything that is counted, by name. Each worker owns one set and is its only writer; the control plane
// reads with relaxed atomics and never stops anybody. A gauge goes down as well as up.
//
// Counters that come in families (by reason, by protocol, by first byte) follow the named ones.
#ifndef TP_COUNTERS_H
#define TP_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "reason.h"

/* clang-format off */
#define TP_COUNTERS(X)                                                                            \
    X(connections_open)                 /* gauge */                                               \
    X(connections_half_identified)      /* gauge: accepted, protocol not known yet */             \
    X(connections_ike_half_open)        /* gauge: protocol known, charon has not answered yet */  \
    X(bans_active)                      /* gauge */                                               \
    X(connections_tls)                  /* gauge: their handshake is done */                      \
    X(relays_open)                      /* gauge: HTTP clients handed to the web backend */       \
    X(queued_bytes)                     /* gauge: memory of queues and of partial frames */       \
    X(memory_bytes)                     /* gauge: all that grows with connections and traffic */  \
    X(accepted)                                                                                   \
    X(adopted)                                                                                    \
    X(accept_errors)                    /* accept() failed for a reason that is not the peer's */ \
    X(introduced)                       /* by a PROXY header of a load balancer */                \
    X(first_ike)                                                                                  \
    X(bans)                             /* sources banned for what they did */                    \
    X(relays_failed)                    /* the backend could not be reached, or broke off */      \
    X(relay_to_backend_bytes)                                                                     \
    X(relay_to_client_bytes)                                                                      \
    X(stream_to_link_bytes)             /* datagrams handed to the link, framing not counted */   \
    X(stream_to_link_frames)                                                                      \
    X(stream_to_link_esp_frames)                                                                  \
    X(stream_to_link_sends)             /* messages to the kernel; frames / sends = batching */   \
    X(stream_to_link_keepalives)        /* swallowed */                                           \
    X(stream_to_link_empty)             /* ignored */                                             \
    X(stream_to_link_malformed)         /* dropped: neither IKE nor ESP */                        \
    X(stream_to_link_bad_ike)           /* dropped: the IKE header contradicts the frame */       \
    X(stream_to_link_no_buffer)         /* dropped: the link's send buffer was full */            \
    X(stream_to_link_link_down)         /* dropped: the link is gone */                           \
    X(stream_to_link_no_peer)           /* dropped: charon has not shown its address yet */       \
    X(stream_to_link_too_big)           /* dropped: no UDP datagram can hold it */                \
    X(stream_to_link_refused)           /* dropped: the system refused for another reason */      \
    X(stream_to_link_regrouped)         /* groups sent singly: segments beyond the link's MTU */  \
    X(link_to_stream_bytes)                                                                       \
    X(link_to_stream_frames)                                                                      \
    X(link_to_stream_esp_frames)                                                                  \
    X(link_to_stream_writes)                                                                      \
    X(link_to_stream_keepalives)        /* swallowed: never sent on TCP */                        \
    X(link_to_stream_malformed)         /* dropped: neither IKE nor ESP */                        \
    X(link_to_stream_no_connection)     /* dropped: nobody has this flow address */               \
    X(link_to_stream_not_open)          /* dropped: its connection speaks nothing yet */          \
    X(link_to_stream_queue_full)        /* dropped: the connection's cap */                       \
    X(link_to_stream_worker_full)       /* dropped: the worker's cap */                           \
    X(link_to_stream_late)              /* dropped by CoDel: waited too long in its queue */      \
    X(link_to_stream_queued_ike)        /* had to wait; what went out at once is in none */       \
    X(link_to_stream_queued_expedited)                                                            \
    X(link_to_stream_queued_bulk)                                                                 \
    X(link_to_stream_demoted)           /* of those in bulk: beyond the share of expedited */     \
    X(link_to_stream_closed)            /* dropped: was queued when its connection closed */      \
    X(tls_begun)                        /* connections that began a handshake */                  \
    X(tls_established)                                                                            \
    X(tls_resumed)                      /* of these by a ticket */                                \
    X(tls_version_1_2)                                                                            \
    X(tls_version_1_3)                                                                            \
    X(tls_kernel_send)                  /* of these the kernel encrypts */                        \
    X(tls_kernel_receive)               /* of these the kernel decrypts */                        \
    X(link_down)                        /* times the link was seen gone and that was told */         \
    X(events_lost)                      /* not told: nobody fetched events in time */
/* clang-format on */

enum tp_counter {
#define TP_COUNTER_ID(name) TP_C_##name,
    TP_COUNTERS(TP_COUNTER_ID)
#undef TP_COUNTER_ID
        TP_C_closed,                                               /* + tp_reason */
    TP_C_identified = TP_C_closed + TP_REASON_COUNT,               /* + tp_protocol */
    TP_C_unknown_first_byte = TP_C_identified + TP_PROTOCOL_COUNT, /* + the byte */
    TP_C_COUNT = TP_C_unknown_first_byte + 256
};

/* The gauges come first: a successor counts these anew and goes on with the others. */
enum { TP_C_GAUGES = TP_C_accepted };

struct tp_counters {
    _Atomic uint64_t value[TP_C_COUNT];
};

/* One writer: no locked instruction is needed. */
static inline void tp_bump(_Atomic uint64_t *value, uint64_t by)
{
    atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

static inline uint64_t tp_read(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static inline void tp_write(_Atomic uint64_t *value, uint64_t to)
{
    atomic_store_explicit(value, to, memory_order_relaxed);
}

static inline void tp_count(struct tp_counters *counters, unsigned which, uint64_t by)
{
    tp_bump(&counters->value[which], by);
}

#endif
