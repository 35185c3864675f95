// SPDX-License-Identifier: Apache-2.0
// link_to_stream: datagrams become frames. What the socket takes at once goes straight from the receive
// buffer; only the rest is copied into the connection's queue.
#include <sys/epoll.h>

#include "channel.h"
#include "tls.h"
#include "worker.h"

enum { PIECES = 1024 }; /* what one sendmsg takes: UIO_MAXIOV */

static void count_done(struct tp_worker *w, struct tp_conn *conn, const struct tp_tally *done)
{
    tp_count(&w->counters, TP_C_link_to_stream_frames, done->frames);
    tp_count(&w->counters, TP_C_link_to_stream_esp_frames, done->esp_frames);
    tp_count(&w->counters, TP_C_link_to_stream_bytes, done->bytes);
    tp_bump(&conn->stat[TP_STAT_LINK_TO_STREAM_FRAMES], done->frames);
    tp_bump(&conn->stat[TP_STAT_LINK_TO_STREAM_ESP], done->esp_frames);
    tp_bump(&conn->stat[TP_STAT_LINK_TO_STREAM_BYTES], done->bytes);
}

static void count_dropped(struct tp_worker *w, struct tp_conn *conn, enum tp_counter why, uint32_t frames)
{
    tp_count(&w->counters, why, frames);
    tp_bump(&conn->stat[TP_STAT_DROPPED], frames);
}

void tp_stream_offer(struct tp_worker *w, struct tp_conn *conn, const uint8_t *data, uint32_t size,
                     enum tp_kind kind, bool add_marker)
{
    if (w->item_count == TP_BATCH_ITEMS)
        tp_stream_flush(w);
    if (conn->fd == -1 || conn->card.state != TP_OPEN) {
        count_dropped(w, conn, TP_C_link_to_stream_not_open, 1);
        return;
    }
    struct tp_item *item = &w->items[w->item_count];
    uint32_t marker = add_marker ? TP_MARKER : 0;
    size_t header = tp_frame_write_header(conn->framing, item->header, marker + size);
    memset(item->header + header, 0, marker);
    item->frame = (struct tp_frame){
        .header = item->header,
        .payload = data,
        .header_length = (uint32_t)header + marker,
        .payload_length = size,
        .datagram = marker + size,
        .kind = kind,
    };
    item->next = -1;
    if (conn->batch_first == -1) {
        conn->batch_first = w->item_count;
        conn->batch_next = w->batch;
        w->batch = conn;
    } else {
        w->items[conn->batch_last].next = w->item_count;
    }
    conn->batch_last = w->item_count++;
}

void tp_stream_want_write(struct tp_worker *w, struct tp_conn *conn, bool wanted)
{
    if (conn->wants_write == wanted)
        return;
    conn->wants_write = wanted;
    tp_worker_watch(w, EPOLL_CTL_MOD, conn->fd, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, &conn->handle);
}

/* Bytes written, 0 when the socket is full, -1 when that was the end of the connection. */
static ssize_t write_pieces(struct tp_worker *w, struct tp_conn *conn, struct iovec *pieces, unsigned count)
{
    ssize_t n = tp_channel_write(conn, pieces, count, 0);
    if (n < 0) {
        tp_conn_close(w, conn, tp_reason_of((int)n));
        return -1;
    }
    if (n > 0) {
        tp_count(&w->counters, TP_C_link_to_stream_writes, 1);
        tp_write(&conn->stat[TP_STAT_LAST_ACTIVE], w->now);
    }
    return n;
}

/* Copies items from `at` on into the queue; `written` bytes of the first are on the stream already. */
static void enqueue(struct tp_worker *w, struct tp_conn *conn, int32_t at, uint32_t written)
{
    uint32_t limit = (uint32_t)w->config->queue_bytes;
    struct tp_tally dropped = {0};
    for (; at != -1; at = w->items[at].next, written = 0) {
        const struct tp_frame *frame = &w->items[at].frame;
        enum tp_put put = written > 0
                              ? tp_queue_begin(&conn->queue, &w->blocks, frame, written, w->now)
                              : tp_queue_put(&conn->queue, &w->blocks, limit, frame, w->now, &dropped);
        if (put == TP_PUT_OK)
            continue;
        if (put == TP_PUT_NO_MEMORY || tp_queue_class(frame) == TP_CLASS_IKE) {
            tp_conn_close(w, conn, TP_REASON_OUT_OF_MEMORY);
            break;
        }
        count_dropped(
            w, conn,
            put == TP_PUT_QUEUE_FULL ? TP_C_link_to_stream_queue_full : TP_C_link_to_stream_worker_full, 1);
    }
    count_dropped(w, conn, TP_C_link_to_stream_queue_full, dropped.frames);
    tp_write(&conn->stat[TP_STAT_QUEUED], conn->queue.bytes);
    if (conn->fd != -1 && !tp_queue_empty(&conn->queue))
        tp_stream_want_write(w, conn, true);
}

/* Straight from the receive buffer; gives the first item that did not go out whole, -1 when all did or the
 * connection is gone, and how much of that item is on the stream. */
static int32_t write_items(struct tp_worker *w, struct tp_conn *conn, uint32_t *written)
{
    struct tp_tally done = {0};
    int32_t at = conn->batch_first;
    *written = 0;
    while (at != -1) {
        struct iovec pieces[PIECES];
        unsigned count = 0;
        size_t offered = 0;
        for (int32_t i = at; i != -1 && count + 2 <= PIECES; i = w->items[i].next) {
            const struct tp_frame *frame = &w->items[i].frame;
            pieces[count++] = (struct iovec){(void *)(uintptr_t)frame->header, frame->header_length};
            pieces[count++] = (struct iovec){(void *)(uintptr_t)frame->payload, frame->payload_length};
            offered += frame->header_length + frame->payload_length;
        }
        ssize_t n = write_pieces(w, conn, pieces, count);
        size_t left = n > 0 ? (size_t)n : 0;
        bool all = left == offered;
        while (at != -1 && left > 0) {
            const struct tp_frame *frame = &w->items[at].frame;
            uint32_t length = frame->header_length + frame->payload_length;
            if (left < length)
                break;
            left -= length;
            done.frames++;
            done.esp_frames += frame->kind == TP_ESP;
            done.bytes += frame->datagram;
            at = w->items[at].next;
        }
        *written = (uint32_t)left;
        if (n == -1)
            at = -1;
        if (!all)
            break;
    }
    count_done(w, conn, &done);
    return at;
}

void tp_stream_flush(struct tp_worker *w)
{
    while (w->batch) {
        struct tp_conn *conn = w->batch;
        w->batch = conn->batch_next;
        int32_t rest = conn->batch_first;
        uint32_t written = 0;
        if (conn->fd == -1)
            rest = -1;
        else if (tp_queue_empty(&conn->queue))
            rest = write_items(w, conn, &written);
        if (rest != -1)
            enqueue(w, conn, rest, written);
        if (conn->fd != -1 && conn->tls && tp_tls_wants_write(conn->tls))
            tp_stream_want_write(w, conn, true);
        conn->batch_first = conn->batch_last = -1;
    }
    w->item_count = 0;
}

void tp_stream_writable(struct tp_worker *w, struct tp_conn *conn)
{
    struct iovec pieces[PIECES];
    struct tp_tally done = {0};
    if (conn->tls && tp_tls_wants_write(conn->tls)) {
        tp_stream_readable(w, conn); /* a handshake's own bytes go out by reading on */
        if (conn->fd == -1)
            return;
    }
    unsigned count = tp_queue_gather(&conn->queue, pieces, PIECES, TP_RECEIVE_BYTES);
    if (count > 0 || conn->tls) {
        ssize_t n = write_pieces(w, conn, pieces, count);
        if (n == -1)
            return;
        tp_queue_written(&conn->queue, &w->blocks, (size_t)n, &done);
        count_done(w, conn, &done);
        tp_write(&conn->stat[TP_STAT_QUEUED], conn->queue.bytes);
    }
    if (tp_queue_empty(&conn->queue) && !(conn->tls && tp_tls_wants_write(conn->tls)))
        tp_stream_want_write(w, conn, false);
}
