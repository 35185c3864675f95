// SPDX-License-Identifier: Apache-2.0
// Ending a connection, and telling the control plane about one.
#include <string.h>
#include <unistd.h>

#include "pump.h"

void tp_conn_tell(struct tp_worker *w, const struct tp_conn *conn, enum tp_event_kind kind,
                  enum tp_reason reason, const uint8_t *spi_i)
{
    struct tp_event event = {
        .at_ns = w->now,
        .connection = conn->card.id,
        .kind = kind,
        .reason = reason,
        .protocol = conn->card.protocol,
        .remote = conn->card.remote,
        .local = conn->card.local,
        .flow = conn->card.flow,
    };
    if (spi_i)
        memcpy(event.spi_i, spi_i, sizeof event.spi_i);
    tp_events_put(w->events, &event);
}

/* What it holds beside its descriptor. */
static void give_memory(struct tp_worker *w, struct tp_conn *conn, struct tp_tally *lost)
{
    if (conn->partial)
        tp_block_give(&w->blocks, conn->partial);
    conn->partial = NULL;
    if (conn->tls)
        tp_tls_free(conn->tls);
    conn->tls = NULL;
    tp_queue_clear(&conn->queue, &w->blocks, lost);
}

void tp_conn_forget(struct tp_worker *w, struct tp_conn *conn)
{
    struct tp_tally lost = {0};
    if (conn->relay)
        tp_relay_drop(w, conn);
    give_memory(w, conn, &lost);
    if (conn->fd != -1)
        close(conn->fd);
    conn->fd = -1;
}

void tp_conn_close(struct tp_worker *w, struct tp_conn *conn, enum tp_reason reason)
{
    struct tp_tally lost = {0};
    tp_conn_settle(w, conn);
    tp_conn_blame(w, conn, reason);
    if (conn->relay)
        tp_relay_drop(w, conn);
    tp_deadline_clear(&conn->opening);
    tp_deadline_clear(&conn->frame);
    tp_flow_return(&w->flows, &conn->card.flow, conn);
    if (conn->tls)
        tp_count(&w->counters, TP_C_connections_tls, conn->card.tls_version ? (uint64_t)-1 : 0);
    give_memory(w, conn, &lost);
    tp_count(&w->counters, TP_C_link_to_stream_closed, lost.frames);
    tp_count(&w->counters, TP_C_closed + reason, 1);
    tp_count(&w->counters, TP_C_connections_open, (uint64_t)-1);
    tp_conn_retire(conn);
    tp_conn_tell(w, conn, TP_EVENT_CLOSED, reason, NULL);
    close(conn->fd); /* leaves epoll with it */
    conn->fd = -1;
    conn->next = w->closed;
    w->closed = conn;
    tp_pump_leave(w->pump);
}
