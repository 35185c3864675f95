// SPDX-License-Identifier: Apache-2.0
// Listening sockets: one for each worker behind one address and port (SO_REUSEPORT).
//
// What a connection is to have from its first packet on is set here and inherited. Must not know what is done
// with an accepted descriptor: accept.c decides.
#ifndef TP_LISTENER_H
#define TP_LISTENER_H

#include <stdbool.h>

#include "address.h"
#include "handle.h"

struct tp_listener {
    struct tp_handle handle;
    int fd;
    bool wildcard;           /* bound to all addresses: an accepted one's own must be asked for */
    bool tls;                /* what is accepted may begin TLS */
    struct tp_address local; /* valid when not */
    struct tp_address *balancers; /* networks of load balancers: these, and only these, send PROXY headers */
    size_t balancer_count;
    struct tp_listener *next;
};

/* Fills fds[workers]; the port bound, or -1. A port that somebody else listens on is an error even though
 * SO_REUSEPORT would let us share it. */
int tp_listen(const struct tp_config *config, const struct tp_address *address, int *fds,
              struct tp_error *error);

/* What every connection has: no Nagle, little unsent in the kernel, deadlines, congestion control; 0 or -1.
 */
int tp_stream_options(int fd, const struct tp_config *config, struct tp_error *error);

#endif
