// SPDX-License-Identifier: Apache-2.0
// A connection's memory, and the slab it lives in.
//
// Slots are recycled and never freed while the pump lives. Each has a card: what the control plane may see,
// published by the owning worker under a version that is odd while it changes, so that a snapshot takes no
// lock and stops nobody. An id names a slot, its worker and its generation: an old id finds nothing.
// An idle connection owns this struct and nothing else; buffers are borrowed. Must not know what moves bytes.
#ifndef TP_CONN_H
#define TP_CONN_H

#include <stdatomic.h>

#include "counters.h"
#include "deadline.h"
#include "flow.h"
#include "handle.h"
#include "queue.h"
#include "sniff.h"
#include "unsent.h"

enum tp_stat {
    TP_STAT_LAST_ACTIVE,
    TP_STAT_STREAM_TO_LINK_BYTES,
    TP_STAT_STREAM_TO_LINK_FRAMES,
    TP_STAT_STREAM_TO_LINK_ESP,
    TP_STAT_LINK_TO_STREAM_BYTES,
    TP_STAT_LINK_TO_STREAM_FRAMES,
    TP_STAT_LINK_TO_STREAM_ESP,
    TP_STAT_QUEUED,
    TP_STAT_DROPPED,
    TP_STAT_DROPPED_LATE,
    TP_STAT_DROPPED_FULL,
    TP_STAT_EXPEDITED,
    TP_STAT_BULK,
    TP_STAT_UNSENT_LIMIT,
    TP_STATS
};

/* What does not change with every packet. */
struct tp_card {
    uint64_t id; /* 0: the slot is free */
    uint64_t since_ns;
    uint32_t worker, state, protocol;
    struct tp_address remote, local, flow;
    uint16_t tls_version; /* 0: none, or not yet */
    uint16_t tls_cipher;
    uint32_t tls_flags; /* tp_tls_flag */
};

/* What a connection counts as among those of its source. */
enum tp_standing {
    TP_UNCOUNTED, /* proven, or never asked */
    TP_HALF,      /* half-identified */
    TP_BEGUN,     /* identified, and charon has not answered yet */
};

enum { TP_CARD_WORDS = sizeof(struct tp_card) / 8 };
_Static_assert(sizeof(struct tp_card) % 8 == 0, "a card is copied word by word");

struct tp_conn {
    struct tp_handle handle;
    int fd; /* -1: the slot is free, or will be at the end of the worker's turn */
    struct tp_conn *next;

    struct tp_card card; /* the worker's own copy; tp_conn_publish shows it */
    struct tp_peer *peer;
    struct tp_peer own_peer; /* what peer points to in the gateway */
    enum tp_framing framing;
    uint32_t source; /* of the accept limits, valid while it counts for something */
    enum tp_standing standing;
    bool wants_introduction; /* a load balancer: a PROXY header comes before all else */
    bool blameless;          /* a load balancer that has not said for whom it speaks */
    bool seen_ike;     /* a sound IKE message came from the stream */
    bool answered_ike; /* charon has answered one */
    bool wants_write;  /* epoll watches for room to write */
    uint8_t ike_port;  /* TP_PORT_*: where charon last sent IKE from */
    uint8_t bad_ike;
    uint8_t head_length;
    uint8_t head[8];          /* bytes too few to tell the protocol or a frame's length */
    struct tp_block *partial; /* a frame of which the length is known and the rest is not there */
    struct tp_queue queue;
    struct tp_tls *tls; /* NULL: plain */
    bool may_tls;       /* its first bytes may begin TLS */
    struct tp_unsent unsent;
    uint64_t alone_again; /* when it may write single frames again */
    uint8_t alone;        /* how many until then */
    struct tp_relay *relay; /* HTTP, handed to the web backend */
    uint64_t drained; /* while lingering */
    enum tp_reason farewell; /* why it ends when it has lingered */

    struct tp_deadline opening; /* first bytes, then IKE; or lingering */
    struct tp_deadline frame;

    struct tp_conn *batch_next; /* valid while batch_first is >= 0: datagrams from the link for this one */
    int32_t batch_first, batch_last;
    uint32_t batch_bytes, batch_count;

    bool heavy;                   /* its last read brought much: others are served first */
    bool in_line;                 /* waits among the heavy ones for its turn */
    struct tp_conn *next_in_line; /* valid while in_line */

    _Atomic uint32_t version;
    _Atomic uint64_t shown[TP_CARD_WORDS];
    _Atomic uint64_t stat[TP_STATS];
};

enum { TP_CONN_CHUNK = 64 };

struct tp_conns {
    uint32_t worker;
    uint32_t max;
    uint64_t after; /* the id of a slot's first connection has a later generation than this one */
    struct tp_conn *free;
    _Atomic uint32_t slots; /* all below were in use at least once */
    struct tp_conn *_Atomic *chunks;
};

/* -1 when memory is short. */
int tp_conns_open(struct tp_conns *conns, uint32_t worker, uint32_t max);
void tp_conns_close(struct tp_conns *conns);

/* A fresh connection with nothing but an id, not published yet; NULL at the limit or without memory. */
struct tp_conn *tp_conn_take(struct tp_conns *conns);

/* The connection `id`, which another process had: to be called with growing ids on a fresh slab. Not published
 * yet; NULL beyond the limit or without memory. */
struct tp_conn *tp_conn_restore(struct tp_conns *conns, uint64_t id);

/* The latest generation that any id of these had, as `after` wants it. */
uint64_t tp_conns_latest(struct tp_conns *conns);

/* Its id finds nothing from here on. */
void tp_conn_retire(struct tp_conn *conn);

/* The slot of a retired connection may be used again. */
void tp_conn_recycle(struct tp_conns *conns, struct tp_conn *conn);

void tp_conn_publish(struct tp_conn *conn);

/* For the owner: the connection with this id, or NULL. */
struct tp_conn *tp_conn_by_id(struct tp_conns *conns, uint64_t id);

/* For the owner: what lies in a slot below tp_conns_slots(). */
struct tp_conn *tp_conn_in_slot(struct tp_conns *conns, uint32_t slot);

/* For everybody: false when the slot is free. Slots below tp_conns_slots() exist. */
bool tp_conn_snapshot(struct tp_conns *conns, uint32_t slot, struct tp_connection_info *info);
uint32_t tp_conns_slots(struct tp_conns *conns);

/* The connection whose `opening` this is. */
static inline struct tp_conn *tp_conn_opening(struct tp_deadline *deadline)
{
    return (struct tp_conn *)((char *)deadline - offsetof(struct tp_conn, opening));
}

static inline uint32_t tp_id_worker(uint64_t id)
{
    return id >> 24 & 0xff;
}

static inline uint32_t tp_id_slot(uint64_t id)
{
    return id & 0xffffff;
}

#endif
