// SPDX-License-Identifier: Apache-2.0
// The first bytes of a connection from a configured load balancer: who is behind it, before anything else is
// looked at. From then on the client's own address is what is shown, counted and limited.
//
// Until then the connection counts as half-identified, not as its balancer's: a balancer has many clients. An
// incomplete header waits in a borrowed block; the deadline for first bytes is the one that runs since accept.
#include <string.h>

#include "channel.h"
#include "proxy_header.h"
#include "pump.h"

/* The client takes the place of its balancer. False when its own limits refuse it. */
static bool introduce(struct tp_worker *w, struct tp_conn *conn, const struct tp_proxied *proxied)
{
    if (!proxied->known)
        return true; /* a health check: the balancer itself */
    uint32_t source = 0;
    enum tp_reason reason = tp_admit(w, &proxied->from, &conn->card.local, &source);
    conn->card.remote = proxied->from;
    if (reason != TP_REASON_NONE) {
        tp_pump_tell_limit(w->pump, reason, &conn->card.remote, &conn->card.local, w->now);
        tp_conn_close(w, conn, reason);
        return false;
    }
    tp_conn_settle(w, conn); /* as its balancer's */
    tp_conn_admitted(w, conn, source);
    conn->blameless = false;
    tp_conn_publish(conn);
    return true;
}

static void keep(struct tp_worker *w, struct tp_conn *conn, size_t size)
{
    struct tp_block *block = tp_block_take(&w->blocks, TP_PROXY_MAX, false);
    if (!block) {
        tp_conn_close(w, conn, TP_REASON_OUT_OF_MEMORY);
        return;
    }
    memcpy(block->data, w->receive, size);
    block->end = (uint32_t)size;
    conn->partial = block;
}

/* Takes what waits back into the receive buffer and adds what has come; what tp_channel_read answers. */
static ssize_t gather(struct tp_worker *w, struct tp_conn *conn, size_t *held)
{
    *held = conn->partial ? conn->partial->end : 0;
    if (conn->partial)
        memcpy(w->receive, conn->partial->data, *held);
    struct iovec room = {w->receive + *held, TP_FIRST_BYTES - *held};
    return tp_channel_read(conn, &room, 1);
}

void tp_stream_introduce(struct tp_worker *w, struct tp_conn *conn)
{
    struct tp_proxied proxied;
    size_t held;
    ssize_t n = gather(w, conn, &held);
    if (n == 0)
        return;
    if (n < 0) {
        enum tp_reason reason = tp_reason_of((int)n);
        tp_conn_close(w, conn, reason == TP_REASON_FIN && held > 0 ? TP_REASON_BAD_PROXY_HEADER : reason);
        return;
    }
    if (conn->partial)
        tp_block_give(&w->blocks, conn->partial);
    conn->partial = NULL;
    size_t size = held + (size_t)n;
    int length = tp_proxy_parse(w->receive, size, &proxied);
    if (length == 0) {
        keep(w, conn, size);
        return;
    }
    if (length < 0) {
        tp_conn_close(w, conn, tp_reason_of(length));
        return;
    }
    conn->wants_introduction = false;
    tp_count(&w->counters, TP_C_introduced, 1);
    if (!introduce(w, conn, &proxied))
        return;
    tp_write(&conn->stat[TP_STAT_LAST_ACTIVE], w->now);
    if (size > (size_t)length)
        tp_stream_open(w, conn, w->receive + length, size - (size_t)length);
}
