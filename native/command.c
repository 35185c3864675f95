// SPDX-License-Identifier: Apache-2.0
#include "command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker.h"

void tp_commands_open(struct tp_commands *commands)
{
    pthread_mutex_init(&commands->lock, NULL);
    pthread_cond_init(&commands->answered, NULL);
    commands->first = NULL;
    commands->last = &commands->first;
}

void tp_commands_close(struct tp_commands *commands)
{
    pthread_cond_destroy(&commands->answered);
    pthread_mutex_destroy(&commands->lock);
}

void tp_worker_ask(struct tp_worker *worker, struct tp_command *command)
{
    struct tp_commands *commands = &worker->commands;
    command->done = false;
    command->next = NULL;
    pthread_mutex_lock(&commands->lock);
    *commands->last = command;
    commands->last = &command->next;
    (void)eventfd_write(worker->wake_fd, 1);
    while (!command->done)
        pthread_cond_wait(&commands->answered, &commands->lock);
    pthread_mutex_unlock(&commands->lock);
}

/* Where the listener of this address is linked in, or the end of the list. */
static struct tp_listener **find_listener(struct tp_worker *worker, const struct tp_address *local)
{
    struct tp_listener **link = &worker->listeners;
    while (*link && !((*link)->local.port == local->port && tp_address_same(&(*link)->local, local)))
        link = &(*link)->next;
    return link;
}

static bool set_balancers(struct tp_listener *listener, const struct tp_command *command)
{
    struct tp_address *balancers = NULL;
    if (command->balancer_count > 0) {
        balancers = calloc(command->balancer_count, sizeof *balancers);
        if (!balancers)
            return false;
        memcpy(balancers, command->balancers, command->balancer_count * sizeof *balancers);
    }
    free(listener->balancers);
    listener->balancers = balancers;
    listener->balancer_count = command->balancer_count;
    return true;
}

static bool listen_on(struct tp_worker *worker, const struct tp_command *command)
{
    static const uint8_t any[16];
    struct tp_listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return false;
    listener->handle.kind = TP_HANDLE_LISTENER;
    listener->fd = command->fd;
    listener->local = command->local;
    if (!set_balancers(listener, command)) {
        free(listener);
        return false;
    }
    listener->tls = command->may_tls;
    listener->wildcard = memcmp(command->local.bytes, any, sizeof any) == 0;
    if (tp_worker_watch(worker, EPOLL_CTL_ADD, listener->fd, EPOLLIN, &listener->handle) == -1) {
        free(listener->balancers);
        free(listener);
        return false;
    }
    listener->next = worker->listeners;
    worker->listeners = listener;
    return true;
}

static bool relisten(struct tp_worker *worker, const struct tp_command *command)
{
    struct tp_listener *listener = *find_listener(worker, &command->local);
    if (!listener || !set_balancers(listener, command))
        return false;
    listener->tls = command->may_tls;
    return true;
}

static bool unlisten(struct tp_worker *worker, const struct tp_command *command)
{
    struct tp_listener **link = find_listener(worker, &command->local);
    struct tp_listener *listener = *link;
    if (!listener)
        return false;
    *link = listener->next;
    /* Another process may have it too, and then it would not leave epoll by being closed. */
    epoll_ctl(worker->epoll, EPOLL_CTL_DEL, listener->fd, NULL);
    close(listener->fd);
    listener->fd = -1;
    listener->next = worker->unlistened;
    worker->unlistened = listener;
    return true;
}

/* RFC 9329 4: who opened the connection begins with the prefix; a fresh connection has room for it. */
static bool send_prefix(int fd)
{
    static const char prefix[] = {'I', 'K', 'E', 'T', 'C', 'P'};
    return send(fd, prefix, sizeof prefix, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof prefix;
}

static bool adopt(struct tp_worker *worker, struct tp_command *command)
{
    bool client = worker->config->role == TP_CLIENT;
    struct tp_conn *conn = tp_conn_open(worker, command->fd, &command->remote, &command->local, command->flow,
                                        false, NULL, &command->reason);
    if (!conn)
        return false;
    command->id = conn->card.id;
    conn->may_tls = !client;
    if (command->tls_client) {
        tp_stream_dial(worker, conn, command->tls_client, command->leftover, command->leftover_size);
        return true;
    }
    if (client && command->protocol == TP_PROTOCOL_RFC9329 && !send_prefix(command->fd)) {
        tp_conn_close(worker, conn, TP_REASON_IO_ERROR);
        return true;
    }
    if (command->protocol != TP_PROTOCOL_UNKNOWN &&
        !tp_stream_identified(worker, conn, (enum tp_protocol)command->protocol))
        return true;
    if (command->leftover_size > 0) {
        memcpy(worker->receive, command->leftover, command->leftover_size);
        tp_stream_take(worker, conn, command->leftover_size);
        if (conn->tls && conn->fd != -1)
            tp_stream_readable(worker, conn); /* the handshake that they began */
    }
    return true;
}

static bool close_connection(struct tp_worker *worker, const struct tp_command *command)
{
    struct tp_conn *conn = tp_conn_by_id(&worker->conns, command->id);
    if (!conn)
        return false;
    tp_conn_close(worker, conn, command->reason);
    return true;
}

static bool obey(struct tp_worker *worker, struct tp_command *command)
{
    switch (command->kind) {
    case TP_COMMAND_LISTEN:
        return listen_on(worker, command);
    case TP_COMMAND_RELISTEN:
        return relisten(worker, command);
    case TP_COMMAND_UNLISTEN:
        return unlisten(worker, command);
    case TP_COMMAND_ADOPT:
        return adopt(worker, command);
    case TP_COMMAND_CLOSE:
        return close_connection(worker, command);
    case TP_COMMAND_TLS:
        tp_tls_contexts_leave(worker->tls);
        worker->tls = command->tls;
        return true;
    case TP_COMMAND_ACCESS:
        worker->access = command->access;
        return true;
    case TP_COMMAND_FREEZE:
        return true; /* it rests, or this would still wait */
    case TP_COMMAND_THAW:
        worker->frozen = false;
        return true;
    case TP_COMMAND_STOP:
        worker->stopping = true;
        return true;
    }
    return false;
}

void tp_worker_obey(struct tp_worker *worker)
{
    struct tp_commands *commands = &worker->commands;
    eventfd_t times;
    (void)eventfd_read(worker->wake_fd, &times);
    pthread_mutex_lock(&commands->lock);
    while (commands->first) {
        struct tp_command *command = commands->first;
        if (command->kind == TP_COMMAND_FREEZE && !worker->resting) {
            worker->frozen = true;
            break; /* the rest of this turn first; answered by the next round */
        }
        commands->first = command->next;
        if (!commands->first)
            commands->last = &commands->first;
        pthread_mutex_unlock(&commands->lock);
        bool ok = obey(worker, command);
        pthread_mutex_lock(&commands->lock);
        command->ok = ok;
        command->done = true; /* its asker may return, and the memory go, once the lock is free */
        pthread_cond_broadcast(&commands->answered);
    }
    pthread_mutex_unlock(&commands->lock);
}
