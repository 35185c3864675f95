// SPDX-License-Identifier: Apache-2.0
// A worker's life and its turns.
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "pump.h"
#include "util.h"

enum { EVENTS_PER_TURN = 256 };

/* How long a peer that got its answer may take to read it and close. */
static const uint64_t linger = 2 * TP_SECOND;

int tp_worker_watch(struct tp_worker *w, int operation, int fd, uint32_t events, struct tp_handle *handle)
{
    struct epoll_event event = {.events = events, .data.ptr = handle};
    return epoll_ctl(w->epoll, operation, fd, &event);
}

int tp_worker_open(struct tp_worker *w, struct tp_pump *pump, unsigned index, struct tp_error *error)
{
    const struct tp_config *config = &pump->config;
    *w = (struct tp_worker){
        .pump = pump,
        .config = config,
        .events = &pump->events,
        .sources = &pump->sources,
        .watch = &pump->watch,
        .index = index,
        .receive = MAP_FAILED,
        .quantum = TP_RECEIVE_BYTES,
        .wake.kind = TP_HANDLE_WAKE,
    };
    for (unsigned i = 0; i < TP_LINK_FAMILIES * TP_PORTS; i++)
        w->link.socket[i / TP_PORTS][i % TP_PORTS].fd = -1;
    tp_commands_open(&w->commands);
    tp_blocks_open(&w->blocks, config->worker_queue_bytes);
    tp_deadlines_open(&w->first_bytes, config->first_bytes_ns);
    tp_deadlines_open(&w->handshake, config->handshake_ns);
    tp_deadlines_open(&w->ike, config->ike_ns);
    tp_deadlines_open(&w->frame, config->frame_ns);
    tp_deadlines_open(&w->lingering, linger);
    tp_deadlines_open(&w->web_connect, config->web_connect_ns);
    tp_deadlines_open(&w->web_idle, config->web_idle_ns);
    tp_link_sink_open(&w->link_sink, &w->link, &w->counters, w->watch);
    w->sink = &w->link_sink.sink;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (w->epoll == -1 || w->wake_fd == -1 || w->spare == -1 ||
        tp_worker_watch(w, EPOLL_CTL_ADD, w->wake_fd, EPOLLIN, &w->wake) == -1)
        return tp_fail(error, errno, "worker %u: cannot open its descriptors", index);
    w->receiver = tp_receiver_new();
    w->record = malloc(TP_TLS_RECORD);
    w->items = malloc(TP_BATCH_ITEMS * sizeof *w->items);
    w->receive = mmap(NULL, TP_RECEIVE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!w->receiver || !w->items || !w->record || w->receive == MAP_FAILED ||
        tp_conns_open(&w->conns, index, config->max_connections) == -1 ||
        tp_flows_open(&w->flows, config, index) == -1)
        return tp_fail(error, ENOMEM, "worker %u: cannot get its memory", index);
    return 0;
}

static uint64_t earliest(const struct tp_worker *w)
{
    const uint64_t times[] = {
        tp_deadlines_next(&w->first_bytes),
        tp_deadlines_next(&w->handshake),
        tp_deadlines_next(&w->ike),
        tp_deadlines_next(&w->frame),
        tp_deadlines_next(&w->lingering),
        tp_deadlines_next(&w->web_connect),
        tp_deadlines_next(&w->web_idle),
        w->accept_again_at ? w->accept_again_at : UINT64_MAX,
    };
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < sizeof times / sizeof times[0]; i++)
        first = times[i] < first ? times[i] : first;
    return first;
}

/* For epoll_wait: rounded up, so that what was waited for has come. */
static int milliseconds_left(const struct tp_worker *w)
{
    uint64_t at = earliest(w), now = tp_now();
    if (at == UINT64_MAX)
        return -1;
    if (at <= now)
        return 0;
    uint64_t left = (at - now) / TP_MILLISECOND + 1;
    return left < 3600000 ? (int)left : 3600000;
}

static struct tp_conn *frame_of(struct tp_deadline *d)
{
    return (struct tp_conn *)((char *)d - offsetof(struct tp_conn, frame));
}

static void expire(struct tp_worker *w)
{
    struct tp_deadline *d;
    while ((d = tp_deadlines_expired(&w->first_bytes, w->now)))
        tp_conn_close(w, tp_conn_opening(d), TP_REASON_FIRST_BYTES_TIMEOUT);
    while ((d = tp_deadlines_expired(&w->handshake, w->now)))
        tp_conn_close(w, tp_conn_opening(d), TP_REASON_TLS_TIMEOUT);
    while ((d = tp_deadlines_expired(&w->ike, w->now)))
        tp_conn_close(w, tp_conn_opening(d), TP_REASON_IKE_TIMEOUT);
    while ((d = tp_deadlines_expired(&w->frame, w->now)))
        tp_conn_close(w, frame_of(d), TP_REASON_FRAME_TIMEOUT);
    while ((d = tp_deadlines_expired(&w->lingering, w->now)))
        tp_conn_close(w, tp_conn_opening(d), tp_conn_opening(d)->farewell);
    while ((d = tp_deadlines_expired(&w->web_connect, w->now)))
        tp_relay_expired(w, tp_conn_opening(d));
    while ((d = tp_deadlines_expired(&w->web_idle, w->now)))
        tp_relay_expired(w, tp_conn_opening(d));
    if (w->accept_again_at && w->now >= w->accept_again_at)
        tp_accept_resume(w);
}

static void stand_in_line(struct tp_worker *w, struct tp_conn *conn)
{
    if (conn->in_line)
        return;
    conn->in_line = true;
    conn->next_in_line = NULL;
    if (w->heavy.last)
        w->heavy.last->next_in_line = conn;
    else
        w->heavy.first = conn;
    w->heavy.last = conn;
}

/* Reads once; what fills a light stream's share comes back as a heavy one, if there is more. */
static size_t read_stream(struct tp_worker *w, struct tp_conn *conn, uint32_t quantum)
{
    w->quantum = quantum;
    size_t n = tp_stream_readable(w, conn);
    conn->heavy = n >= TP_LIGHT_BYTES;
    return n;
}

static void serve_conn(struct tp_worker *w, struct tp_conn *conn, uint32_t events)
{
    /* What was closed earlier in this turn has a descriptor of -1. */
    if (conn->fd != -1 && events & EPOLLOUT)
        tp_stream_writable(w, conn);
    if (conn->fd == -1 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    if (conn->heavy)
        stand_in_line(w, conn);
    else
        read_stream(w, conn, TP_LIGHT_BYTES);
}

/* One full read, of one stream or of several: whoever has become readable meanwhile comes next. */
static void serve_heavy(struct tp_worker *w)
{
    for (size_t bytes = 0; w->heavy.first && bytes < TP_RECEIVE_BYTES / 2;) {
        struct tp_conn *conn = w->heavy.first;
        w->heavy.first = conn->next_in_line;
        if (!w->heavy.first)
            w->heavy.last = NULL;
        conn->in_line = false;
        if (conn->fd != -1)
            bytes += read_stream(w, conn, TP_RECEIVE_BYTES);
    }
}

static void serve(struct tp_worker *w, const struct epoll_event *event)
{
    struct tp_handle *handle = event->data.ptr;
    switch (handle->kind) {
    case TP_HANDLE_WAKE:
        tp_worker_obey(w);
        break;
    case TP_HANDLE_CONN:
        serve_conn(w, (struct tp_conn *)handle, event->events);
        break;
    case TP_HANDLE_LISTENER:
        tp_accept(w, (struct tp_listener *)handle);
        break;
    case TP_HANDLE_LINK:
        tp_link_readable(w, (struct tp_link_socket *)handle);
        break;
    case TP_HANDLE_RELAY:
        if (((struct tp_relay *)handle)->fd != -1)
            tp_relay_turn(w, (struct tp_relay *)handle);
        break;
    }
}

static void end_turn(struct tp_worker *w)
{
    struct tp_conn *conn = w->closed;
    w->closed = NULL;
    while (conn) {
        struct tp_conn *next = conn->next;
        if (conn->in_line) { /* still pointed to */
            conn->next = w->closed;
            w->closed = conn;
        } else {
            tp_conn_recycle(&w->conns, conn);
        }
        conn = next;
    }
    tp_relays_sweep(&w->relays);
    tp_write(&w->counters.value[TP_C_queued_bytes], w->blocks.taken);
    tp_write(&w->counters.value[TP_C_memory_bytes],
             w->blocks.taken + w->blocks.kept + (uint64_t)tp_conns_slots(&w->conns) * sizeof(struct tp_conn) +
                 w->relays.made * sizeof(struct tp_relay));
}

static void close_all(struct tp_worker *w)
{
    for (uint32_t slot = 0; slot < tp_conns_slots(&w->conns); slot++) {
        struct tp_conn *conn = tp_conn_in_slot(&w->conns, slot);
        if (conn->fd != -1)
            tp_conn_close(w, conn, TP_REASON_SHUTDOWN);
    }
    end_turn(w);
}

void tp_worker_turn(struct tp_worker *w, int milliseconds)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(w->epoll, events, EVENTS_PER_TURN, w->heavy.first ? 0 : milliseconds);
    w->now = tp_now();
    for (int i = 0; i < count; i++)
        serve(w, &events[i]);
    serve_heavy(w);
    expire(w);
    end_turn(w);
}

/* Obeys and does nothing else. Who froze it may look at and change all that is the worker's meanwhile. */
static void rest(struct tp_worker *w)
{
    struct pollfd wake = {.fd = w->wake_fd, .events = POLLIN};
    w->resting = true;
    tp_worker_obey(w);
    while (w->frozen && !w->stopping) {
        if (poll(&wake, 1, -1) == 1)
            tp_worker_obey(w);
    }
    w->resting = false;
    w->now = tp_now();
}

static void *run(void *argument)
{
    struct tp_worker *w = argument;
    w->now = tp_now();
    while (!w->stopping) {
        if (w->frozen)
            rest(w);
        else
            tp_worker_turn(w, milliseconds_left(w));
    }
    if (!w->frozen) /* else they are a successor's */
        close_all(w);
    return NULL;
}

int tp_worker_watch_link(struct tp_worker *w, struct tp_error *error)
{
    for (unsigned i = 0; i < TP_LINK_FAMILIES * TP_PORTS; i++) {
        struct tp_link_socket *socket = &w->link.socket[i / TP_PORTS][i % TP_PORTS];
        if (socket->fd != -1 && tp_worker_watch(w, EPOLL_CTL_ADD, socket->fd, EPOLLIN, &socket->handle) == -1)
            return tp_fail(error, errno, "worker %u: cannot watch the link", w->index);
    }
    return 0;
}

int tp_worker_start(struct tp_worker *w, struct tp_error *error)
{
    char name[16];
    snprintf(name, sizeof name, "pump-%u", w->index % 1000);
    int number = tp_thread_start(&w->thread, name, run, w);
    return number == 0 ? 0 : tp_fail(error, number, "worker %u: cannot start its thread", w->index);
}

void tp_worker_join(struct tp_worker *w)
{
    struct tp_command stop = {.kind = TP_COMMAND_STOP};
    tp_worker_ask(w, &stop);
    pthread_join(w->thread, NULL);
}

void tp_worker_close(struct tp_worker *w)
{
    struct tp_listener **lists[] = {&w->listeners, &w->unlistened};
    for (unsigned i = 0; i < 2; i++) {
        while (*lists[i]) {
            struct tp_listener *listener = *lists[i];
            *lists[i] = listener->next;
            if (listener->fd != -1)
                close(listener->fd);
            free(listener->balancers);
            free(listener);
        }
    }
    tp_link_close(&w->link);
    for (uint32_t slot = 0; w->conns.chunks && slot < tp_conns_slots(&w->conns); slot++)
        tp_conn_forget(w, tp_conn_in_slot(&w->conns, slot));
    int fds[] = {w->epoll, w->wake_fd, w->spare};
    for (unsigned i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (fds[i] != -1)
            close(fds[i]);
    }
    tp_conns_close(&w->conns);
    tp_flows_close(&w->flows);
    tp_relays_close(&w->relays);
    tp_blocks_close(&w->blocks);
    tp_receiver_free(w->receiver);
    free(w->items);
    free(w->record);
    tp_tls_contexts_leave(w->tls);
    if (w->receive != MAP_FAILED)
        munmap(w->receive, TP_RECEIVE_BYTES);
    tp_commands_close(&w->commands);
}
