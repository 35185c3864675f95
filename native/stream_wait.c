// SPDX-License-Identifier: Apache-2.0
// link_to_stream, second half: what a stream does not take at once waits in its connection's queue, and is
// written when the socket has room: what matters first and each frame alone, bulk in large writes.
#include <sys/epoll.h>

#include "stream_out.h"
#include "tls.h"

static void count_lost(struct tp_worker *w, struct tp_conn *conn, enum tp_counter why, uint32_t frames)
{
    if (frames == 0)
        return;
    tp_count(&w->counters, why, frames);
    tp_bump(&conn->stat[TP_STAT_DROPPED], frames);
    enum tp_stat stat = why == TP_C_link_to_stream_late ? TP_STAT_DROPPED_LATE : TP_STAT_DROPPED_FULL;
    tp_bump(&conn->stat[stat], frames);
}

static void count_queued(struct tp_worker *w, struct tp_conn *conn, enum tp_class class, bool demoted)
{
    tp_count(&w->counters, TP_C_link_to_stream_queued_ike + class, 1);
    tp_count(&w->counters, TP_C_link_to_stream_demoted, demoted);
    if (class != TP_CLASS_IKE)
        tp_bump(&conn->stat[class == TP_CLASS_BULK ? TP_STAT_BULK : TP_STAT_EXPEDITED], 1);
}

/* Copies one frame into the queue. False when that was the end of the connection. */
static bool enqueue_one(struct tp_worker *w, struct tp_conn *conn, const struct tp_frame *frame,
                        uint32_t written)
{
    uint32_t limit = (uint32_t)w->config->queue_bytes;
    struct tp_tally dropped = {0};
    enum tp_class class = tp_queue_place(&conn->queue, limit, frame);
    enum tp_put put = written > 0
                          ? tp_queue_begin(&conn->queue, &w->blocks, frame, written, w->now)
                          : tp_queue_put(&conn->queue, &w->blocks, limit, frame, w->now, &dropped);
    count_lost(w, conn, TP_C_link_to_stream_queue_full, dropped.frames);
    if (put == TP_PUT_OK) {
        if (written == 0)
            count_queued(w, conn, class, class != tp_frame_class(frame));
    } else if (put == TP_PUT_NO_MEMORY || class == TP_CLASS_IKE) {
        tp_conn_close(w, conn, TP_REASON_OUT_OF_MEMORY);
        return false;
    } else {
        count_lost(w, conn,
                   put == TP_PUT_QUEUE_FULL ? TP_C_link_to_stream_queue_full
                                            : TP_C_link_to_stream_worker_full,
                   1);
    }
    return true;
}

void tp_stream_enqueue(struct tp_worker *w, struct tp_conn *conn, int32_t at, uint32_t written)
{
    for (; at != -1; at = w->items[at].next, written = 0) {
        if (!enqueue_one(w, conn, &w->items[at].frame, written))
            return;
    }
}

void tp_stream_want_write(struct tp_worker *w, struct tp_conn *conn, bool wanted)
{
    if (conn->wants_write == wanted)
        return;
    conn->wants_write = wanted;
    tp_worker_watch(w, EPOLL_CTL_MOD, conn->fd, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, &conn->handle);
}

void tp_stream_settle(struct tp_worker *w, struct tp_conn *conn)
{
    bool waiting = !tp_queue_empty(&conn->queue);
    if (waiting) {
        tp_unsent_wait(&conn->unsent, conn->fd, w->config->notsent_lowat, w->now);
        tp_write(&conn->stat[TP_STAT_UNSENT_LIMIT], conn->unsent.limit);
    }
    tp_write(&conn->stat[TP_STAT_QUEUED], conn->queue.bytes);
    tp_stream_want_write(w, conn, waiting || (conn->tls && tp_tls_wants_write(conn->tls)));
}

void tp_stream_write_queue(struct tp_worker *w, struct tp_conn *conn, bool woken)
{
    struct iovec pieces[TP_PIECES];
    struct tp_tally done = {0}, late = {0};
    uint32_t most = w->config->notsent_lowat;
    uint32_t room = tp_unsent_room(&conn->unsent, conn->fd, most, true);
    bool few = conn->queue.frames <= TP_SHORT_QUEUE;
    if (!woken && !tp_queue_urgent(&conn->queue) && room < conn->unsent.limit / 2)
        return;
    size_t total = 0;
    while (room > 0 && total < TP_RECEIVE_BYTES && !tp_queue_empty(&conn->queue)) {
        struct tp_alone alone = tp_stream_alone(w, conn, few);
        struct tp_wish wish = {.budget = room, .urgent_alone = alone.urgent, .all_alone = alone.all};
        bool chosen = alone.all || (alone.urgent && tp_queue_urgent(&conn->queue));
        unsigned count = tp_queue_pick(&conn->queue, &w->blocks, w->now, wish, pieces, TP_PIECES, &late);
        size_t offered = 0;
        for (unsigned i = 0; i < count; i++)
            offered += pieces[i].iov_len;
        ssize_t n = tp_stream_write(w, conn, pieces, count);
        if (n == -1)
            break;
        tp_queue_written(&conn->queue, &w->blocks, (size_t)n, &done);
        total += (size_t)n;
        if ((size_t)n < offered)
            break;
        if (count == 1 && chosen)
            tp_stream_was_alone(conn);
        room = tp_unsent_room(&conn->unsent, conn->fd, most, count > 1);
    }
    tp_stream_count_done(w, conn, &done);
    count_lost(w, conn, TP_C_link_to_stream_late, late.frames);
}

/* TLS has something of its own to write: a handshake's goes out by reading on, a kept record by writing. */
static void write_tls(struct tp_worker *w, struct tp_conn *conn)
{
    tp_stream_readable(w, conn);
    if (conn->fd != -1)
        tp_stream_write(w, conn, NULL, 0);
}

void tp_stream_writable(struct tp_worker *w, struct tp_conn *conn)
{
    if (conn->relay) {
        tp_relay_turn(w, conn->relay);
        return;
    }
    if (conn->tls && tp_tls_wants_write(conn->tls))
        write_tls(w, conn);
    if (conn->relay)
        return; /* what TLS brought meanwhile was HTTP */
    if (conn->fd != -1)
        tp_stream_write_queue(w, conn, true);
    if (conn->fd != -1)
        tp_stream_settle(w, conn);
}
