// SPDX-License-Identifier: Apache-2.0
// What another thread may ask of a worker. The asker waits until it is done; a worker's turn is short.
#ifndef TP_COMMAND_H
#define TP_COMMAND_H

#include <pthread.h>
#include <stdbool.h>

#include "api.h"

enum tp_command_kind {
    TP_COMMAND_LISTEN,
    TP_COMMAND_RELISTEN, /* with other balancers, with or without TLS */
    TP_COMMAND_UNLISTEN,
    TP_COMMAND_ADOPT,
    TP_COMMAND_CLOSE,
    TP_COMMAND_TLS,
    TP_COMMAND_ACCESS,
    TP_COMMAND_FREEZE, /* answered when its turn has ended: until thawed it does nothing but obey */
    TP_COMMAND_THAW,
    TP_COMMAND_STOP
};

struct tp_tls_contexts;
struct tp_prefixes;

struct tp_command {
    enum tp_command_kind kind;
    int fd;                        /* listen, adopt */
    struct tp_address local;       /* listen, relisten, unlisten: the address; adopt: the socket's */
    const struct tp_address *balancers; /* listen, relisten: copied */
    size_t balancer_count;
    struct tp_address remote;      /* adopt */
    const struct tp_address *flow; /* adopt */
    uint32_t protocol;             /* adopt */
    struct tp_tls_client *tls_client; /* adopt: whom to believe, or NULL for a plain stream */
    const uint8_t *leftover;       /* adopt */
    size_t leftover_size;
    bool may_tls;                  /* listen */
    struct tp_tls_contexts *tls;   /* tls: what is served from here on, or NULL */
    uint64_t id;           /* close; adopt: the answer */
    enum tp_reason reason; /* close; adopt: why not */
    const struct tp_prefixes *access; /* access: to be used from now on */
    bool ok;               /* the answer */
    bool done;
    struct tp_command *next;
};

struct tp_commands {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    struct tp_command *first, **last;
};

struct tp_worker;

void tp_commands_open(struct tp_commands *commands);
void tp_commands_close(struct tp_commands *commands);

/* From any other thread: has `command` done by a running worker and waits for the answer. */
void tp_worker_ask(struct tp_worker *worker, struct tp_command *command);

/* By the worker itself, when it is woken. */
void tp_worker_obey(struct tp_worker *worker);

#endif
