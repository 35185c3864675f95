// SPDX-License-Identifier: Apache-2.0
// CoDel, RFC 8289: a queue whose datagrams wait longer than a target for a whole interval loses one, then
// more, at growing frequency, until they wait less.
//
// Only the decision: the queue asks about each datagram at its head, oldest first, before it is sent, and
// drops it when told so. Time comes as an argument; must not know blocks, classes or sockets.
#ifndef TP_CODEL_H
#define TP_CODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"

/* RFC 8289 4.2 and 4.3: good from 1 Mbit/s to 10 Gbit/s and for round trips of 10 ms to a second. */
#define TP_CODEL_TARGET   (5 * TP_MILLISECOND)
#define TP_CODEL_INTERVAL (100 * TP_MILLISECOND)

/* With no more than this behind it nothing is dropped (RFC 8289 4.4's maxpacket): a frame of an Ethernet. */
enum { TP_CODEL_SPARED = 1514 };

struct tp_codel {
    uint64_t above_at;       /* waiting above the target will have lasted an interval then; 0: it is below */
    uint64_t drop_next;      /* while dropping */
    uint32_t count;          /* drops since dropping began */
    uint32_t count_at_entry; /* what count began with when dropping began last */
    bool dropping;
    bool dropped; /* the datagram asked about before this one, while dropping */
};

/* Whether the datagram that began to wait at `since`, with `behind` bytes waiting behind it, is to be dropped
 * at `now`. */
bool tp_codel_drop(struct tp_codel *codel, uint64_t now, uint64_t since, uint64_t behind);

#endif
