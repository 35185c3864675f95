// SPDX-License-Identifier: Apache-2.0
// What the two halves of link_to_stream share: stream_out.c, which writes what has just come, and
// stream_wait.c, which holds and writes what the socket did not take. For these two alone.
#ifndef TP_STREAM_OUT_H
#define TP_STREAM_OUT_H

#include "clock.h"
#include "worker.h"

enum {
    TP_PIECES = 1024, /* what one sendmsg takes: UIO_MAXIOV */
    /* Writes of one frame each that a connection has in a millisecond: its own segments for everything up to
     * about 40 Mbit/s, and next to no cost for one that moves gigabits. Half are kept for what matters. */
    TP_WRITES_ALONE = 8,
    TP_WRITES_ALONE_OF_BULK = 4,
};

/* Which frames are written alone now. */
struct tp_alone {
    bool all, urgent;
};

static inline struct tp_alone tp_stream_alone(const struct tp_worker *worker, struct tp_conn *conn, bool few)
{
    if (worker->now >= conn->alone_again) {
        conn->alone_again = worker->now + TP_MILLISECOND;
        conn->alone = TP_WRITES_ALONE;
    }
    return (struct tp_alone){
        .all = few && conn->alone > TP_WRITES_ALONE - TP_WRITES_ALONE_OF_BULK,
        .urgent = conn->alone > 0,
    };
}

static inline void tp_stream_was_alone(struct tp_conn *conn)
{
    if (conn->alone > 0)
        conn->alone--;
}

/* Bytes written, 0 when the socket is full, -1 when that was the end of the connection. What is written ends
 * a frame and, when all of it goes, a segment. */
ssize_t tp_stream_write(struct tp_worker *worker, struct tp_conn *conn, struct iovec *pieces, unsigned count);
void tp_stream_count_done(struct tp_worker *worker, struct tp_conn *conn, const struct tp_tally *done);

/* Copies the items from `at` on into the queue; `written` bytes of the first are on the stream already. The
 * connection may end of it. */
void tp_stream_enqueue(struct tp_worker *worker, struct tp_conn *conn, int32_t at, uint32_t written);

/* Writes from the queue. `woken`: the socket has room; without that a backlog is left to the wake-up unless
 * something matters or there is much room. The connection may end of it. */
void tp_stream_write_queue(struct tp_worker *worker, struct tp_conn *conn, bool woken);

/* What an open connection waits for, after it has written what it could. */
void tp_stream_settle(struct tp_worker *worker, struct tp_conn *conn);

#endif
