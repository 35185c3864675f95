// SPDX-License-Identifier: Apache-2.0
// The one seam between streams and whoever takes IKE and ESP: today the link with charon behind it.
//
// From stream to sink: runs of datagrams in stream order, sound by size and IKE header, nothing else looked
// at. The bytes lie in the worker's memory, may be changed in place (an engine decrypts there) and are the
// sink's until it returns. The other way round a sink hands datagrams to tp_stream_offer and ends its turn
// with tp_stream_flush. Everything happens on the connection's own worker.
#ifndef TP_SINK_H
#define TP_SINK_H

#include "frame.h"

struct tp_conn;

struct tp_datagram {
    uint8_t *data; /* IKE: its marker first */
    uint32_t length;
    enum tp_kind kind; /* TP_IKE or TP_ESP */
};

struct tp_sink {
    void (*deliver)(struct tp_sink *sink, struct tp_conn *from, const struct tp_datagram *run, unsigned count,
                    uint64_t now);
};

#endif
