// SPDX-License-Identifier: Apache-2.0
#include "address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool tp_address_from(const struct sockaddr_storage *from, struct tp_address *to)
{
    memset(to, 0, sizeof *to);
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;
        to->family = 4;
        to->port = ntohs(in->sin_port);
        memcpy(to->bytes, &in->sin_addr, 4);
        return true;
    }
    if (from->ss_family != AF_INET6)
        return false;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
    to->port = ntohs(in6->sin6_port);
    if (memcmp(&in6->sin6_addr, mapped, sizeof mapped) == 0) {
        to->family = 4;
        memcpy(to->bytes, (const uint8_t *)&in6->sin6_addr + sizeof mapped, 4);
    } else {
        to->family = 6;
        memcpy(to->bytes, &in6->sin6_addr, 16);
    }
    return true;
}

socklen_t tp_address_to(const struct tp_address *from, struct sockaddr_storage *to)
{
    memset(to, 0, sizeof *to);
    if (from->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)to;
        in->sin_family = AF_INET;
        in->sin_port = htons(from->port);
        memcpy(&in->sin_addr, from->bytes, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(from->port);
    memcpy(&in6->sin6_addr, from->bytes, 16);
    return sizeof *in6;
}

bool tp_address_same(const struct tp_address *a, const struct tp_address *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, a->family == 4 ? 4 : 16) == 0;
}

bool tp_address_within(const struct tp_address *address, const struct tp_address *network)
{
    unsigned whole = network->prefix / 8, rest = network->prefix % 8;
    if (address->family != network->family || memcmp(address->bytes, network->bytes, whole) != 0)
        return false;
    return rest == 0 || (address->bytes[whole] ^ network->bytes[whole]) >> (8 - rest) == 0;
}

uint32_t tp_address_low(const struct tp_address *address)
{
    const uint8_t *low = address->bytes + (address->family == 4 ? 0 : 12);
    return (uint32_t)low[0] << 24 | (uint32_t)low[1] << 16 | (uint32_t)low[2] << 8 | low[3];
}

void tp_address_text(const struct tp_address *address, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->bytes, host, sizeof host);
    snprintf(text, size, address->family == 4 ? "%s:%u" : "[%s]:%u", host, address->port);
}
