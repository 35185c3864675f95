// SPDX-License-Identifier: Apache-2.0
// Candidates in a fixed order; a "not yet" of one holds back all behind it. tpkt/sniff.py says why the order
// inside TLS, where two protocols carry no magic number, keeps them apart.
#include "sniff.h"

#include <string.h>

#include "frame.h"

enum answer { NO, YES, NOT_YET };

static const char rfc9329_prefix[TP_SNIFF_ENOUGH] = {'I', 'K', 'E', 'T', 'C', 'P'};
static const uint8_t tpkt_opening[2] = {TP_VERSION, 0};
static const uint8_t tls_opening[2] = {0x16, 0x03}; /* a handshake record of any SSL 3 / TLS version */
static const char http_openings[][4] = {
    {'G', 'E', 'T', ' '}, {'P', 'O', 'S', 'T'}, {'H', 'E', 'A', 'D'}, {'C', 'O', 'N', 'N'},
    {'O', 'P', 'T', 'I'}, {'P', 'R', 'I', ' '}, {'P', 'U', 'T', ' '}, {'D', 'E', 'L', 'E'},
    {'P', 'A', 'T', 'C'}, {'T', 'R', 'A', 'C'}, /* RFC 9110, RFC 5789 */
    {'P', 'R', 'O', 'P'}, {'M', 'K', 'C', 'O'}, {'C', 'O', 'P', 'Y'}, {'M', 'O', 'V', 'E'},
    {'L', 'O', 'C', 'K'}, {'U', 'N', 'L', 'O'}, {'R', 'E', 'P', 'O'}, {'S', 'E', 'A', 'R'},
    {'M', 'K', 'C', 'A'}, /* WebDAV, CalDAV */
};

static enum answer begins(const uint8_t *first, size_t size, const void *opening, size_t length)
{
    if (memcmp(first, opening, size < length ? size : length) != 0)
        return NO;
    return size < length ? NOT_YET : YES;
}

static enum answer is_tpkt(const uint8_t *first, size_t size)
{
    return begins(first, size, tpkt_opening, sizeof tpkt_opening);
}

static enum answer is_rfc9329(const uint8_t *first, size_t size)
{
    return begins(first, size, rfc9329_prefix, sizeof rfc9329_prefix);
}

static enum answer is_tls(const uint8_t *first, size_t size)
{
    return begins(first, size, tls_opening, sizeof tls_opening);
}

static enum answer is_http(const uint8_t *first, size_t size)
{
    enum answer best = NO;
    for (size_t i = 0; i < sizeof http_openings / sizeof http_openings[0]; i++) {
        enum answer one = begins(first, size, http_openings[i], sizeof http_openings[i]);
        if (one == YES)
            return YES;
        if (one == NOT_YET)
            best = NOT_YET;
    }
    return best;
}

/* TS 24.322: envelope type 1, a 16-bit length, one whole IP packet. */
static enum answer is_eftf(const uint8_t *first, size_t size)
{
    if (size > 0 && first[0] != 1)
        return NO;
    if (size < 4)
        return NOT_YET;
    int version = first[3] >> 4;
    int least = version == 4 ? 3 + 20 : version == 6 ? 3 + 40 : TP_MAX_FRAME + 1;
    return (first[1] << 8 | first[2]) >= least ? YES : NO;
}

static enum answer is_tpkt_in_tls(const uint8_t *first, size_t size)
{
    enum answer opening = is_tpkt(first, size);
    if (opening != YES)
        return opening;
    if (size < TP_TPKT_HEADER)
        return NOT_YET;
    return (first[2] << 8 | first[3]) >= TP_TPKT_HEADER ? YES : NO;
}

/* TS 24.302 annex F: a bare RFC 9329 frame that can hold what its marker or SPI promises. */
static enum answer is_ftt(const uint8_t *first, size_t size)
{
    static const uint8_t keepalive = 0xff, marker[TP_MARKER];
    if (size < TP_RFC9329_HEADER)
        return NOT_YET;
    int payload = (first[0] << 8 | first[1]) - TP_RFC9329_HEADER;
    const uint8_t *after = first + TP_RFC9329_HEADER;
    if (payload == 1)
        return begins(after, size - TP_RFC9329_HEADER, &keepalive, 1);
    if (payload < TP_ESP_MINIMUM)
        return NO;
    if (size < TP_RFC9329_HEADER + TP_MARKER)
        return NOT_YET;
    if (memcmp(after, marker, TP_MARKER) != 0)
        return YES;
    return payload >= TP_MARKER + TP_IKE_HEADER ? YES : NO;
}

struct candidate {
    enum answer (*is)(const uint8_t *, size_t);
    int protocol;
};

static const struct candidate outside[] = {
    {is_tpkt, TP_PROTOCOL_TPKT},
    {is_rfc9329, TP_PROTOCOL_RFC9329},
    {is_tls, TP_PROTOCOL_TLS},
    {is_http, TP_PROTOCOL_HTTP},
    {NULL, 0},
};

static const struct candidate inside[] = {
    {is_eftf, TP_PROTOCOL_EFTF},
    {is_tpkt_in_tls, TP_PROTOCOL_TPKT},
    {is_rfc9329, TP_PROTOCOL_RFC9329},
    {is_http, TP_PROTOCOL_HTTP},
    {is_tls, -TP_REASON_UNKNOWN_PROTOCOL}, /* TLS in TLS is not served */
    {is_ftt, TP_PROTOCOL_FTT},
    {NULL, 0},
};

int tp_recognise(const uint8_t *first, size_t size, bool inside_tls)
{
    if (size == 0)
        return 0;
    for (const struct candidate *c = inside_tls ? inside : outside; c->is; c++) {
        switch (c->is(first, size)) {
        case YES:
            return c->protocol;
        case NOT_YET:
            return 0;
        case NO:
            break;
        }
    }
    return -TP_REASON_UNKNOWN_PROTOCOL;
}
