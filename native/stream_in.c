// SPDX-License-Identifier: Apache-2.0
// stream_to_link: bytes are read into the worker's buffer, cut into frames where they lie, and the datagrams
// in them handed to the sink in runs. A connection keeps only what is incomplete: up to six bytes in itself,
// or the begun frame in a borrowed block, which the next read continues in place.
#include "channel.h"
#include "tls.h"
#include "worker.h"

enum {
    RUN = 256,              /* datagrams handed over at once */
    SMALL_FRAME = 2048,     /* a block for all of it is lent at once */
    GROWTH = 8,             /* a longer frame gets at most this many times what has arrived of it */
    MOST_DRAINED = 1 << 20, /* bytes thrown away while lingering */
};

struct run {
    struct tp_datagram datagrams[RUN];
    unsigned count;
};

static void hand_over(struct tp_worker *w, struct tp_conn *conn, struct run *run)
{
    if (run->count > 0)
        w->sink->deliver(w->sink, conn, run->datagrams, run->count, w->now);
    run->count = 0;
}

/* Whether an IKE message is fit for charon; the first one is told to the control plane. */
static bool ike_ok(struct tp_worker *w, struct tp_conn *conn, const uint8_t *payload, size_t size)
{
    if (!tp_ike_header_ok(payload + TP_MARKER, size - TP_MARKER))
        return false;
    if (!conn->seen_ike) {
        conn->seen_ike = true;
        tp_count(&w->counters, TP_C_first_ike, 1);
        tp_conn_tell(w, conn, TP_EVENT_FIRST_IKE, TP_REASON_NONE, payload + TP_MARKER);
    }
    return true;
}

static void bad_ike(struct tp_worker *w, struct tp_conn *conn)
{
    tp_count(&w->counters, TP_C_stream_to_link_bad_ike, 1);
    conn->bad_ike++;
}

static void sort_datagram(struct tp_worker *w, struct tp_conn *conn, struct run *run, uint8_t *payload,
                          size_t size)
{
    enum tp_kind kind = tp_kind_of(payload, size);
    switch (kind) {
    case TP_IKE:
        if (!ike_ok(w, conn, payload, size)) {
            bad_ike(w, conn);
            break;
        }
        /* fall through */
    case TP_ESP:
        if (run->count == RUN)
            hand_over(w, conn, run);
        run->datagrams[run->count++] = (struct tp_datagram){payload, (uint32_t)size, kind};
        return;
    case TP_KEEPALIVE:
        tp_count(&w->counters, TP_C_stream_to_link_keepalives, 1);
        return;
    case TP_EMPTY:
        tp_count(&w->counters, TP_C_stream_to_link_empty, 1);
        return;
    case TP_MALFORMED:
        tp_count(&w->counters, TP_C_stream_to_link_malformed, 1);
        if (size >= TP_MARKER && tp_ike_marker(payload))
            bad_ike(w, conn);
        break;
    }
    tp_bump(&conn->stat[TP_STAT_DROPPED], 1);
}

/* Room for what is held of a frame of `length` bytes and for more of it; what a peer announces is not lent to
 * it before it has sent a fair part. NULL: the worker's cap, or no memory. */
static struct tp_block *lend(struct tp_worker *w, uint32_t length, size_t held)
{
    size_t room = length;
    if (length > SMALL_FRAME) {
        size_t fair = held < SMALL_FRAME / GROWTH ? SMALL_FRAME : held * GROWTH;
        room = fair < length ? fair : length;
    }
    return tp_block_take(&w->blocks, room, false);
}

static bool hold_in_block(struct tp_worker *w, struct tp_conn *conn, uint32_t length, const uint8_t *at,
                          size_t size)
{
    struct tp_block *block = lend(w, length, size);
    if (!block) {
        tp_conn_close(w, conn, TP_REASON_OUT_OF_MEMORY);
        return false;
    }
    memcpy(block->data, at, size);
    block->end = (uint32_t)size;
    block->payload = length;
    conn->partial = block;
    return true;
}

/* Keeps the `size` bytes of a frame that is not complete yet. */
static void keep(struct tp_worker *w, struct tp_conn *conn, const uint8_t *at, size_t size)
{
    int announced = tp_frame_announced(conn->framing, at, size);
    if (announced == 0) {
        memcpy(conn->head, at, size);
        conn->head_length = (uint8_t)size;
    } else {
        hold_in_block(w, conn, (uint32_t)announced, at, size);
    }
}

void tp_stream_cut(struct tp_worker *w, struct tp_conn *conn, struct tp_block *first, uint8_t *at,
                   size_t size)
{
    struct run run;
    size_t header = tp_frame_header(conn->framing);
    bool border = first != NULL || !conn->frame.later; /* a frame begins in these bytes */
    int length = 0;
    run.count = 0;
    if (first)
        sort_datagram(w, conn, &run, first->data + header, first->payload - header);
    while (size > 0 && conn->bad_ike <= TP_MAX_BAD_IKE) {
        length = tp_frame_length(conn->framing, at, size);
        if (length <= 0)
            break;
        sort_datagram(w, conn, &run, at + header, (size_t)length - header);
        at += length;
        size -= (size_t)length;
        border = true;
    }
    hand_over(w, conn, &run);
    if (first)
        tp_block_give(&w->blocks, first);
    if (length < 0) {
        tp_conn_close(w, conn, tp_reason_of(length));
    } else if (conn->bad_ike > TP_MAX_BAD_IKE) {
        tp_conn_close(w, conn, TP_REASON_BAD_IKE);
    } else if (size == 0) {
        tp_deadline_clear(&conn->frame);
    } else {
        if (border)
            tp_deadline_set(&w->frame, &conn->frame, w->now);
        keep(w, conn, at, size);
    }
}

void tp_stream_take(struct tp_worker *w, struct tp_conn *conn, size_t size)
{
    if (conn->card.state == TP_NEW)
        tp_stream_open(w, conn, w->receive, size);
    else
        tp_stream_cut(w, conn, NULL, w->receive, size);
}

/* `size` more bytes of the frame in conn->partial, the rest of them in the receive buffer. */
static void take_partial(struct tp_worker *w, struct tp_conn *conn, size_t size)
{
    struct tp_block *block = conn->partial;
    uint32_t wanted = (block->payload < block->room ? block->payload : block->room) - block->end;
    uint32_t got = size < wanted ? (uint32_t)size : wanted;
    block->end += got;
    if (block->end == block->payload) {
        conn->partial = NULL;
        tp_stream_cut(w, conn, block, w->receive, size - got);
    } else if (block->end == block->room) {
        conn->partial = NULL;
        hold_in_block(w, conn, block->payload, block->data, block->end);
        tp_block_give(&w->blocks, block);
    }
}

static ssize_t receive(struct tp_worker *w, struct tp_conn *conn)
{
    struct iovec pieces[2];
    unsigned count = 1;
    struct tp_block *block = conn->partial;
    if (block) {
        bool whole = block->payload <= block->room;
        pieces[0] =
            (struct iovec){block->data + block->end, (whole ? block->payload : block->room) - block->end};
        pieces[1] = (struct iovec){w->receive, w->quantum};
        count = whole ? 2 : 1;
    } else {
        memcpy(w->receive, conn->head, conn->head_length);
        size_t most = conn->card.state == TP_NEW ? TP_FIRST_BYTES : w->quantum;
        pieces[0] = (struct iovec){w->receive + conn->head_length, most - (size_t)conn->head_length};
    }
    return tp_channel_read(conn, pieces, count);
}

/* The peer's side ended, or the connection broke. */
static void ended(struct tp_worker *w, struct tp_conn *conn, enum tp_reason reason)
{
    if (conn->card.state == TP_LINGERING)
        reason = conn->farewell;
    else if (reason == TP_REASON_FIN && (conn->partial || conn->head_length > 0))
        reason = TP_REASON_FIN_IN_FRAME;
    tp_conn_close(w, conn, reason);
}

static size_t read_once(struct tp_worker *w, struct tp_conn *conn)
{
    if (conn->wants_introduction) {
        tp_stream_introduce(w, conn);
        return 0;
    }
    if (conn->relay) {
        tp_relay_turn(w, conn->relay);
        return 0;
    }
    ssize_t n = receive(w, conn);
    if (conn->tls && n >= 0 && !tp_stream_secured(w, conn))
        return 0;
    if (n == 0)
        return 0;
    if (n < 0) {
        ended(w, conn, tp_reason_of((int)n));
        return 0;
    }
    tp_write(&conn->stat[TP_STAT_LAST_ACTIVE], w->now);
    if (conn->card.state == TP_LINGERING) {
        conn->head_length = 0;
        conn->drained += (size_t)n;
        if (conn->drained > MOST_DRAINED)
            tp_conn_close(w, conn, conn->farewell);
    } else if (conn->partial) {
        take_partial(w, conn, (size_t)n);
    } else {
        size_t size = (size_t)n + conn->head_length;
        conn->head_length = 0;
        tp_stream_take(w, conn, size);
    }
    return (size_t)n;
}

/* What OpenSSL holds already, epoll will not tell: the rest of one record, or a handshake's first bytes. */
static size_t read_rest(struct tp_worker *w, struct tp_conn *conn)
{
    size_t bytes = 0;
    while (conn->fd != -1 && !conn->relay && tp_tls_pending(conn->tls)) {
        tp_tls_pending_only(conn->tls, true);
        bytes += read_once(w, conn);
    }
    if (conn->fd == -1)
        return bytes;
    tp_tls_pending_only(conn->tls, false);
    if (!conn->relay && tp_tls_wants_write(conn->tls))
        tp_stream_want_write(w, conn, true);
    return bytes;
}

size_t tp_stream_readable(struct tp_worker *w, struct tp_conn *conn)
{
    size_t bytes = read_once(w, conn);
    return conn->tls && conn->fd != -1 ? bytes + read_rest(w, conn) : bytes;
}
