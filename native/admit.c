// SPDX-License-Identifier: Apache-2.0
// Whether a peer is let in, what its connection counts as until charon has answered it, and what it did wrong.
//
// Joins the rules for prefixes, which each worker has for itself, and the table of sources, which all share.
// What is asked for an accepted connection may be asked again for the address a balancer tells.
#include "clock.h"
#include "prefixes.h"
#include "pump.h"

/* How long a begun connection keeps its place against others that want to begin: a charon that answers at all
 * has answered by then. */
static const uint64_t patience = TP_SECOND;

/* Ends that no client of this protocol causes, whatever the network does to it. A deadline counts while the
 * peer has said nothing: it does not pay for a charon that is away. */
static bool hostile(const struct tp_conn *conn, enum tp_reason reason)
{
    switch (reason) {
    case TP_REASON_BAD_VERSION:
    case TP_REASON_BAD_RESERVED:
    case TP_REASON_BAD_LENGTH:
    case TP_REASON_UNKNOWN_PROTOCOL:
    case TP_REASON_BAD_IKE:
    case TP_REASON_FIRST_BYTES_TIMEOUT:
    case TP_REASON_TLS_TIMEOUT:
    case TP_REASON_TLS_GARBAGE:
    case TP_REASON_TLS_PROTOCOL:
        return true;
    case TP_REASON_IKE_TIMEOUT:
        return !conn->seen_ike;
    default:
        return false;
    }
}

static void strike(struct tp_worker *w, const struct tp_address *remote, const struct tp_address *local,
                   enum tp_reason reason)
{
    if (!tp_source_strike(w->sources, remote, reason, w->now))
        return;
    tp_count(&w->counters, TP_C_bans, 1);
    tp_pump_tell_ban(w->pump, reason, remote, local, w->now);
}

enum tp_reason tp_admit(struct tp_worker *w, const struct tp_address *remote, const struct tp_address *local,
                        uint32_t *source)
{
    enum tp_access access = remote ? tp_prefixes_find(w->access, remote) : TP_ACCESS_ALLOW;
    if (access == TP_ACCESS_DENY)
        return TP_REASON_DENIED;
    enum tp_reason reason = tp_source_admit(w->sources, remote, w->now, source);
    if (access == TP_ACCESS_OPEN && (reason == TP_REASON_LIMIT_RATE || reason == TP_REASON_LIMIT_SOURCE))
        strike(w, remote, local, reason);
    return reason;
}

void tp_conn_admitted(struct tp_worker *w, struct tp_conn *conn, uint32_t source)
{
    conn->source = source;
    conn->standing = TP_HALF;
    tp_count(&w->counters, TP_C_connections_half_identified, 1);
}

void tp_conn_blame(struct tp_worker *w, const struct tp_conn *conn, enum tp_reason reason)
{
    if (w->config->role == TP_GATEWAY && !conn->blameless && hostile(conn, reason) &&
        tp_prefixes_find(w->access, &conn->card.remote) == TP_ACCESS_OPEN)
        strike(w, &conn->card.remote, &conn->card.local, reason);
}

void tp_conn_settle(struct tp_worker *w, struct tp_conn *conn)
{
    switch (conn->standing) {
    case TP_UNCOUNTED:
        break;
    case TP_HALF:
        tp_source_settle(w->sources, conn->source);
        tp_count(&w->counters, TP_C_connections_half_identified, (uint64_t)-1);
        break;
    case TP_BEGUN:
        tp_source_answered(w->sources, conn->source);
        tp_count(&w->counters, TP_C_connections_ike_half_open, (uint64_t)-1);
        break;
    }
    conn->standing = TP_UNCOUNTED;
}

/* Ends the connection of this worker that waits the longest for charon, if that is long: most likely what it
 * sent deserves no answer. */
static bool make_room(struct tp_worker *w)
{
    struct tp_deadline *oldest = tp_deadlines_first(&w->ike);
    if (!oldest || w->now < oldest->at - w->ike.after + patience)
        return false;
    struct tp_conn *conn = tp_conn_opening(oldest);
    if (conn->standing != TP_BEGUN)
        return false;
    tp_conn_close(w, conn, TP_REASON_LIMIT_IKE);
    return true;
}

enum tp_reason tp_conn_begin(struct tp_worker *w, struct tp_conn *conn)
{
    if (conn->standing != TP_HALF || w->config->max_begun == 0) {
        tp_conn_settle(w, conn);
        return TP_REASON_NONE;
    }
    enum tp_reason reason = tp_source_begin(w->sources, conn->source);
    if (reason == TP_REASON_LIMIT_IKE && make_room(w))
        reason = tp_source_begin(w->sources, conn->source);
    if (reason != TP_REASON_NONE) {
        tp_pump_tell_limit(w->pump, reason, &conn->card.remote, &conn->card.local, w->now);
        return reason;
    }
    conn->standing = TP_BEGUN;
    tp_count(&w->counters, TP_C_connections_half_identified, (uint64_t)-1);
    tp_count(&w->counters, TP_C_connections_ike_half_open, 1);
    return TP_REASON_NONE;
}
