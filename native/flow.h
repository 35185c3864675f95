// SPDX-License-Identifier: Apache-2.0
// Which connection a flow address stands for, and which address a new connection gets.
//
// Gateway: a worker's share of a pool, the addresses whose low 32 bits leave its number when divided by the
// number of workers (the rule by which the kernel picks the worker's socket). A returned address waits at the
// end of a FIFO, so that what charon still sends to its last holder finds nobody for as long as possible.
// Client: claims of gateway addresses; a later claim of an address takes it over. A claim outlives its
// connections because it remembers where charon was last heard. One owner thread; must not know sockets.
#ifndef TP_FLOW_H
#define TP_FLOW_H

#include <stdbool.h>

#include "address.h"

struct tp_conn;

enum { TP_PORT_500, TP_PORT_4500, TP_PORTS };
static const uint16_t tp_link_ports[TP_PORTS] = {500, 4500};

/* charon as seen on the link: `address` without port, and its port towards each of ours (0: not heard). */
struct tp_peer {
    struct tp_address address;
    uint16_t port[TP_PORTS];
};

struct tp_pool {
    struct tp_address first; /* this worker's first address */
    uint32_t stride;         /* the number of workers */
    uint32_t size;           /* addresses of this worker's share */
    uint32_t fresh;          /* never handed out from here on */
    uint32_t returned;       /* how many wait in the ring */
    uint32_t oldest;         /* their first */
    uint32_t *ring;
    struct tp_conn **holders;
};

struct tp_claim {
    struct tp_claim *next;
    struct tp_address flow;
    struct tp_conn *holder;
    struct tp_peer peer;
};

struct tp_flows {
    struct tp_pool pool4, pool6;
    struct tp_claim *claims; /* as many as a client has gateways: a handful */
};

/* -1 when memory is short. A pool of family 0 is none. */
int tp_flows_open(struct tp_flows *flows, const struct tp_config *config, unsigned worker);
void tp_flows_close(struct tp_flows *flows);

/* Gateway: false when the pool of `family` has no address left or there is no such pool. */
bool tp_flow_assign(struct tp_flows *flows, unsigned family, struct tp_conn *holder, struct tp_address *flow);

/* Gateway, in a fresh pool: `flow` is `holder`'s, who had it in another process. False when it is not one of
 * this worker's, or somebody's. */
bool tp_flow_restore(struct tp_flows *flows, const struct tp_address *flow, struct tp_conn *holder);

/* Gateway: which address of its pool `flow` is. */
bool tp_flow_index(struct tp_flows *flows, const struct tp_address *flow, uint32_t *index);

/* Client: NULL when memory is short. */
struct tp_claim *tp_flow_claim(struct tp_flows *flows, const struct tp_address *flow, struct tp_conn *holder);

/* Who holds `flow` now, or NULL; `claim` is set when it is a client's. */
struct tp_conn *tp_flow_find(struct tp_flows *flows, const struct tp_address *flow, struct tp_claim **claim);

/* Nothing happens when `holder` is not the one that has it (any more). */
void tp_flow_return(struct tp_flows *flows, const struct tp_address *flow, const struct tp_conn *holder);

#endif
