// SPDX-License-Identifier: Apache-2.0
// Accept limits: by source, in all, by rate; and a table that strangers cannot fill.
#include <arpa/inet.h>
#include <string.h>

#include "clock.h"
#include "harness.h"
#include "source.h"

static struct tp_sources sources;
static uint32_t number;

static struct tp_address v4(uint32_t low)
{
    struct tp_address a = {.family = 4};
    uint32_t network = htonl(low);
    memcpy(a.bytes, &network, 4);
    return a;
}

static struct tp_address v6(const char *text)
{
    struct tp_address a = {.family = 6};
    CHECK(inet_pton(AF_INET6, text, a.bytes) == 1);
    return a;
}

static enum tp_reason admit(struct tp_address from, uint64_t now)
{
    return tp_source_admit(&sources, &from, now, &number);
}

static void one_source_has_its_share_of_half_identified_connections(void)
{
    uint32_t held[3];
    CHECK(tp_sources_open(&sources, 100, 3, 0) == 0);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(admit(v4(1), 0) == TP_REASON_NONE);
        held[i] = number;
    }
    CHECK(admit(v4(1), 0) == TP_REASON_LIMIT_SOURCE);
    CHECK(admit(v4(2), 0) == TP_REASON_NONE);
    tp_source_settle(&sources, held[1]);
    CHECK(admit(v4(1), 0) == TP_REASON_NONE);
    CHECK(admit(v4(1), 0) == TP_REASON_LIMIT_SOURCE);
    tp_sources_close(&sources);
}

static void a_source_is_one_ipv4_address_or_one_ipv6_network_of_64_bits(void)
{
    CHECK(tp_sources_open(&sources, 100, 1, 0) == 0);
    CHECK(admit(v6("2001:db8:0:1::1"), 0) == TP_REASON_NONE);
    CHECK(admit(v6("2001:db8:0:1:ffff::2"), 0) == TP_REASON_LIMIT_SOURCE);
    CHECK(admit(v6("2001:db8:0:2::1"), 0) == TP_REASON_NONE);
    CHECK(admit(v4(0x20010db8), 0) == TP_REASON_NONE);
    CHECK(admit(v4(0x20010db9), 0) == TP_REASON_NONE);
    tp_sources_close(&sources);
}

static void all_together_have_a_limit_too(void)
{
    CHECK(tp_sources_open(&sources, 5, 100, 0) == 0);
    for (uint32_t i = 0; i < 5; i++)
        CHECK(admit(v4(i), 0) == TP_REASON_NONE);
    CHECK(admit(v4(9), 0) == TP_REASON_LIMIT_CONNECTIONS);
    tp_source_settle(&sources, number);
    CHECK(admit(v4(9), 0) == TP_REASON_NONE);
    tp_sources_close(&sources);
}

static void the_rate_has_a_burst_and_comes_back_with_time(void)
{
    uint64_t now = 1000 * TP_SECOND;
    CHECK(tp_sources_open(&sources, 1000, 1000, 10) == 0);
    for (unsigned i = 0; i < 10; i++)
        CHECK(admit(v4(1), now) == TP_REASON_NONE);
    CHECK(admit(v4(1), now) == TP_REASON_LIMIT_RATE);
    CHECK(admit(v4(2), now) == TP_REASON_NONE);
    now += 99 * TP_MILLISECOND;
    CHECK(admit(v4(1), now) == TP_REASON_LIMIT_RATE);
    now += TP_MILLISECOND;
    CHECK(admit(v4(1), now) == TP_REASON_NONE);
    CHECK(admit(v4(1), now) == TP_REASON_LIMIT_RATE);
    now += 3600 * TP_SECOND; /* an hour saves no more than a second's worth */
    for (unsigned i = 0; i < 10; i++)
        CHECK(admit(v4(1), now) == TP_REASON_NONE);
    CHECK(admit(v4(1), now) == TP_REASON_LIMIT_RATE);
    CHECK(admit(v4(1), now - TP_SECOND) == TP_REASON_LIMIT_RATE); /* another worker's slightly older clock */
    tp_sources_close(&sources);
}

static void a_hundred_thousand_sources_do_not_push_out_those_with_connections(void)
{
    CHECK(tp_sources_open(&sources, 64, 1, 5) == 0);
    CHECK(admit(v4(7), 0) == TP_REASON_NONE);
    uint32_t held = number;
    for (uint32_t i = 1000; i < 101000; i++) {
        CHECK(admit(v4(i * 2654435761U), i) == TP_REASON_NONE);
        tp_source_settle(&sources, number);
    }
    CHECK(admit(v4(7), 101000) == TP_REASON_LIMIT_SOURCE);
    tp_source_settle(&sources, held);
    CHECK(admit(v4(7), 101000) == TP_REASON_NONE);
    CHECK(sources.half == 1);
    tp_sources_close(&sources);
}

int main(void)
{
    RUN(one_source_has_its_share_of_half_identified_connections);
    RUN(a_source_is_one_ipv4_address_or_one_ipv6_network_of_64_bits);
    RUN(all_together_have_a_limit_too);
    RUN(the_rate_has_a_burst_and_comes_back_with_time);
    RUN(a_hundred_thousand_sources_do_not_push_out_those_with_connections);
    return 0;
}
