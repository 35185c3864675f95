// SPDX-License-Identifier: Apache-2.0
// A worker on a stage: no thread, no link; one connection over a socket pair, and a sink that writes down
// what it is given. For tests and fuzzers that want the real reading of a stream, turn by turn.
#ifndef TP_STAGE_H
#define TP_STAGE_H

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "harness.h"
#include "pump.h"

struct tp_stage {
    struct tp_pump *pump;
    struct tp_worker *worker;
    struct tp_conn *conn; /* the one on stage; fd -1 when it has ended */
    int peer;             /* the other end of its stream */
    int event_fd;
    struct tp_sink sink;
    void *notes; /* the sink's */
};

static inline void stage_open(struct tp_stage *stage, struct tp_config *config, const struct tp_sink *sink)
{
    struct tp_error error;
    stage->event_fd = eventfd(0, EFD_NONBLOCK);
    config->workers = 1;
    config->name_space = "";
    config->event_fd = stage->event_fd;
    stage->pump = tp_pump_new(config);
    CHECK(stage->pump);
    stage->worker = stage->pump->workers;
    stage->pump->opened = 1;
    CHECK(tp_worker_open(stage->worker, stage->pump, 0, &error) == 0);
    stage->sink = *sink;
    stage->worker->sink = &stage->sink;
    stage->conn = NULL;
}

/* A fresh connection; the one before must have ended. */
static inline void stage_enter(struct tp_stage *stage)
{
    struct tp_address local = {.family = 4, .bytes = {192, 0, 2, 1}},
                      remote = {.family = 4, .bytes = {192, 0, 2, 2}};
    enum tp_reason reason;
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    stage->worker->now = tp_now();
    stage->conn = tp_conn_open(stage->worker, ends[0], &remote, &local, NULL, false, NULL, &reason);
    CHECK(stage->conn);
    stage->peer = ends[1];
}

/* What a worker does at the end of its turn. */
static inline void stage_sweep(struct tp_stage *stage)
{
    while (stage->worker->closed) {
        struct tp_conn *conn = stage->worker->closed;
        stage->worker->closed = conn->next;
        tp_conn_recycle(&stage->worker->conns, conn);
    }
}

/* The reason in the last event, which must be that the connection has closed. */
static inline enum tp_reason stage_leave(struct tp_stage *stage)
{
    struct tp_event events[64];
    unsigned count = tp_pump_poll(stage->pump, events, 64);
    close(stage->peer);
    CHECK(stage->conn->fd == -1 && count > 0 && events[count - 1].kind == TP_EVENT_CLOSED);
    stage_sweep(stage);
    CHECK(stage->worker->blocks.taken == 0);
    return events[count - 1].reason;
}

static inline void stage_close(struct tp_stage *stage)
{
    tp_pump_free(stage->pump);
    close(stage->event_fd);
}

/* Bytes of the peer, read at once as far as the worker reads. */
static inline void stage_feed(struct tp_stage *stage, const uint8_t *bytes, size_t size)
{
    CHECK(write(stage->peer, bytes, size) == (ssize_t)size);
    tp_stream_readable(stage->worker, stage->conn);
    for (int waiting = 1; stage->conn->fd != -1 && waiting > 0;) {
        uint8_t one;
        waiting = recv(stage->conn->fd, &one, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
        if (waiting)
            tp_stream_readable(stage->worker, stage->conn);
    }
}

static inline struct tp_config stage_config(void)
{
    return (struct tp_config){
        .role = TP_GATEWAY,
        .reserved = 16,
        .pool4 = {.family = 4, .bytes = {198, 18}, .prefix = 24},
        .max_connections = 64,
        .max_half = 8,
        .max_bans = 8,
        .tuning.max_half_per_source = 8,
        .first_bytes_ns = TP_SECOND,
        .frame_ns = TP_SECOND,
        .ike_ns = TP_SECOND,
        .notsent_lowat = 1 << 17,
        .queue_bytes = 1 << 16,
        .worker_queue_bytes = 1 << 20,
    };
}

#endif
