// SPDX-License-Identifier: Apache-2.0
// The life of a relay: a connection to the backend, or an honest answer to the client; and its end.
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxy_header.h"
#include "pump.h"
#include "relay.h"

enum { MOST_WAITING = TP_MAX_FRAME }; /* what a block can hold */

/* The address as connect(2) wants it. */
static socklen_t backend_name(const struct tp_config *config, struct sockaddr_storage *name)
{
    if (!config->web_path)
        return tp_address_to(&config->web, name);
    struct sockaddr_un *unix_name = (struct sockaddr_un *)name;
    memset(unix_name, 0, sizeof *unix_name);
    unix_name->sun_family = AF_UNIX;
    memcpy(unix_name->sun_path, config->web_path, strnlen(config->web_path, sizeof unix_name->sun_path - 1));
    return sizeof *unix_name;
}

/* A socket that is connected or about to be; -1 and errno. */
static int connect_backend(const struct tp_config *config, bool *connecting)
{
    struct sockaddr_storage name;
    socklen_t length = backend_name(config, &name);
    int on = 1, fd = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd == -1)
        return -1;
    if (name.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int result = connect(fd, (struct sockaddr *)&name, length);
    *connecting = result == -1 && errno == EINPROGRESS;
    if (result == 0 || *connecting)
        return fd;
    int number = errno;
    close(fd);
    errno = number;
    return -1;
}

static struct tp_relay *take(struct tp_relays *relays)
{
    struct tp_relay *relay = relays->free;
    if (relay) {
        relays->free = relay->next;
    } else {
        relay = malloc(sizeof *relay);
        relays->made += relay != NULL;
    }
    if (relay)
        *relay = (struct tp_relay){.handle.kind = TP_HANDLE_RELAY, .fd = -1};
    return relay;
}

static bool enter(struct tp_pump *pump)
{
    if (atomic_fetch_add_explicit(&pump->relays, 1, memory_order_relaxed) < pump->config.web_connections)
        return true;
    atomic_fetch_sub_explicit(&pump->relays, 1, memory_order_relaxed);
    return false;
}

/* What the client has said waits for the backend, behind the header that says who it is. */
static bool hold_first(struct tp_worker *w, struct tp_relay *relay, const uint8_t *at, size_t size)
{
    size_t header = w->config->web_proxy_protocol ? TP_PROXY_V2_WRITTEN : 0;
    if (header + size > MOST_WAITING)
        return false;
    struct tp_block *block = tp_block_take(&w->blocks, header + size, false);
    if (!block)
        return false;
    if (header)
        header = tp_proxy_write(block->data, &relay->conn->card.remote, &relay->conn->card.local);
    memcpy(block->data + header, at, size);
    block->end = (uint32_t)(header + size);
    relay->to_backend.block = block;
    return true;
}

static void failed(struct tp_worker *w, struct tp_conn *conn, int number)
{
    bool descriptors = number == EMFILE || number == ENFILE;
    tp_count(&w->counters, TP_C_relays_failed, 1);
    tp_stream_answer(w, conn, descriptors ? TP_HTTP_UNAVAILABLE : TP_HTTP_BAD_GATEWAY,
                     descriptors ? TP_REASON_NO_DESCRIPTORS : TP_REASON_HTTP_BACKEND);
}

void tp_relay_open(struct tp_worker *w, struct tp_conn *conn, const uint8_t *at, size_t size)
{
    if (!enter(w->pump)) {
        tp_stream_answer(w, conn, TP_HTTP_UNAVAILABLE, TP_REASON_HTTP_FULL);
        return;
    }
    struct tp_relay *relay = take(&w->relays);
    if (!relay) {
        atomic_fetch_sub_explicit(&w->pump->relays, 1, memory_order_relaxed);
        tp_conn_close(w, conn, TP_REASON_OUT_OF_MEMORY);
        return;
    }
    relay->conn = conn;
    relay->client_events = conn->wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN;
    conn->wants_write = false;
    conn->relay = relay;
    tp_count(&w->counters, TP_C_relays_open, 1);
    if (!hold_first(w, relay, at, size)) {
        tp_conn_close(w, conn, TP_REASON_OUT_OF_MEMORY);
        return;
    }
    relay->fd = connect_backend(w->config, &relay->connecting);
    if (relay->fd == -1) {
        failed(w, conn, errno);
        return;
    }
    tp_deadline_set(relay->connecting ? &w->web_connect : &w->web_idle, &conn->opening, w->now);
    relay->backend_events = EPOLLOUT;
    if (tp_worker_watch(w, EPOLL_CTL_ADD, relay->fd, EPOLLOUT, &relay->handle) == -1) {
        tp_conn_close(w, conn, TP_REASON_OUT_OF_MEMORY);
        return;
    }
    tp_relay_turn(w, relay);
}

bool tp_relay_connected(struct tp_worker *w, struct tp_relay *relay)
{
    int number = 0;
    socklen_t length = sizeof number;
    struct sockaddr_storage name;
    socklen_t name_length = sizeof name;
    if (getsockopt(relay->fd, SOL_SOCKET, SO_ERROR, &number, &length) == -1)
        number = errno;
    if (number != 0) {
        failed(w, relay->conn, number);
        return false;
    }
    if (getpeername(relay->fd, (struct sockaddr *)&name, &name_length) == -1)
        return false; /* not yet */
    relay->connecting = false;
    tp_deadline_set(&w->web_idle, &relay->conn->opening, w->now);
    return true;
}

void tp_relay_expired(struct tp_worker *w, struct tp_conn *conn)
{
    if (!conn->relay->connecting) {
        tp_conn_close(w, conn, TP_REASON_HTTP_IDLE);
        return;
    }
    tp_count(&w->counters, TP_C_relays_failed, 1);
    tp_stream_answer(w, conn, TP_HTTP_GATEWAY_TIMEOUT, TP_REASON_HTTP_BACKEND);
}

void tp_relay_drop(struct tp_worker *w, struct tp_conn *conn)
{
    struct tp_relay *relay = conn->relay;
    conn->relay = NULL;
    if (relay->to_backend.block)
        tp_block_give(&w->blocks, relay->to_backend.block);
    if (relay->to_client.block)
        tp_block_give(&w->blocks, relay->to_client.block);
    if (relay->fd != -1)
        close(relay->fd);
    relay->fd = -1;
    /* The client's connection may live on, to read its answer. */
    if (relay->client_events != EPOLLIN)
        tp_worker_watch(w, relay->client_events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, conn->fd, EPOLLIN,
                        &conn->handle);
    tp_write(&conn->stat[TP_STAT_QUEUED], 0);
    tp_count(&w->counters, TP_C_relays_open, (uint64_t)-1);
    atomic_fetch_sub_explicit(&w->pump->relays, 1, memory_order_relaxed);
    relay->next = w->relays.retired;
    w->relays.retired = relay;
}

void tp_relays_sweep(struct tp_relays *relays)
{
    while (relays->retired) {
        struct tp_relay *relay = relays->retired;
        relays->retired = relay->next;
        relay->next = relays->free;
        relays->free = relay;
    }
}

void tp_relays_close(struct tp_relays *relays)
{
    tp_relays_sweep(relays);
    while (relays->free) {
        struct tp_relay *relay = relays->free;
        relays->free = relay->next;
        free(relay);
    }
}
