// SPDX-License-Identifier: Apache-2.0
// The link's UDP sockets: opened inside the link's namespace, read in batches, written in groups.
//
// Each worker has one socket per family and port. All flow addresses arrive on it (the namespace routes the
// whole pool to itself); IP_PKTINFO names the one meant and chooses the source of what is sent. Of several
// workers a socket filter picks the one that owns the destination address. Must not know connections:
// link_sink.c, which does, is beside it.
#ifndef TP_LINK_H
#define TP_LINK_H

#include <stdbool.h>
#include <sys/socket.h>

#include "address.h"
#include "flow.h"
#include "handle.h"

enum { TP_LINK_V4, TP_LINK_V6, TP_LINK_FAMILIES };

struct tp_link_socket {
    struct tp_handle handle;
    int fd; /* -1: not served */
    uint8_t port;
};

struct tp_link {
    struct tp_link_socket socket[TP_LINK_FAMILIES][TP_PORTS];
};

static inline struct tp_link_socket *tp_link_socket(struct tp_link *link, unsigned family, unsigned port)
{
    return &link->socket[family == 4 ? TP_LINK_V4 : TP_LINK_V6][port];
}

/* Opens the sockets of all workers; 0 or -1. A family that is `wanted` but unknown to the kernel is an error
 * unless `any_family` lets one be missing. */
int tp_links_open(struct tp_link *const *links, unsigned workers, const char *name_space,
                  const bool wanted[TP_LINK_FAMILIES], bool any_family, struct tp_error *error);
void tp_link_close(struct tp_link *link);

/* One message from the link: one datagram, or several of `segment` bytes each (the last may be shorter). */
struct tp_received {
    uint8_t *data;
    uint32_t length;
    uint32_t segment;
    uint8_t dscp; /* a train has one */
    struct tp_address to;
    struct tp_address from;
};

enum { TP_LINK_BATCH = 64 };

struct tp_receiver;

/* NULL when memory is short. The buffers are shared by all sockets of a worker. */
struct tp_receiver *tp_receiver_new(void);
void tp_receiver_free(struct tp_receiver *receiver);

/* How many messages were read without waiting, at most TP_LINK_BATCH, and fewer while they are long: about a
 * megabyte. `more`: there may be. *out is valid until the next call. */
unsigned tp_link_receive(struct tp_receiver *receiver, const struct tp_link_socket *from,
                         const struct tp_received **out, bool *more);

#endif
