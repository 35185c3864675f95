// SPDX-License-Identifier: Apache-2.0
// Frames and datagrams: how long the next frame is, and what its payload is.
//
// Works in the caller's memory, keeps no state, allocates nothing; must not know sockets or connections.
// tp_frame_length answers > 0: a whole frame of that length lies at `at`; 0: need more bytes; < 0: the
// stream is lost, the value is the negative tp_reason. What is wrong is said at the first byte that shows
// it, so the answer does not depend on how the stream was cut. tests/vectors/frames.tsv is its table.
#ifndef TP_FRAME_H
#define TP_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "reason.h"

enum {
    TP_VERSION = 1,
    TP_TPKT_HEADER = 4,    /* version, reserved, 16-bit length of the whole frame */
    TP_RFC9329_HEADER = 2, /* 16-bit length of the whole frame */
    TP_MAX_FRAME = 65535,
    TP_MARKER = 4,      /* the non-ESP marker, RFC 3948 2.2 */
    TP_IKE_HEADER = 28, /* RFC 7296 3.1 */
    TP_ESP_MINIMUM = 8, /* SPI and sequence number, RFC 4303 2 */
    TP_MAX_HEADER = 8,  /* the longest thing we put before a payload: a TPKT' header and a marker */
};

enum tp_framing { TP_FRAMING_TPKT, TP_FRAMING_RFC9329 };

enum tp_kind { TP_IKE, TP_ESP, TP_KEEPALIVE, TP_EMPTY, TP_MALFORMED };

/* What a framer's or recogniser's negative answer means. */
static inline enum tp_reason tp_reason_of(int answer)
{
    return (enum tp_reason)(0 - answer);
}

static inline size_t tp_frame_header(enum tp_framing framing)
{
    return framing == TP_FRAMING_TPKT ? TP_TPKT_HEADER : TP_RFC9329_HEADER;
}

/* The length that a frame's header states, whether or not all of the frame is there: same answers. */
static inline int tp_frame_announced(enum tp_framing framing, const uint8_t *at, size_t available)
{
    if (framing == TP_FRAMING_TPKT) {
        if (available > 0 && at[0] != TP_VERSION)
            return -TP_REASON_BAD_VERSION;
        if (available > 1 && at[1] != 0)
            return -TP_REASON_BAD_RESERVED;
    }
    size_t header = tp_frame_header(framing);
    if (available < header)
        return 0;
    int length = at[header - 2] << 8 | at[header - 1];
    if (length < (int)header)
        return -TP_REASON_BAD_LENGTH;
    return length;
}

static inline int tp_frame_length(enum tp_framing framing, const uint8_t *at, size_t available)
{
    int length = tp_frame_announced(framing, at, available);
    return length > 0 && available < (size_t)length ? 0 : length;
}

/* Writes the header of a frame with `payload` bytes; the caller keeps header + payload <= TP_MAX_FRAME. */
static inline size_t tp_frame_write_header(enum tp_framing framing, uint8_t *to, size_t payload)
{
    size_t header = tp_frame_header(framing);
    size_t length = header + payload;
    if (framing == TP_FRAMING_TPKT) {
        to[0] = TP_VERSION;
        to[1] = 0;
    }
    to[header - 2] = (uint8_t)(length >> 8);
    to[header - 1] = (uint8_t)length;
    return header;
}

/* Whether a payload of TP_MARKER bytes or more begins as IKE does. */
static inline bool tp_ike_marker(const uint8_t *payload)
{
    static const uint8_t marker[TP_MARKER];
    return memcmp(payload, marker, TP_MARKER) == 0;
}

/* Which of RFC 3948's datagrams a payload is; looks at its size and first four bytes only. */
static inline enum tp_kind tp_kind_of(const uint8_t *payload, size_t size)
{
    if (size >= TP_MARKER) {
        if (tp_ike_marker(payload))
            return size >= TP_MARKER + TP_IKE_HEADER ? TP_IKE : TP_MALFORMED;
        return size >= TP_ESP_MINIMUM ? TP_ESP : TP_MALFORMED;
    }
    if (size == 0)
        return TP_EMPTY;
    return size == 1 && payload[0] == 0xff ? TP_KEEPALIVE : TP_MALFORMED;
}

/* Whether an IKE message (marker taken away) has a header whose length field is its size, RFC 7296 3.1. */
static inline bool tp_ike_header_ok(const uint8_t *message, size_t size)
{
    if (size < TP_IKE_HEADER)
        return false;
    uint32_t length =
        (uint32_t)message[24] << 24 | (uint32_t)message[25] << 16 | (uint32_t)message[26] << 8 | message[27];
    return length == size;
}

/* Whether the responder has chosen its SPI: not so in requests of IKE_SA_INIT and in first refusals. */
static inline bool tp_ike_has_responder(const uint8_t *message)
{
    static const uint8_t none[8];
    return memcmp(message + 8, none, sizeof none) != 0;
}

#endif
