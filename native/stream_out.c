// SPDX-License-Identifier: Apache-2.0
// link_to_stream: datagrams become frames. What the socket takes at once goes straight from the receive
// buffer; only the rest is copied into the connection's queue (stream_wait.c).
//
// The socket is given little more than it can send (unsent.h), so that what waits, waits in the queue, where
// a frame that matters still comes first. Every write ends a TCP segment where it ends a frame (MSG_EOR).
// Few frames, and those that matter, are written one by one: a frame is a segment then, and whoever looks at
// segments finds it at their beginning. Many are written at once.
#include <sys/socket.h>

#include "channel.h"
#include "stream_out.h"

static void count_dropped(struct tp_worker *w, struct tp_conn *conn, enum tp_counter why, uint32_t frames)
{
    tp_count(&w->counters, why, frames);
    tp_bump(&conn->stat[TP_STAT_DROPPED], frames);
}

void tp_stream_offer(struct tp_worker *w, struct tp_conn *conn, const uint8_t *data, uint32_t size,
                     enum tp_kind kind, uint8_t dscp, bool add_marker)
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
        .dscp = dscp,
    };
    item->next = -1;
    if (conn->batch_first == -1) {
        conn->batch_first = w->item_count;
        conn->batch_bytes = conn->batch_count = 0;
        conn->batch_next = w->batch;
        w->batch = conn;
    } else {
        w->items[conn->batch_last].next = w->item_count;
    }
    conn->batch_last = w->item_count++;
    conn->batch_bytes += size;
    conn->batch_count++;
}

void tp_stream_count_done(struct tp_worker *w, struct tp_conn *conn, const struct tp_tally *done)
{
    tp_count(&w->counters, TP_C_link_to_stream_frames, done->frames);
    tp_count(&w->counters, TP_C_link_to_stream_esp_frames, done->esp_frames);
    tp_count(&w->counters, TP_C_link_to_stream_bytes, done->bytes);
    tp_bump(&conn->stat[TP_STAT_LINK_TO_STREAM_FRAMES], done->frames);
    tp_bump(&conn->stat[TP_STAT_LINK_TO_STREAM_ESP], done->esp_frames);
    tp_bump(&conn->stat[TP_STAT_LINK_TO_STREAM_BYTES], done->bytes);
}

ssize_t tp_stream_write(struct tp_worker *w, struct tp_conn *conn, struct iovec *pieces, unsigned count)
{
    ssize_t n = tp_channel_write(conn, pieces, count, MSG_EOR);
    if (n < 0) {
        tp_conn_close(w, conn, tp_reason_of((int)n));
        return -1;
    }
    if (n > 0) {
        tp_count(&w->counters, TP_C_link_to_stream_writes, 1);
        tp_write(&conn->stat[TP_STAT_LAST_ACTIVE], w->now);
        tp_unsent_wrote(&conn->unsent, (uint32_t)n);
    }
    return n;
}

static uint32_t length_of(const struct tp_frame *frame)
{
    return frame->header_length + frame->payload_length;
}

static bool is_alone(const struct tp_worker *w, int32_t at, struct tp_alone which)
{
    return which.all || (which.urgent && tp_frame_class(&w->items[at].frame) != TP_CLASS_BULK);
}

/* Pieces of the items from `at` on that make one write; gives their number, and their bytes in `offered`. */
static unsigned lay_out(const struct tp_worker *w, int32_t at, uint32_t room, struct tp_alone which,
                        struct iovec *pieces, size_t *offered)
{
    unsigned count = 0;
    *offered = 0;
    for (; at != -1 && count + 2 <= TP_PIECES; at = w->items[at].next) {
        const struct tp_frame *frame = &w->items[at].frame;
        bool alone = is_alone(w, at, which);
        if (count > 0 && (alone || *offered + length_of(frame) > room))
            break;
        pieces[count++] = (struct iovec){(void *)(uintptr_t)frame->header, frame->header_length};
        pieces[count++] = (struct iovec){(void *)(uintptr_t)frame->payload, frame->payload_length};
        *offered += length_of(frame);
        if (alone)
            break;
    }
    return count;
}

/* Straight from the receive buffer; gives the first item that did not go out whole, -1 when all did or the
 * connection is gone, and how much of that item is on the stream. */
static int32_t write_items(struct tp_worker *w, struct tp_conn *conn, uint32_t *written)
{
    struct iovec pieces[TP_PIECES];
    struct tp_tally done = {0};
    int32_t at = conn->batch_first;
    bool few = conn->batch_count <= TP_SHORT_QUEUE, train = false;
    uint32_t room;
    size_t left = 0;
    for (; at != -1; left = 0) {
        if ((room = tp_unsent_room(&conn->unsent, conn->fd, w->config->notsent_lowat, train)) == 0)
            break;
        size_t offered;
        struct tp_alone which = tp_stream_alone(w, conn, few);
        if (is_alone(w, at, which))
            tp_stream_was_alone(conn);
        unsigned count = lay_out(w, at, room, which, pieces, &offered);
        train = count > 2;
        ssize_t n = tp_stream_write(w, conn, pieces, count);
        if (n == -1) {
            at = -1;
            break;
        }
        left = (size_t)n;
        bool all = left == offered;
        while (at != -1 && left >= length_of(&w->items[at].frame)) {
            const struct tp_frame *frame = &w->items[at].frame;
            left -= length_of(frame);
            done.frames++;
            done.esp_frames += frame->kind == TP_ESP;
            done.bytes += frame->datagram;
            at = w->items[at].next;
        }
        if (!all)
            break;
    }
    *written = (uint32_t)left;
    tp_stream_count_done(w, conn, &done);
    return at;
}

static void flush_one(struct tp_worker *w, struct tp_conn *conn)
{
    int32_t rest = conn->batch_first;
    uint32_t written = 0;
    if (conn->fd != -1 && tp_queue_empty(&conn->queue)) {
        rest = write_items(w, conn, &written);
        if (rest != -1)
            tp_stream_enqueue(w, conn, rest, written);
    } else if (conn->fd != -1) {
        tp_stream_enqueue(w, conn, rest, 0);
        if (conn->fd != -1)
            tp_stream_write_queue(w, conn, false);
    }
    if (conn->fd != -1)
        tp_stream_settle(w, conn);
    conn->batch_first = conn->batch_last = -1;
}

void tp_stream_flush(struct tp_worker *w)
{
    struct tp_conn *heavy = NULL;
    while (w->batch) {
        struct tp_conn *conn = w->batch;
        w->batch = conn->batch_next;
        if (conn->batch_bytes <= TP_LIGHT_BYTES) {
            flush_one(w, conn);
        } else {
            conn->batch_next = heavy;
            heavy = conn;
        }
    }
    for (; heavy; heavy = heavy->batch_next)
        flush_one(w, heavy);
    w->item_count = 0;
}
