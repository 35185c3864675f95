// SPDX-License-Identifier: Apache-2.0
// The PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt): what a load balancer puts before
// the bytes of a client to say who that client is.
//
// Sans-IO. One answer shape: > 0 the length of the header, 0 need more bytes, < 0 a named error. The same
// whatever the pieces are in which it came. Must not know who may be believed: accept.c asks for a header only
// from load balancers that are configured.
#ifndef TP_PROXY_HEADER_H
#define TP_PROXY_HEADER_H

#include "address.h"

enum {
    TP_PROXY_V1_MAX = 107, /* CRLF included, as the specification counts the longest one */
    TP_PROXY_V2_HEAD = 16,
    /* Addresses and TLVs. haproxy's own TLVs with a certificate's names stay far below; a balancer may not
     * have more of our memory than that. */
    TP_PROXY_V2_MAX_BODY = 2048,
    TP_PROXY_MAX = TP_PROXY_V2_HEAD + TP_PROXY_V2_MAX_BODY,
    TP_PROXY_V2_WRITTEN = TP_PROXY_V2_HEAD + 36, /* the longest that tp_proxy_write makes */
};

struct tp_proxied {
    bool known;                /* false: the balancer's own connection (LOCAL), or of no known family */
    struct tp_address from, to; /* valid when known: the client, and the address it connected to */
};

/* -TP_REASON_NO_PROXY_HEADER: these bytes begin no header; -TP_REASON_BAD_PROXY_HEADER: a broken one. */
int tp_proxy_parse(const uint8_t *at, size_t size, struct tp_proxied *proxied);

/* A header of version 2 for a TCP connection; at most TP_PROXY_V2_WRITTEN bytes, how many is told. Addresses
 * of different families are both written as IPv6, the IPv4 one mapped. */
size_t tp_proxy_write(uint8_t *to, const struct tp_address *client, const struct tp_address *local);

#endif
