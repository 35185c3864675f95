// SPDX-License-Identifier: Apache-2.0
// Bans end, can be lifted, nest, and never take more than their table.
#include <arpa/inet.h>
#include <string.h>

#include "ban.h"
#include "harness.h"

static struct tp_bans bans;

static struct tp_address address(const char *text, unsigned length)
{
    struct tp_address a = {.family = strchr(text, ':') ? 6 : 4, .prefix = (uint8_t)length};
    CHECK(inet_pton(a.family == 4 ? AF_INET : AF_INET6, text, a.bytes) == 1);
    return a;
}

static struct tp_address number(uint32_t low)
{
    struct tp_address a = {.family = 4, .prefix = 32};
    uint32_t network = htonl(low);
    memcpy(a.bytes, &network, 4);
    return a;
}

static bool hit(const char *text, uint64_t now)
{
    struct tp_address a = address(text, 0);
    return tp_bans_hit(&bans, &a, now);
}

static void ban(const char *text, unsigned length, bool by_hand, uint64_t until)
{
    struct tp_address a = address(text, length);
    tp_bans_set(&bans, &a, TP_REASON_BAD_VERSION, by_hand, 0, until);
}

static bool lift(const char *text, unsigned length)
{
    struct tp_address a = address(text, length);
    return tp_bans_lift(&bans, &a);
}

static void prefixes_of_any_length_hold_until_their_end(void)
{
    CHECK(tp_bans_open(&bans, 8, 1) == 0);
    ban("203.0.113.9", 32, false, 100);
    ban("203.0.113.0", 24, true, 50);
    ban("2001:db8::", 64, false, 100);
    ban("2001:db8:1::1", 128, true, 100);
    CHECK(hit("203.0.113.8", 49) && hit("203.0.113.9", 49) && !hit("203.0.112.9", 49));
    CHECK(!hit("203.0.113.8", 50) && hit("203.0.113.9", 99) && !hit("203.0.113.9", 100));
    CHECK(hit("2001:db8::1:2", 1) && !hit("2001:db8:0:1::", 1) && hit("2001:db8:1::1", 1));
    CHECK(!hit("2001:db8:1::2", 1));
    CHECK(bans.count == 2); /* what had ended was forgotten when it was met */
    CHECK(lift("2001:db8::", 64) && !lift("2001:db8::", 64) && !lift("2001:db8:1::", 64));
    CHECK(!hit("2001:db8::1:2", 1));
    ban("0.0.0.0", 0, true, 10);
    CHECK(hit("198.51.100.1", 5) && lift("0.0.0.0", 0) && !hit("198.51.100.1", 5));
    tp_bans_close(&bans);
}

static void what_a_hand_has_set_only_a_hand_changes(void)
{
    CHECK(tp_bans_open(&bans, 8, 1) == 0);
    ban("192.0.2.1", 32, true, 1000);
    ban("192.0.2.1", 32, false, 10);
    CHECK(hit("192.0.2.1", 500));
    ban("192.0.2.1", 32, true, 10);
    CHECK(!hit("192.0.2.1", 500));
    CHECK(bans.count == 0);
    tp_bans_close(&bans);
}

static void a_full_table_forgets_the_oldest_and_those_by_hand_last(void)
{
    CHECK(tp_bans_open(&bans, 100, 1) == 0);
    ban("203.0.113.0", 24, true, 5);
    for (uint32_t i = 0; i < 100000; i++) {
        struct tp_address a = number(0x0a000000 + i);
        tp_bans_set(&bans, &a, TP_REASON_BAD_VERSION, false, i, 1000000 + i);
    }
    CHECK(bans.count == 100 && bans.used == 100);
    CHECK(hit("203.0.113.1", 1));
    for (uint32_t i = 99900; i < 100000; i++) {
        struct tp_address a = number(0x0a000000 + i);
        CHECK(tp_bans_hit(&bans, &a, 1) == (i > 99900));
    }
    tp_bans_sweep(&bans, 2000000);
    CHECK(bans.count == 0 && !bans.lengths[0][0]);
    tp_bans_close(&bans);
}

static void they_are_listed_in_pieces_and_those_by_hand_end_in_any_order(void)
{
    struct tp_ban out[3];
    uint32_t cursor = 0;
    unsigned listed = 0, count;
    CHECK(tp_bans_open(&bans, 100, 1) == 0);
    for (uint32_t i = 0; i < 10; i++) {
        struct tp_address a = number(i);
        tp_bans_set(&bans, &a, TP_REASON_CONTROL, true, 0, 10 + i * 7 % 10);
    }
    while ((count = tp_bans_list(&bans, 14, &cursor, out, 3)) > 0) {
        for (unsigned i = 0; i < count; i++)
            CHECK(out[i].by_hand && out[i].until_ns > 14 && out[i].reason == TP_REASON_CONTROL);
        listed += count;
    }
    CHECK(listed == 5);
    tp_bans_sweep(&bans, 14);
    CHECK(bans.count == 5);
    tp_bans_sweep(&bans, 19);
    CHECK(bans.count == 0);
    tp_bans_close(&bans);
}

int main(void)
{
    RUN(prefixes_of_any_length_hold_until_their_end);
    RUN(what_a_hand_has_set_only_a_hand_changes);
    RUN(a_full_table_forgets_the_oldest_and_those_by_hand_last);
    RUN(they_are_listed_in_pieces_and_those_by_hand_end_in_any_order);
    return 0;
}
