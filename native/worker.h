// SPDX-License-Identifier: Apache-2.0
// One thread, one epoll, and everything it owns. Connections never change their worker.
//
// A turn: wait, read the clock, serve each handle a bounded amount, one of the heavy streams last, expire
// deadlines, recycle what was closed. Another thread talks to a worker only through tp_worker_ask; what it
// may read beside that are counters and cards. The files around it each are one activity of a worker and
// share this header:
// stream_proxy.c, stream_open.c, stream_http.c, relay.c, stream_in.c, stream_out.c, stream_wait.c, link_in.c,
// accept.c, admit.c, close.c, command.c, worker.c.
#ifndef TP_WORKER_H
#define TP_WORKER_H

#include <pthread.h>

#include "command.h"
#include "conn.h"
#include "link.h"
#include "link_sink.h"
#include "listener.h"
#include "relay.h"
#include "source.h"
#include "tls.h"

enum {
    /* Read from one stream in one turn, and written to one. Half of it costs a tenth of the speed of a single
     * stream, twice as much gains nothing, and it is what others may have to wait for. */
    TP_RECEIVE_BYTES = 512 << 10,
    /* A stream that brings or gets more than this in a turn is a heavy one and waits for the others. */
    TP_LIGHT_BYTES = 32 << 10,
    /* From a connection whose protocol is not known: what it is handed on with must fit a block. */
    TP_FIRST_BYTES = 16 << 10,
    TP_BATCH_ITEMS = 2048,        /* datagrams from the link collected before streams are written */
    TP_MAX_BAD_IKE = 16,          /* on one connection; one more closes it */
};

struct tp_pump;
struct tp_prefixes;

/* A datagram from the link on its way into a stream, still in the receive buffer. */
struct tp_item {
    struct tp_frame frame;
    uint8_t header[TP_MAX_HEADER];
    int32_t next; /* of the same connection, or -1 */
};

struct tp_worker {
    struct tp_pump *pump;
    const struct tp_config *config;
    struct tp_events *events;
    struct tp_sources *sources;
    const struct tp_prefixes *access; /* replaced by command; NULL: no rules */
    struct tp_watch *watch;
    unsigned index;
    pthread_t thread;
    int epoll;
    bool stopping;
    bool frozen;  /* to rest, or resting, until thawed: a successor may be taking everything over */
    bool resting; /* at a turn's border; the thread touches nothing but commands */
    uint64_t now;

    struct tp_conns conns;
    struct tp_conn *closed; /* slots to recycle at the end of the turn: an event may still point to one */
    struct tp_flows flows;
    struct tp_blocks blocks;
    struct tp_deadlines first_bytes, handshake, ike, frame, lingering, web_connect, web_idle;
    struct tp_relays relays;

    struct tp_link link;
    struct tp_receiver *receiver;
    struct tp_link_sink link_sink;
    struct tp_sink *sink;

    uint8_t *receive; /* TP_RECEIVE_BYTES */
    uint32_t quantum; /* of them to be filled by one read */
    struct tp_tls_contexts *tls; /* NULL: TLS is not served */
    uint8_t *record;             /* TP_TLS_RECORD: where frames become one record */
    struct {
        struct tp_conn *first, *last;
    } heavy; /* readable streams that wait for the others */
    struct tp_item *items;
    int32_t item_count;
    struct tp_conn *batch; /* connections with items */

    struct tp_listener *listeners;
    struct tp_listener *unlistened; /* fd -1; an event of the same turn may still point to one */
    int spare;                /* a descriptor to give up when there are none left */
    uint64_t accept_again_at; /* 0: accepting */

    struct tp_handle wake;
    int wake_fd;
    struct tp_commands commands;
    struct tp_counters counters;
};

/* -1: memory or descriptors are short; tp_worker_close takes back what was opened. A connection that is still
 * there then goes without a word to anybody. */
int tp_worker_open(struct tp_worker *worker, struct tp_pump *pump, unsigned index, struct tp_error *error);
/* Begins to watch the link's sockets, which are there by now. */
int tp_worker_watch_link(struct tp_worker *worker, struct tp_error *error);
int tp_worker_start(struct tp_worker *worker, struct tp_error *error);
void tp_worker_join(struct tp_worker *worker);
void tp_worker_close(struct tp_worker *worker);

/* One turn; waits at most so many milliseconds for something to do, without end for -1. */
void tp_worker_turn(struct tp_worker *worker, int milliseconds);

/* Adds, or changes what is watched; 0 or -1. */
int tp_worker_watch(struct tp_worker *worker, int operation, int fd, uint32_t events,
                    struct tp_handle *handle);

/* stream_in.c: a stream has bytes, or news; about worker->quantum of them are read. Gives how many were. */
size_t tp_stream_readable(struct tp_worker *worker, struct tp_conn *conn);
/* The first bytes of a stream, which somebody else has read; at most TP_RECEIVE_BYTES, in worker->receive. */
void tp_stream_take(struct tp_worker *worker, struct tp_conn *conn, size_t size);
/* Cuts bytes in worker->receive into frames and hands over what is in them. `first`, if any, is a frame
 * completed by the bytes before; it is given back here. */
void tp_stream_cut(struct tp_worker *worker, struct tp_conn *conn, struct tp_block *first, uint8_t *at,
                   size_t size);

/* stream_proxy.c: a load balancer says for whom it speaks. */
void tp_stream_introduce(struct tp_worker *worker, struct tp_conn *conn);

/* stream_open.c: bytes in worker->receive from the first one on; they are kept while they tell too little. */
void tp_stream_open(struct tp_worker *worker, struct tp_conn *conn, uint8_t *at, size_t size);
/* The protocol of a connection is known. False when that closed it or it lingers: nothing more to read. */
bool tp_stream_identified(struct tp_worker *worker, struct tp_conn *conn, enum tp_protocol protocol);

/* stream_tls.c: TLS begins with these bytes, on the gateway's side. False where it is not served. */
bool tp_stream_secure(struct tp_worker *worker, struct tp_conn *conn, const uint8_t *at, size_t size);
/* The client's side; `size` bytes of the server may have come already. */
void tp_stream_dial(struct tp_worker *worker, struct tp_conn *conn, struct tp_tls_client *client,
                    const uint8_t *at, size_t size);
/* The TLS channel was read from: a handshake that is done now is told. False when that ended the connection. */
bool tp_stream_secured(struct tp_worker *worker, struct tp_conn *conn);

/* stream_http.c: the connection is given time to read what it got, and ends for `reason`. */
enum tp_http_answer { TP_HTTP_NOT_FOUND, TP_HTTP_BAD_GATEWAY, TP_HTTP_UNAVAILABLE, TP_HTTP_GATEWAY_TIMEOUT };
void tp_stream_answer(struct tp_worker *worker, struct tp_conn *conn, enum tp_http_answer which,
                      enum tp_reason reason);
void tp_stream_linger(struct tp_worker *worker, struct tp_conn *conn, enum tp_reason reason);

/* stream_out.c: a sink's datagrams into a stream. `data` must stay until tp_stream_flush. An IKE message that
 * came without its marker gets one when `add_marker` is set. */
void tp_stream_offer(struct tp_worker *worker, struct tp_conn *conn, const uint8_t *data, uint32_t size,
                     enum tp_kind kind, uint8_t dscp, bool add_marker);
void tp_stream_flush(struct tp_worker *worker);
/* stream_wait.c: the socket has room. */
void tp_stream_writable(struct tp_worker *worker, struct tp_conn *conn);
/* Whether epoll is to tell when the socket takes bytes. */
void tp_stream_want_write(struct tp_worker *worker, struct tp_conn *conn, bool wanted);

/* link_in.c: the link has datagrams. */
void tp_link_readable(struct tp_worker *worker, const struct tp_link_socket *socket);

/* accept.c */
void tp_accept(struct tp_worker *worker, struct tp_listener *listener);
void tp_accept_resume(struct tp_worker *worker);
/* A connection on `fd`, watched and told; NULL and the reason when it cannot be had. `flow` NULL: from the
 * pool. `source` is of tp_admit; NULL: it was not asked (yet). */
struct tp_conn *tp_conn_open(struct tp_worker *worker, int fd, const struct tp_address *remote,
                             const struct tp_address *local, const struct tp_address *flow, bool accepted,
                             const uint32_t *source, enum tp_reason *reason);

/* admit.c: `remote` NULL for a load balancer that has not said for whom it speaks. TP_REASON_NONE and a source for tp_conn_admitted (or tp_source_settle), or why not. */
enum tp_reason tp_admit(struct tp_worker *worker, const struct tp_address *remote,
                        const struct tp_address *local, uint32_t *source);
/* It counts as half-identified from here on. */
void tp_conn_admitted(struct tp_worker *worker, struct tp_conn *conn, uint32_t source);
/* It speaks a protocol of ours and may go on to charon: TP_REASON_NONE; or why it must be closed. */
enum tp_reason tp_conn_begin(struct tp_worker *worker, struct tp_conn *conn);
/* It has nothing to prove any more, or is gone. */
void tp_conn_settle(struct tp_worker *worker, struct tp_conn *conn);
/* It ends for this reason, which may count against its source. */
void tp_conn_blame(struct tp_worker *worker, const struct tp_conn *conn, enum tp_reason reason);

/* close.c: ends a connection at once; its slot is recycled at the end of the turn. */
void tp_conn_close(struct tp_worker *worker, struct tp_conn *conn, enum tp_reason reason);
/* Gives back its memory and descriptor as if it had never been; its slot is not to be used again. */
void tp_conn_forget(struct tp_worker *worker, struct tp_conn *conn);
void tp_conn_tell(struct tp_worker *worker, const struct tp_conn *conn, enum tp_event_kind kind,
                  enum tp_reason reason, const uint8_t *spi_i);

#endif
