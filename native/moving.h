// SPDX-License-Identifier: Apache-2.0
// What goes from a pump to its successor: the tags of its items, and the fields of a connection.
//
// A field more in a connection is one line in one of the lists below, with a number of its own that is never
// used for anything else. What has no line begins in the successor as in a fresh connection. A version is
// refused that is not ours: raise TP_MOVING_VERSION when an old item means something else than before.
#ifndef TP_MOVING_H
#define TP_MOVING_H

#include "conn.h"

enum { TP_MOVING_VERSION = 1, TP_MOVING_MAGIC = 0x54504d56 };

/* The whole begins with one of these; items follow. */
struct tp_moving_header {
    uint32_t magic, version;
    uint32_t workers;
    uint32_t descriptors;
};

enum tp_moving_tag {
    TP_MOVING_WORKER = 1, /* contains what follows down to connections */
    TP_MOVING_LINK,       /* struct tp_moving_link */
    TP_MOVING_LISTENER,   /* struct tp_moving_listener */
    TP_MOVING_COUNTER,    /* a value of 64 bits, then its name */
    TP_MOVING_POOL,       /* struct tp_moving_pool, then the returned addresses, the oldest first */
    TP_MOVING_GENERATION, /* 64 bits: no connection to come may have an id as low as this one's */
    TP_MOVING_CONN,       /* contains fields */

    TP_MOVING_BAN = 50, /* struct tp_ban; not in a worker */

    /* In a connection, beside the fields below. */
    TP_MOVING_FD = 100, /* 32 bits: which of the descriptors */
    TP_MOVING_STATS,    /* values of 64 bits in the order of enum tp_stat */
    TP_MOVING_PARTIAL,  /* struct tp_moving_block, then bytes */
    TP_MOVING_FRAME,    /* the same, in the order in which it is to be sent within a class */
};

struct tp_moving_link {
    uint32_t family, port, fd;
};

/* Who its load balancers are, the successor's configuration says. */
struct tp_moving_listener {
    struct tp_address local;
    uint32_t wildcard, fd;
};

struct tp_moving_pool {
    struct tp_address first;
    uint32_t stride, size, fresh, returned;
};

struct tp_moving_block {
    uint64_t since;
    uint32_t room, payload, kind;
    uint32_t line, demoted, begun; /* of a queue */
};

/* X(tag, member of struct tp_conn), copied as they are. */
#define TP_MOVING_FIELDS(X)                                                                                  \
    X(200, card.id)                                                                                          \
    X(201, card.since_ns)                                                                                    \
    X(202, card.state)                                                                                       \
    X(203, card.protocol)                                                                                    \
    X(204, card.remote)                                                                                      \
    X(205, card.local)                                                                                       \
    X(206, card.flow)                                                                                        \
    X(207, own_peer)                                                                                         \
    X(208, framing)                                                                                          \
    X(209, ike_port)                                                                                         \
    X(210, bad_ike)                                                                                          \
    X(211, head_length)                                                                                      \
    X(212, head)                                                                                             \
    X(213, drained)                                                                                          \
    X(214, unsent)                                                                                           \
    X(215, standing)                                                                                         \
    X(216, farewell)

/* Those of type bool. */
#define TP_MOVING_FLAGS(X)                                                                                   \
    X(301, seen_ike)                                                                                         \
    X(302, answered_ike)                                                                                     \
    X(303, wants_introduction)                                                                               \
    X(304, may_tls)                                                                                          \
    X(305, blameless)

/* When a deadline runs out (CLOCK_MONOTONIC, which both processes share); none is written when it is not set. */
#define TP_MOVING_DEADLINES(X)                                                                               \
    X(400, opening)                                                                                          \
    X(401, frame)

/* Whether a successor can go on with it. What lives in this process and not in descriptors and bytes (the
 * state of OpenSSL) cannot move, and a web client is not worth it: such a connection ends with this process,
 * and its client returns. */
static inline bool tp_conn_can_move(const struct tp_conn *conn)
{
    return !conn->tls && !conn->relay && conn->card.state <= TP_LINGERING;
}

#endif
