// SPDX-License-Identifier: Apache-2.0
// The link as a source: what charon sends to a flow address goes to the connection that holds it.
#include "worker.h"

/* Where charon is, for a client: it answers from there, and moves when the network does. */
static void learn_peer(struct tp_claim *claim, unsigned port, const struct tp_address *from)
{
    struct tp_peer *peer = &claim->peer;
    if (!tp_address_same(&peer->address, from)) {
        *peer = (struct tp_peer){.address = *from};
        peer->address.port = 0;
    }
    peer->port[port] = from->port;
}

/* charon has answered: the deadline for that is met. */
static void note_ike(struct tp_worker *w, struct tp_conn *conn, const uint8_t *message, unsigned port)
{
    conn->ike_port = (uint8_t)port;
    if (!conn->answered_ike && tp_ike_has_responder(message)) {
        conn->answered_ike = true;
        tp_deadline_clear(&conn->opening);
        tp_conn_settle(w, conn);
    }
}

static void datagram_in(struct tp_worker *w, struct tp_conn *conn, unsigned port, uint8_t dscp,
                        const uint8_t *data, uint32_t size)
{
    bool bare = port == TP_PORT_500; /* IKE without a marker, RFC 7296 2.23 */
    enum tp_kind kind = bare && size >= TP_IKE_HEADER ? TP_IKE : tp_kind_of(data, size);
    if (kind == TP_KEEPALIVE) {
        tp_count(&w->counters, TP_C_link_to_stream_keepalives, 1); /* RFC 9329 6.6: not on TCP */
        return;
    }
    if (kind != TP_IKE && (kind != TP_ESP || bare)) {
        tp_count(&w->counters, TP_C_link_to_stream_malformed, 1);
        return;
    }
    if (kind == TP_IKE)
        note_ike(w, conn, data + (bare ? 0 : TP_MARKER), port);
    tp_stream_offer(w, conn, data, size, kind, dscp, bare);
}

/* One batch; gives how many bytes came, 0 when that was all there is. */
static size_t read_batch(struct tp_worker *w, const struct tp_link_socket *socket)
{
    const struct tp_received *received;
    bool more;
    unsigned count = tp_link_receive(w->receiver, socket, &received, &more);
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct tp_received *one = &received[i];
        bytes += one->length;
        uint32_t segments = one->segment > 0 ? (one->length + one->segment - 1) / one->segment : 1;
        struct tp_claim *claim;
        struct tp_conn *conn = tp_flow_find(&w->flows, &one->to, &claim);
        if (claim)
            learn_peer(claim, socket->port, &one->from);
        if (!conn) {
            tp_count(&w->counters, TP_C_link_to_stream_no_connection, segments);
            continue;
        }
        uint32_t at = 0;
        do { /* once for an empty datagram too */
            uint32_t left = one->length - at;
            datagram_in(w, conn, socket->port, one->dscp, one->data + at,
                        left < one->segment ? left : one->segment);
            at += one->segment;
        } while (at < one->length);
    }
    if (count > 0)
        tp_watch_worked(w->watch, w->now);
    tp_stream_flush(w);
    return more ? bytes : 0;
}

/* As much as from a heavy stream, or streams at full speed would leave the link too small a part of the turn
 * and what is for others would be lost in a full socket. */
void tp_link_readable(struct tp_worker *w, const struct tp_link_socket *socket)
{
    size_t bytes = 0, batch;
    do
        bytes += batch = read_batch(w, socket);
    while (batch > 0 && bytes < TP_RECEIVE_BYTES);
}
