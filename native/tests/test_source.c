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

static void open_sources(uint32_t max_half, uint32_t max_half_per_source, uint32_t max_per_second)
{
    struct tp_config config = {
        .max_half = max_half,
        .max_begun = 10,
        .max_bans = 16,
        .tuning = {.max_half_per_source = max_half_per_source, .max_accepts_per_second = max_per_second},
    };
    CHECK(tp_sources_open(&sources, &config) == 0);
}

static enum tp_reason admit(struct tp_address from, uint64_t now)
{
    return tp_source_admit(&sources, &from, now, &number);
}

static void one_source_has_its_share_of_half_identified_connections(void)
{
    uint32_t held[3];
    open_sources(100, 3, 0);
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
    open_sources(100, 1, 0);
    CHECK(admit(v6("2001:db8:0:1::1"), 0) == TP_REASON_NONE);
    CHECK(admit(v6("2001:db8:0:1:ffff::2"), 0) == TP_REASON_LIMIT_SOURCE);
    CHECK(admit(v6("2001:db8:0:2::1"), 0) == TP_REASON_NONE);
    CHECK(admit(v4(0x20010db8), 0) == TP_REASON_NONE);
    CHECK(admit(v4(0x20010db9), 0) == TP_REASON_NONE);
    tp_sources_close(&sources);
}

static void all_together_have_a_limit_too(void)
{
    open_sources(5, 100, 0);
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
    open_sources(1000, 1000, 10);
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
    open_sources(64, 1, 5);
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

static void a_begun_connection_counts_until_it_is_answered(void)
{
    open_sources(100, 100, 0);
    uint32_t held[11];
    sources.tuning.max_begun_per_source = 6;
    for (unsigned i = 0; i < 7; i++) {
        CHECK(admit(v4(1), 0) == TP_REASON_NONE);
        CHECK(tp_source_begin(&sources, number) == (i < 6 ? TP_REASON_NONE : TP_REASON_LIMIT_SOURCE));
        held[i] = number;
    }
    CHECK(sources.half == 1 && sources.begun == 6);
    for (unsigned i = 0; i < 5; i++) {
        CHECK(admit(v4(2), 0) == TP_REASON_NONE);
        CHECK(tp_source_begin(&sources, number) == (i < 4 ? TP_REASON_NONE : TP_REASON_LIMIT_IKE));
    }
    CHECK(sources.half == 2 && sources.begun == 10);
    tp_source_answered(&sources, held[0]);
    CHECK(tp_source_begin(&sources, number) == TP_REASON_NONE);
    CHECK(sources.half == 1 && sources.begun == 10);
    tp_sources_close(&sources);
}

static struct tp_bits text_bits(const char *text)
{
    struct tp_address a = v6(text);
    return tp_bits_of(&a);
}

static void so_many_hostile_ends_within_so_long_ban_their_source_for_so_long(void)
{
    struct tp_address one = v4(1);
    uint64_t now = 1000 * TP_SECOND;
    open_sources(100, 100, 0);
    struct tp_tuning tuning = sources.tuning;
    tuning.ban_closes = 3;
    tuning.ban_within_ns = 10 * TP_SECOND;
    tuning.ban_ns = 60 * TP_SECOND;
    tp_sources_tune(&sources, &tuning);
    CHECK(!tp_source_strike(&sources, &one, TP_REASON_BAD_VERSION, now));
    CHECK(!tp_source_strike(&sources, &one, TP_REASON_BAD_VERSION, now));
    now += 11 * TP_SECOND; /* those are forgotten */
    CHECK(!tp_source_strike(&sources, &one, TP_REASON_BAD_VERSION, now));
    CHECK(!tp_source_strike(&sources, &one, TP_REASON_LIMIT_RATE, now)); /* does not count unless told to */
    CHECK(!tp_source_strike(&sources, &one, TP_REASON_BAD_VERSION, now));
    CHECK(admit(one, now) == TP_REASON_NONE);
    CHECK(tp_source_strike(&sources, &one, TP_REASON_BAD_LENGTH, now + 9 * TP_SECOND));
    CHECK(admit(one, now + 9 * TP_SECOND) == TP_REASON_BANNED);
    CHECK(admit(v4(2), now) == TP_REASON_NONE);
    CHECK(tp_sources_banned(&sources, now) == 1);
    struct tp_ban bans[2];
    uint32_t cursor = 0;
    CHECK(tp_sources_bans(&sources, now, &cursor, bans, 2) == 1);
    CHECK(bans[0].prefix.prefix == 32 && tp_address_same(&bans[0].prefix, &one));
    CHECK(bans[0].refused == 1 && bans[0].reason == TP_REASON_BAD_LENGTH && !bans[0].by_hand);
    CHECK(admit(one, now + 69 * TP_SECOND) == TP_REASON_NONE);
    CHECK(tp_sources_banned(&sources, now) == 0);
    tuning.ban_limits = 1;
    tp_sources_tune(&sources, &tuning);
    for (unsigned i = 0; i < 3; i++)
        CHECK(tp_source_strike(&sources, &one, TP_REASON_LIMIT_RATE, now) == (i == 2));
    tp_sources_close(&sources);
}

static void a_ban_of_an_ipv6_source_holds_for_its_64_bits(void)
{
    struct tp_address from = v6("2001:db8:0:1::77");
    open_sources(100, 100, 0);
    sources.tuning.ban_closes = 1;
    sources.tuning.ban_ns = TP_SECOND;
    CHECK(tp_source_strike(&sources, &from, TP_REASON_BAD_IKE, 5));
    CHECK(admit(v6("2001:db8:0:1:ffff::1"), 6) == TP_REASON_BANNED);
    CHECK(admit(v6("2001:db8:0:2::1"), 6) == TP_REASON_NONE);
    struct tp_ban ban;
    uint32_t cursor = 0;
    CHECK(tp_sources_bans(&sources, 6, &cursor, &ban, 1) == 1);
    CHECK(ban.prefix.prefix == 64 && tp_bits_same(tp_bits_of(&ban.prefix), text_bits("2001:db8:0:1::")));
    tp_sources_close(&sources);
}

int main(void)
{
    RUN(one_source_has_its_share_of_half_identified_connections);
    RUN(a_source_is_one_ipv4_address_or_one_ipv6_network_of_64_bits);
    RUN(all_together_have_a_limit_too);
    RUN(the_rate_has_a_burst_and_comes_back_with_time);
    RUN(a_hundred_thousand_sources_do_not_push_out_those_with_connections);
    RUN(a_begun_connection_counts_until_it_is_answered);
    RUN(so_many_hostile_ends_within_so_long_ban_their_source_for_so_long);
    RUN(a_ban_of_an_ipv6_source_holds_for_its_64_bits);
    return 0;
}
