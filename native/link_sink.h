// SPDX-License-Identifier: Apache-2.0
// The link as a sink: datagrams of one connection, grouped and sent to charon under its flow address.
//
// Consecutive datagrams of one size and port become one message with UDP_SEGMENT, several messages one system
// call, and nothing is copied. What the kernel does not take is dropped whole and counted by why.
#ifndef TP_LINK_SINK_H
#define TP_LINK_SINK_H

#include "conn.h"
#include "link.h"
#include "sink.h"
#include "watch.h"

enum { TP_SINK_GROUPS = 32, TP_SINK_PIECES = 512, TP_SINK_SEGMENTS = 64 };

struct tp_group {
    uint32_t first, count; /* pieces */
    uint32_t segment;      /* bytes of each but the last, which may be shorter */
    uint32_t bytes;
    uint32_t esp;
    uint32_t datagrams; /* their bytes with the marker: what statistics count */
};

struct tp_link_sink {
    struct tp_sink sink;
    struct tp_link *link;
    struct tp_counters *counters;
    struct tp_watch *watch;

    /* Segments longer than this did not pass the link's MTU lately; tried again after a second, for the MTU
     * may have grown. One failed call a second is all that costs. */
    uint32_t longest_segment[TP_LINK_FAMILIES];
    uint64_t longest_until[TP_LINK_FAMILIES];

    /* What is being put together; nothing survives a call of deliver(). */
    struct tp_conn *conn;
    uint64_t now;
    unsigned port, groups, pieces;
    struct tp_group group[TP_SINK_GROUPS];
    struct iovec piece[TP_SINK_PIECES];
};

void tp_link_sink_open(struct tp_link_sink *sink, struct tp_link *link, struct tp_counters *counters,
                       struct tp_watch *watch);

#endif
