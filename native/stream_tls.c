// SPDX-License-Identifier: Apache-2.0
// TLS as an event in a connection's life: begun by its first bytes, established, and looked into again.
//
// Until it is looked into, a connection counts as half-identified, and each step has its deadline: the first
// bytes, the handshake, the first bytes inside. What carries the bytes is tls.c.
#include "tls.h"

#include "worker.h"

bool tp_stream_secure(struct tp_worker *w, struct tp_conn *conn, const uint8_t *at, size_t size)
{
    if (!conn->may_tls || !w->tls || conn->tls)
        return false;
    tp_count(&w->counters, TP_C_identified + TP_PROTOCOL_TLS, 1);
    tp_count(&w->counters, TP_C_tls_begun, 1);
    conn->tls = tp_tls_accept(w->tls, conn->fd, at, size, w->record);
    if (conn->tls)
        tp_deadline_set(&w->handshake, &conn->opening, w->now);
    else
        tp_conn_close(w, conn, TP_REASON_OUT_OF_MEMORY);
    return true;
}

void tp_stream_dial(struct tp_worker *w, struct tp_conn *conn, struct tp_tls_client *client,
                    const uint8_t *at, size_t size)
{
    tp_count(&w->counters, TP_C_tls_begun, 1);
    conn->tls = tp_tls_connect(client, conn->fd, at, size, w->record);
    if (!conn->tls) {
        tp_conn_close(w, conn, TP_REASON_OUT_OF_MEMORY);
        return;
    }
    tp_deadline_set(&w->handshake, &conn->opening, w->now);
    tp_stream_readable(w, conn); /* its first words go out */
}

bool tp_stream_secured(struct tp_worker *w, struct tp_conn *conn)
{
    if (conn->card.tls_version || !tp_tls_established(conn->tls))
        return true;
    struct tp_tls_facts facts = tp_tls_facts(conn->tls);
    tp_count(&w->counters, TP_C_connections_tls, 1);
    tp_count(&w->counters, TP_C_tls_established, 1);
    tp_count(&w->counters, TP_C_tls_resumed, facts.resumed);
    tp_count(&w->counters, facts.version == TLS1_3_VERSION ? TP_C_tls_version_1_3 : TP_C_tls_version_1_2, 1);
    tp_count(&w->counters, TP_C_tls_kernel_send, facts.ktls_send);
    tp_count(&w->counters, TP_C_tls_kernel_receive, facts.ktls_receive);
    conn->card.tls_version = facts.version;
    conn->card.tls_cipher = facts.cipher;
    conn->card.tls_flags = (facts.trikesec ? TP_TLS_TRIKESEC : 0u) | (facts.resumed ? TP_TLS_RESUMED : 0u) |
                           (facts.ktls_send ? TP_TLS_KERNEL_SEND : 0u) |
                           (facts.ktls_receive ? TP_TLS_KERNEL_RECEIVE : 0u);
    tp_conn_publish(conn);
    if (w->config->role == TP_CLIENT) {
        if (facts.trikesec)
            return tp_stream_identified(w, conn, TP_PROTOCOL_TPKT);
        tp_conn_close(w, conn, TP_REASON_TLS_NOTHING_SHARED); /* some web server, perhaps: not a gateway */
        return false;
    }
    tp_deadline_set(&w->first_bytes, &conn->opening, w->now);
    return true;
}
