// SPDX-License-Identifier: Apache-2.0
// HTTP handed to the configured web backend: port sharing. Bytes go both ways as they are, on the worker of
// the client's connection; the backend has a connection of its own for each client.
//
// Memory is taken only while bytes wait: at most one block for each direction, and what fills it is not read
// on until it has gone out. The end of one direction is passed on and leaves the other open. What the client
// sends goes through its channel, so that it may be TLS. Must not know HTTP beyond its own answers.
#ifndef TP_RELAY_H
#define TP_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api.h"
#include "handle.h"

struct tp_worker;
struct tp_conn;
struct tp_block;

/* One direction. */
struct tp_half {
    struct tp_block *block; /* read and not written yet */
    bool ended;             /* its reader has seen the end */
    bool finished;          /* and its writer was told */
};

struct tp_relay {
    struct tp_handle handle; /* of the backend's socket */
    int fd;                  /* -1: it has ended; its memory is used again from the next turn on */
    struct tp_conn *conn;
    struct tp_half to_backend, to_client;
    bool connecting;
    bool cut; /* the backend takes no more; what it still says is passed on */
    uint32_t client_events, backend_events; /* what epoll watches for; 0: not at all */
    struct tp_relay *next;
};

struct tp_relays {
    struct tp_relay *free, *retired;
    size_t made;
};

static inline bool tp_relay_wanted(const struct tp_config *config)
{
    return config->role == TP_GATEWAY && (config->web.family != 0 || config->web_path);
}

/* A connection that speaks HTTP and has said the `size` bytes at `at` goes to the backend, or gets an answer
 * that says why not. */
void tp_relay_open(struct tp_worker *worker, struct tp_conn *conn, const uint8_t *at, size_t size);

/* Either socket has news. */
void tp_relay_turn(struct tp_worker *worker, struct tp_relay *relay);

/* False while the connection to the backend is not there; when it cannot be had, the relay has ended (fd -1). */
bool tp_relay_connected(struct tp_worker *worker, struct tp_relay *relay);

/* Neither has had any for too long. */
void tp_relay_expired(struct tp_worker *worker, struct tp_conn *conn);

/* Lets the backend go; the client's connection stays. */
void tp_relay_drop(struct tp_worker *worker, struct tp_conn *conn);

/* At the end of the worker's turn, and of its life. */
void tp_relays_sweep(struct tp_relays *relays);
void tp_relays_close(struct tp_relays *relays);

#endif
