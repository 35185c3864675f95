// SPDX-License-Identifier: Apache-2.0
// From the listening socket to a connection with a flow address, or to a refusal with a reason.
//
// A refused connection is reset, which costs neither side anything more: its one system call is close, since
// the listener has it inherit SO_LINGER with no time, which one that is let in loses again. With no descriptor left, a spare one
// is given up for a moment so that the waiting connection can be taken and refused instead of being reported
// over and over; when even that fails, listening rests for a tenth of a second.
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "pump.h"

enum { ACCEPTS_PER_TURN = 64 };

static const uint64_t rest = 100 * TP_MILLISECOND;

static void refuse(struct tp_worker *w, int fd, enum tp_reason reason, const struct tp_address *remote,
                   const struct tp_address *local)
{
    close(fd);
    tp_count(&w->counters, TP_C_closed + reason, 1);
    tp_pump_tell_limit(w->pump, reason, remote, local, w->now);
}

static void watch_listeners(struct tp_worker *w, uint32_t events)
{
    for (struct tp_listener *l = w->listeners; l; l = l->next)
        tp_worker_watch(w, EPOLL_CTL_MOD, l->fd, events, &l->handle);
}

static void pause_accepting(struct tp_worker *w)
{
    watch_listeners(w, 0);
    w->accept_again_at = w->now + rest;
}

void tp_accept_resume(struct tp_worker *w)
{
    w->accept_again_at = 0;
    watch_listeners(w, EPOLLIN);
}

/* Takes one connection with the spare descriptor and refuses it: 1. 0: none waits, which accept4 does not say
 * when there is no descriptor. -1: not even that was possible. */
static int shed(struct tp_worker *w, const struct tp_listener *listener)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    struct tp_address remote;
    if (w->spare != -1)
        close(w->spare);
    int fd = accept4(listener->fd, (struct sockaddr *)&name, &length, SOCK_CLOEXEC);
    int number = errno;
    if (fd != -1) {
        tp_address_from(&name, &remote);
        refuse(w, fd, TP_REASON_NO_DESCRIPTORS, &remote, &listener->local);
    }
    w->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (w->spare == -1)
        return -1;
    if (fd == -1)
        return number == EAGAIN || number == EWOULDBLOCK ? 0 : -1;
    return 1;
}

/* The failures of one waiting connection, as accept(2) lists them: the next one may be fine. */
static bool of_that_connection(int number)
{
    switch (number) {
    case EINTR:
    case ECONNABORTED:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

struct tp_conn *tp_conn_open(struct tp_worker *w, int fd, const struct tp_address *remote,
                             const struct tp_address *local, const struct tp_address *flow, bool accepted,
                             const uint32_t *source, enum tp_reason *reason)
{
    if (!tp_pump_enter(w->pump)) {
        *reason = TP_REASON_LIMIT_CONNECTIONS;
        return NULL;
    }
    *reason = TP_REASON_OUT_OF_MEMORY;
    struct tp_conn *conn = tp_conn_take(&w->conns);
    if (!conn)
        goto full;
    conn->card.since_ns = w->now;
    conn->card.state = TP_NEW;
    conn->card.remote = *remote;
    conn->card.local = *local;
    if (flow) {
        struct tp_claim *claim = tp_flow_claim(&w->flows, flow, conn);
        if (!claim)
            goto unclaimed;
        conn->card.flow = claim->flow;
        conn->peer = &claim->peer;
    } else {
        *reason = TP_REASON_NO_FLOW_ADDRESS;
        if (!tp_flow_assign(&w->flows, local->family, conn, &conn->card.flow))
            goto unclaimed;
        /* The gateway's own address is charon's: it is the same in UDP and in TCP mode. */
        conn->own_peer.address = *local;
        for (unsigned port = 0; port < TP_PORTS; port++)
            conn->own_peer.port[port] = tp_link_ports[port];
    }
    *reason = TP_REASON_OUT_OF_MEMORY;
    if (tp_worker_watch(w, EPOLL_CTL_ADD, fd, EPOLLIN, &conn->handle) == -1)
        goto unwatched;
    *reason = TP_REASON_NONE;
    conn->fd = fd;
    tp_unsent_open(&conn->unsent, w->config->notsent_lowat);
    tp_write(&conn->stat[TP_STAT_LAST_ACTIVE], w->now);
    tp_count(&w->counters, accepted ? TP_C_accepted : TP_C_adopted, 1);
    tp_count(&w->counters, TP_C_connections_open, 1);
    if (source)
        tp_conn_admitted(w, conn, *source);
    tp_deadline_set(&w->first_bytes, &conn->opening, w->now);
    tp_conn_publish(conn);
    tp_conn_tell(w, conn, TP_EVENT_ACCEPTED, TP_REASON_NONE, NULL);
    return conn;

unwatched:
    tp_flow_return(&w->flows, &conn->card.flow, conn);
unclaimed:
    tp_conn_recycle(&w->conns, conn);
full:
    tp_pump_leave(w->pump);
    return NULL;
}

/* A handful of networks, looked through once for each connection. */
static bool is_balancer(const struct tp_listener *listener, const struct tp_address *remote)
{
    for (size_t i = 0; i < listener->balancer_count; i++) {
        if (tp_address_within(remote, &listener->balancers[i]))
            return true;
    }
    return false;
}

/* The address of ours it came to. */
static bool own_address(const struct tp_listener *listener, int fd, struct tp_address *local)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    *local = listener->local;
    if (!listener->wildcard)
        return true;
    return getsockname(fd, (struct sockaddr *)&name, &length) == 0 && tp_address_from(&name, local);
}

static void welcome(struct tp_worker *w, const struct tp_listener *listener, int fd,
                    const struct sockaddr_storage *from)
{
    struct tp_address remote, local;
    struct linger orderly = {.l_onoff = 0};
    uint32_t source = 0;
    tp_address_from(from, &remote);
    bool balancer = is_balancer(listener, &remote);
    enum tp_reason reason = tp_admit(w, balancer ? NULL : &remote, &listener->local, &source);
    if (reason != TP_REASON_NONE) {
        refuse(w, fd, reason, &remote, &listener->local);
        return;
    }
    if (!own_address(listener, fd, &local) ||
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &orderly, sizeof orderly) == -1) {
        tp_count(&w->counters, TP_C_accept_errors, 1);
        tp_source_settle(w->sources, source);
        close(fd);
        return;
    }
    struct tp_conn *conn = tp_conn_open(w, fd, &remote, &local, NULL, true, &source, &reason);
    if (conn) {
        conn->wants_introduction = conn->blameless = balancer;
        conn->may_tls = listener->tls;
        return;
    }
    tp_source_settle(w->sources, source);
    refuse(w, fd, reason, &remote, &local);
}

void tp_accept(struct tp_worker *w, struct tp_listener *listener)
{
    for (unsigned i = 0; i < ACCEPTS_PER_TURN && listener->fd != -1; i++) {
        struct sockaddr_storage from;
        socklen_t length = sizeof from;
        int fd = accept4(listener->fd, (struct sockaddr *)&from, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd != -1) {
            welcome(w, listener, fd, &from);
            continue;
        }
        int number = errno;
        if (number == EAGAIN || number == EWOULDBLOCK)
            return;
        if (of_that_connection(number))
            continue;
        if (number == EMFILE || number == ENFILE) {
            int done = shed(w, listener);
            if (done > 0)
                continue;
            if (done == 0)
                return;
        }
        tp_count(&w->counters, TP_C_accept_errors, 1);
        pause_accepting(w);
        return;
    }
}
