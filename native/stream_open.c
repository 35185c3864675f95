// SPDX-License-Identifier: Apache-2.0
// The first bytes of a stream: which protocol it speaks, and what that means for the connection. What is
// served here opens it; HTTP goes to the web backend, or gets an answer it can read; everything else ends it.
#include "worker.h"

static enum tp_state state_for(const struct tp_config *config, enum tp_protocol protocol)
{
    switch (protocol) {
    case TP_PROTOCOL_TPKT:
    case TP_PROTOCOL_RFC9329:
    case TP_PROTOCOL_FTT:
        return TP_OPEN;
    case TP_PROTOCOL_HTTP:
        return tp_relay_wanted(config) ? TP_RELAYING : TP_LINGERING;
    default:
        return TP_NEW;
    }
}

bool tp_stream_identified(struct tp_worker *w, struct tp_conn *conn, enum tp_protocol protocol)
{
    tp_deadline_clear(&conn->opening);
    tp_count(&w->counters, TP_C_identified + protocol, 1);
    conn->framing = protocol == TP_PROTOCOL_TPKT ? TP_FRAMING_TPKT : TP_FRAMING_RFC9329;
    conn->card.protocol = protocol;
    conn->card.state = state_for(w->config, protocol);
    enum tp_reason refused = TP_REASON_NONE;
    if (conn->card.state == TP_OPEN)
        refused = tp_conn_begin(w, conn);
    else
        tp_conn_settle(w, conn);
    tp_conn_publish(conn); /* before it is told: who is told may look */
    tp_conn_tell(w, conn, TP_EVENT_IDENTIFIED, TP_REASON_NONE, NULL);
    if (refused != TP_REASON_NONE) {
        tp_conn_close(w, conn, refused);
        return false;
    }
    switch (conn->card.state) {
    case TP_OPEN:
        if (w->config->role == TP_GATEWAY)
            tp_deadline_set(&w->ike, &conn->opening, w->now);
        return true;
    case TP_LINGERING:
        tp_stream_answer(w, conn, TP_HTTP_NOT_FOUND, TP_REASON_HTTP);
        return false;
    case TP_RELAYING:
        return true;
    default:
        tp_conn_close(
            w, conn, protocol == TP_PROTOCOL_TLS ? TP_REASON_TLS_NOT_CONFIGURED : TP_REASON_UNKNOWN_PROTOCOL);
        return false;
    }
}

void tp_stream_open(struct tp_worker *w, struct tp_conn *conn, uint8_t *at, size_t size)
{
    int protocol = conn->card.tls_flags & TP_TLS_TRIKESEC ? TP_PROTOCOL_TPKT /* said by ALPN */
                                                          : tp_recognise(at, size, conn->tls != NULL);
    if (protocol == 0) {
        memcpy(conn->head, at, size);
        conn->head_length = (uint8_t)size;
        return;
    }
    if (protocol < 0) {
        tp_count(&w->counters, TP_C_unknown_first_byte + at[0], 1);
        tp_conn_close(w, conn, tp_reason_of(protocol));
        return;
    }
    if (protocol == TP_PROTOCOL_TLS && tp_stream_secure(w, conn, at, size))
        return;
    if (!tp_stream_identified(w, conn, (enum tp_protocol)protocol))
        return;
    if (conn->card.state == TP_RELAYING) {
        tp_relay_open(w, conn, at, size);
        return;
    }
    size_t opening = protocol == TP_PROTOCOL_RFC9329 ? TP_SNIFF_ENOUGH : 0; /* its prefix is no frame */
    tp_stream_cut(w, conn, NULL, at + opening, size - opening);
}
