// SPDX-License-Identifier: Apache-2.0
// What a worker needs to be a TLS server: one context for each certificate, the first for who asks for none.
//
// Made by the thread that asks for it, then one worker's alone: `users` counts the worker and each of its
// connections, so that a set that was replaced lives until the last connection made from it has ended.
#ifndef TP_TLS_CONTEXT_H
#define TP_TLS_CONTEXT_H

#include "api.h"
#include "ticket.h"

struct tp_tls_contexts {
    uint32_t users;
    uint32_t count;
    SSL_CTX *context[];
};

/* NULL with `error` filled. */
struct tp_tls_contexts *tp_tls_contexts_new(const struct tp_tls_server *server, struct tp_tickets *tickets,
                                            struct tp_error *error);

/* One user less; the last one's going frees it. NULL is nobody's. */
void tp_tls_contexts_leave(struct tp_tls_contexts *contexts);

#endif
