// SPDX-License-Identifier: Apache-2.0
// tp_address to and from the kernel's forms. An IPv4 address mapped into IPv6 becomes plain IPv4.
#ifndef TP_ADDRESS_H
#define TP_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "api.h"

/* False when `from` is neither IPv4 nor IPv6; `to` is then none. */
bool tp_address_from(const struct sockaddr_storage *from, struct tp_address *to);

/* The length of what was written. */
socklen_t tp_address_to(const struct tp_address *from, struct sockaddr_storage *to);

/* Same address; ports are not compared. */
bool tp_address_same(const struct tp_address *a, const struct tp_address *b);

/* Inside the network of the first `network->prefix` bits. */
bool tp_address_within(const struct tp_address *address, const struct tp_address *network);

/* The last 32 bits as a number: what picks the worker of a flow address, here and in the socket filter. */
uint32_t tp_address_low(const struct tp_address *address);

/* "192.0.2.1:80" or "[2001:db8::1]:80" for error texts. */
void tp_address_text(const struct tp_address *address, char *text, size_t size);

#endif
