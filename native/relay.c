// SPDX-License-Identifier: Apache-2.0
// The bytes of a relay, a bounded amount in each turn.
#include "relay.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "channel.h"
#include "worker.h"

enum {
    CHUNK = TP_MAX_FRAME, /* read at once: what a block can hold when none of it goes out */
    ROUNDS = 2,           /* of reading one socket in one turn */
};

static ssize_t answer_of(ssize_t n)
{
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -TP_REASON_RESET;
}

static ssize_t take(struct tp_relay *relay, bool up, uint8_t *to, size_t size)
{
    struct iovec room = {to, size};
    if (up)
        return tp_channel_read(relay->conn, &room, 1);
    ssize_t n = recv(relay->fd, to, size, MSG_DONTWAIT);
    return n == 0 ? -TP_REASON_FIN : answer_of(n);
}

static ssize_t give(struct tp_relay *relay, bool up, const uint8_t *from, size_t size)
{
    struct iovec bytes = {(void *)(uintptr_t)from, size};
    if (!up)
        return tp_channel_write(relay->conn, &bytes, 1, 0);
    return answer_of(send(relay->fd, from, size, MSG_DONTWAIT | MSG_NOSIGNAL));
}

/* The backend takes no more. It may have answered before it had read everything: that is passed on. */
static void cut(struct tp_worker *w, struct tp_relay *relay)
{
    if (relay->to_backend.block)
        tp_block_give(&w->blocks, relay->to_backend.block);
    relay->to_backend = (struct tp_half){.ended = true, .finished = true};
    relay->cut = true;
}

/* What it sent before is given time to arrive, and then the client is reset as we were: an answer that was cut
 * off must not look like a whole one. */
static void backend_lost(struct tp_worker *w, struct tp_conn *conn)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    tp_count(&w->counters, TP_C_relays_failed, 1);
    tp_stream_linger(w, conn, TP_REASON_HTTP_BACKEND);
}

static void count(struct tp_worker *w, struct tp_relay *relay, bool up, size_t size)
{
    tp_count(&w->counters, up ? TP_C_relay_to_backend_bytes : TP_C_relay_to_client_bytes, size);
    tp_bump(&relay->conn->stat[up ? TP_STAT_STREAM_TO_LINK_BYTES : TP_STAT_LINK_TO_STREAM_BYTES], size);
    tp_write(&relay->conn->stat[TP_STAT_LAST_ACTIVE], w->now);
    tp_deadline_set(&w->web_idle, &relay->conn->opening, w->now);
}

/* Writes what is at `from`; the answer of give(), a cut backend counts as having taken all. */
static ssize_t write_on(struct tp_worker *w, struct tp_relay *relay, bool up, const uint8_t *from, size_t size)
{
    ssize_t n = give(relay, up, from, size);
    if (n > 0)
        count(w, relay, up, (size_t)n);
    if (n < 0 && up) {
        cut(w, relay);
        return (ssize_t)size;
    }
    if (n < 0)
        tp_conn_close(w, relay->conn, tp_reason_of((int)n));
    return n;
}

/* TLS keeps a record that the socket did not take, and counts it as written. */
static bool stuck(const struct tp_relay *relay)
{
    return relay->conn->tls && tp_tls_wants_write(relay->conn->tls);
}

static bool unstick(struct tp_worker *w, struct tp_relay *relay)
{
    ssize_t n = stuck(relay) ? tp_channel_write(relay->conn, NULL, 0, 0) : 0;
    if (n < 0)
        tp_conn_close(w, relay->conn, tp_reason_of((int)n));
    return n >= 0 && !stuck(relay);
}

/* False: nothing more can be done in this direction now, or the relay has ended. */
static bool flush(struct tp_worker *w, struct tp_relay *relay, bool up)
{
    struct tp_half *half = up ? &relay->to_backend : &relay->to_client;
    struct tp_block *block = half->block;
    if (!up && !unstick(w, relay))
        return false;
    if (!block)
        return true;
    ssize_t n = write_on(w, relay, up, block->data + block->start, block->end - block->start);
    if (n < 0)
        return false;
    if (!half->block)
        return !half->finished;
    block->start += (uint32_t)n;
    if (block->start < block->end)
        return false;
    tp_block_give(&w->blocks, block);
    half->block = NULL;
    return true;
}

static bool keep(struct tp_worker *w, struct tp_relay *relay, struct tp_half *half, const uint8_t *rest,
                 size_t size)
{
    half->block = tp_block_take(&w->blocks, size, false);
    if (!half->block) {
        tp_conn_close(w, relay->conn, TP_REASON_OUT_OF_MEMORY);
        return false;
    }
    memcpy(half->block->data, rest, size);
    half->block->end = (uint32_t)size;
    return true;
}

/* One read and what follows from it; false as flush(). */
static bool carry_once(struct tp_worker *w, struct tp_relay *relay, bool up)
{
    struct tp_half *half = up ? &relay->to_backend : &relay->to_client;
    if (!flush(w, relay, up) || half->ended)
        return false;
    ssize_t n = take(relay, up, w->receive, CHUNK);
    if (n == -TP_REASON_FIN || (n < 0 && !up && relay->cut)) {
        half->ended = true;
        return false;
    }
    if (n < 0 && up)
        tp_conn_close(w, relay->conn, tp_reason_of((int)n));
    else if (n < 0)
        backend_lost(w, relay->conn);
    if (n <= 0)
        return false;
    ssize_t gone = write_on(w, relay, up, w->receive, (size_t)n);
    if (gone < 0 || half->finished)
        return false;
    return gone == n || keep(w, relay, half, w->receive + gone, (size_t)(n - gone));
}

/* The end of one side is told to the other. False when that was the end of the relay. */
static bool pass_end(struct tp_worker *w, struct tp_relay *relay, bool up)
{
    struct tp_half *half = up ? &relay->to_backend : &relay->to_client;
    if (!half->ended || half->block || half->finished || (!up && stuck(relay)))
        return true;
    half->finished = true;
    if (up) {
        shutdown(relay->fd, SHUT_WR);
        return true;
    }
    int result = tp_channel_finish(relay->conn);
    if (result < 0)
        tp_conn_close(w, relay->conn, tp_reason_of(result));
    return result == 0;
}

/* False when the relay has ended. */
static bool carry(struct tp_worker *w, struct tp_relay *relay, bool up)
{
    unsigned round = 0;
    while (round < ROUNDS && carry_once(w, relay, up))
        round++;
    /* What TLS has decrypted already epoll does not know of. */
    bool more = round == ROUNDS && up && relay->conn->tls;
    while (more && tp_tls_pending(relay->conn->tls)) {
        tp_tls_pending_only(relay->conn->tls, true);
        more = carry_once(w, relay, up);
    }
    if (relay->conn->relay != relay)
        return false;
    if (relay->conn->tls)
        tp_tls_pending_only(relay->conn->tls, false);
    return pass_end(w, relay, up);
}

static void watch(struct tp_worker *w, int fd, struct tp_handle *handle, uint32_t *now, uint32_t wanted)
{
    /* What is wanted for nothing leaves epoll: it would tell of a peer's end over and over. */
    int operation = *now == 0 ? EPOLL_CTL_ADD : wanted == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    if (*now != wanted)
        tp_worker_watch(w, operation, fd, wanted, handle);
    *now = wanted;
}

static uint32_t interest(const struct tp_half *reading, const struct tp_half *writing)
{
    return (reading->ended || reading->block ? 0 : EPOLLIN) | (writing->block ? EPOLLOUT : 0);
}

void tp_relay_turn(struct tp_worker *w, struct tp_relay *relay)
{
    struct tp_conn *conn = relay->conn;
    uint32_t client = 0, backend = EPOLLOUT;
    if (relay->connecting && !tp_relay_connected(w, relay)) {
        if (relay->fd == -1)
            return;
    } else {
        if (!carry(w, relay, true) || !carry(w, relay, false))
            return;
        if (relay->to_backend.finished && relay->to_client.finished) {
            if (relay->cut)
                tp_stream_linger(w, conn, TP_REASON_HTTP_RELAYED); /* it may still be sending */
            else
                tp_conn_close(w, conn, TP_REASON_HTTP_RELAYED);
            return;
        }
        client = interest(&relay->to_backend, &relay->to_client) | (stuck(relay) ? EPOLLOUT : 0);
        backend = interest(&relay->to_client, &relay->to_backend);
    }
    watch(w, conn->fd, &conn->handle, &relay->client_events, client);
    watch(w, relay->fd, &relay->handle, &relay->backend_events, backend);
    const struct tp_block *up = relay->to_backend.block, *down = relay->to_client.block;
    tp_write(&conn->stat[TP_STAT_QUEUED], (up ? up->end - up->start : 0) + (down ? down->end - down->start : 0));
}
