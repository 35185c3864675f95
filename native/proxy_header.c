// SPDX-License-Identifier: Apache-2.0
#include "proxy_header.h"

#include <arpa/inet.h>
#include <string.h>

#include "reason.h"

enum {
    COMMAND_LOCAL = 0x20, /* version 2 in the upper half */
    COMMAND_PROXY = 0x21,
    FAMILY_UNSPEC = 0,
    FAMILY_INET = 1,
    FAMILY_INET6 = 2,
    FAMILY_UNIX = 3,
    TRANSPORT_STREAM = 1,
    INET_BODY = 12,
    INET6_BODY = 36,
    UNIX_BODY = 216,
};

static const uint8_t signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                      0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
static const char opening[6] = {'P', 'R', 'O', 'X', 'Y', ' '};

static bool begins(const uint8_t *at, size_t size, const void *with, size_t length)
{
    return memcmp(at, with, size < length ? size : length) == 0;
}

/* Version 2: two addresses, then two ports. */
static void read_pair(const uint8_t *at, uint8_t family, struct tp_proxied *proxied)
{
    size_t length = family == 4 ? 4 : 16;
    const uint8_t *ports = at + 2 * length;
    proxied->known = true;
    memcpy(proxied->from.bytes, at, length);
    memcpy(proxied->to.bytes, at + length, length);
    proxied->from.family = proxied->to.family = family;
    proxied->from.port = (uint16_t)(ports[0] << 8 | ports[1]);
    proxied->to.port = (uint16_t)(ports[2] << 8 | ports[3]);
}

static int parse_v2(const uint8_t *at, size_t size, struct tp_proxied *proxied)
{
    /* As soon as the byte is there: the verdict does not depend on how TCP cut the stream. */
    if (size > 12 && at[12] != COMMAND_LOCAL && at[12] != COMMAND_PROXY)
        return -TP_REASON_BAD_PROXY_HEADER;
    if (size > 13 && (at[13] >> 4 > FAMILY_UNIX || (at[13] & 0x0f) > 2))
        return -TP_REASON_BAD_PROXY_HEADER;
    if (size < TP_PROXY_V2_HEAD)
        return 0;
    bool local = at[12] == COMMAND_LOCAL;
    unsigned family = at[13] >> 4, transport = at[13] & 0x0f;
    size_t body = (size_t)(at[14] << 8 | at[15]);
    static const size_t least[] = {
        [FAMILY_UNSPEC] = 0, [FAMILY_INET] = INET_BODY, [FAMILY_INET6] = INET6_BODY, [FAMILY_UNIX] = UNIX_BODY};
    if (body > TP_PROXY_V2_MAX_BODY || (!local && body < least[family]))
        return -TP_REASON_BAD_PROXY_HEADER;
    /* What is proxied to us came over TCP: another transport is a balancer that is set up for something else. */
    if (!local && (family == FAMILY_INET || family == FAMILY_INET6) && transport != TRANSPORT_STREAM)
        return -TP_REASON_BAD_PROXY_HEADER;
    if (size < TP_PROXY_V2_HEAD + body)
        return 0;
    if (!local && family == FAMILY_INET)
        read_pair(at + TP_PROXY_V2_HEAD, 4, proxied);
    if (!local && family == FAMILY_INET6)
        read_pair(at + TP_PROXY_V2_HEAD, 6, proxied);
    return (int)(TP_PROXY_V2_HEAD + body); /* TLVs behind the addresses say nothing that is asked for */
}

/* One word of the line, up to a blank or the end; NULL when there is none, or it is longer than an address. */
static const char *word(const char **at, const char *end, char *text, size_t room)
{
    const char *from = *at, *to = from;
    while (to < end && *to != ' ')
        to++;
    size_t length = (size_t)(to - from);
    if (length == 0 || length >= room)
        return NULL;
    memcpy(text, from, length);
    text[length] = 0;
    *at = to < end ? to + 1 : end;
    return text;
}

static bool read_address(const char *text, uint8_t family, struct tp_address *address)
{
    address->family = family;
    return inet_pton(family == 4 ? AF_INET : AF_INET6, text, address->bytes) == 1;
}

static bool read_port(const char *text, struct tp_address *address)
{
    unsigned value = 0;
    for (const char *at = text; *at; at++) {
        if (*at < '0' || *at > '9' || at - text == 5)
            return false;
        value = value * 10 + (unsigned)(*at - '0');
    }
    address->port = (uint16_t)value;
    return value <= 65535 && (text[0] != '0' || text[1] == 0);
}

/* "TCP4 192.0.2.1 198.51.100.2 56324 80", or UNKNOWN and anything. */
static bool read_line(const char *at, const char *end, struct tp_proxied *proxied)
{
    char text[INET6_ADDRSTRLEN];
    if (!word(&at, end, text, sizeof text))
        return false;
    if (strcmp(text, "UNKNOWN") == 0)
        return true;
    uint8_t family = strcmp(text, "TCP4") == 0 ? 4 : strcmp(text, "TCP6") == 0 ? 6 : 0;
    proxied->known = true;
    return family != 0 && end[-1] != ' ' && word(&at, end, text, sizeof text) &&
           read_address(text, family, &proxied->from) && word(&at, end, text, sizeof text) &&
           read_address(text, family, &proxied->to) && word(&at, end, text, sizeof text) &&
           read_port(text, &proxied->from) && word(&at, end, text, sizeof text) &&
           read_port(text, &proxied->to) && at == end;
}

static int parse_v1(const uint8_t *at, size_t size, struct tp_proxied *proxied)
{
    size_t most = size < TP_PROXY_V1_MAX ? size : TP_PROXY_V1_MAX;
    const uint8_t *line_feed = memchr(at, '\n', most);
    if (!line_feed)
        return size < TP_PROXY_V1_MAX ? 0 : -TP_REASON_BAD_PROXY_HEADER;
    if (line_feed[-1] != '\r' ||
        !read_line((const char *)at + sizeof opening, (const char *)line_feed - 1, proxied)) {
        *proxied = (struct tp_proxied){0};
        return -TP_REASON_BAD_PROXY_HEADER;
    }
    return (int)(line_feed - at) + 1;
}

int tp_proxy_parse(const uint8_t *at, size_t size, struct tp_proxied *proxied)
{
    *proxied = (struct tp_proxied){0};
    if (size == 0)
        return 0;
    if (begins(at, size, opening, sizeof opening))
        return size < sizeof opening ? 0 : parse_v1(at, size, proxied);
    if (begins(at, size, signature, sizeof signature))
        return size < sizeof signature ? 0 : parse_v2(at, size, proxied);
    return -TP_REASON_NO_PROXY_HEADER;
}

/* As IPv6, or as IPv4 where both are that. */
static void put_address(uint8_t *to, const struct tp_address *address, bool six)
{
    if (!six || address->family == 6) {
        memcpy(to, address->bytes, six ? 16 : 4);
        return;
    }
    memset(to, 0, 10);
    memset(to + 10, 0xff, 2);
    memcpy(to + 12, address->bytes, 4);
}

size_t tp_proxy_write(uint8_t *to, const struct tp_address *client, const struct tp_address *local)
{
    bool six = client->family == 6 || local->family == 6;
    size_t length = six ? 16 : 4, body = 2 * length + 4;
    memcpy(to, signature, sizeof signature);
    to[12] = COMMAND_PROXY;
    to[13] = (uint8_t)((six ? FAMILY_INET6 : FAMILY_INET) << 4 | TRANSPORT_STREAM);
    to[14] = 0;
    to[15] = (uint8_t)body;
    put_address(to + TP_PROXY_V2_HEAD, client, six);
    put_address(to + TP_PROXY_V2_HEAD + length, local, six);
    uint8_t *ports = to + TP_PROXY_V2_HEAD + 2 * length;
    ports[0] = (uint8_t)(client->port >> 8);
    ports[1] = (uint8_t)client->port;
    ports[2] = (uint8_t)(local->port >> 8);
    ports[3] = (uint8_t)local->port;
    return TP_PROXY_V2_HEAD + body;
}
