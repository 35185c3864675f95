// SPDX-License-Identifier: Apache-2.0
// The longest prefix decides: by example, and against a search through all rules with random ones.
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "bits.h"
#include "harness.h"
#include "prefixes.h"

static struct tp_address address(const char *text, unsigned length)
{
    struct tp_address a = {.family = strchr(text, ':') ? 6 : 4, .prefix = (uint8_t)length};
    CHECK(inet_pton(a.family == 4 ? AF_INET : AF_INET6, text, a.bytes) == 1);
    return a;
}

static enum tp_access ask(const struct tp_prefixes *prefixes, const char *text)
{
    struct tp_address a = address(text, 0);
    return tp_prefixes_find(prefixes, &a);
}

static void the_longest_prefix_wins_in_both_families(void)
{
    const struct tp_rule rules[] = {
        {address("203.0.113.77", 32), TP_ACCESS_DENY},   {address("0.0.0.0", 0), TP_ACCESS_DENY},
        {address("203.0.113.0", 24), TP_ACCESS_ALLOW},   {address("255.255.255.255", 32), TP_ACCESS_ALLOW},
        {address("2001:db8::", 32), TP_ACCESS_DENY},     {address("2001:db8:0:1::", 64), TP_ACCESS_ALLOW},
        {address("2001:db8:0:1::5", 128), TP_ACCESS_DENY},
    };
    struct tp_prefixes *p = tp_prefixes_new(rules, sizeof rules / sizeof rules[0]);
    CHECK(p);
    CHECK(ask(p, "198.51.100.1") == TP_ACCESS_DENY && ask(p, "0.0.0.0") == TP_ACCESS_DENY);
    CHECK(ask(p, "203.0.113.76") == TP_ACCESS_ALLOW && ask(p, "203.0.113.78") == TP_ACCESS_ALLOW);
    CHECK(ask(p, "203.0.113.77") == TP_ACCESS_DENY);
    CHECK(ask(p, "203.0.114.0") == TP_ACCESS_DENY && ask(p, "255.255.255.255") == TP_ACCESS_ALLOW);
    CHECK(ask(p, "2001:db8:0:2::1") == TP_ACCESS_DENY && ask(p, "2001:db8:0:1::4") == TP_ACCESS_ALLOW);
    CHECK(ask(p, "2001:db8:0:1::5") == TP_ACCESS_DENY && ask(p, "2001:db8:0:1::6") == TP_ACCESS_ALLOW);
    CHECK(ask(p, "2001:db9::") == TP_ACCESS_OPEN && ask(p, "::") == TP_ACCESS_OPEN);
    tp_prefixes_free(p);
}

static void without_rules_everything_is_open(void)
{
    struct tp_prefixes *p = tp_prefixes_new(NULL, 0);
    CHECK(ask(p, "192.0.2.1") == TP_ACCESS_OPEN && ask(p, "ffff::") == TP_ACCESS_OPEN);
    CHECK(ask(NULL, "192.0.2.1") == TP_ACCESS_OPEN);
    tp_prefixes_free(p);
}

static uint64_t state = 88172645463325252u;

static uint64_t chance(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

/* Few distinct bytes, so that prefixes meet and nest. */
static struct tp_address any(uint8_t family)
{
    static const uint8_t pieces[] = {0, 0xff, 0x80, 0x7f};
    struct tp_address a = {.family = family};
    unsigned length = family == 4 ? 32 : 128;
    for (unsigned i = 0; i < length / 8; i++)
        a.bytes[i] = pieces[chance() % 4];
    a.prefix = (uint8_t)(chance() % (length + 1));
    return a;
}

static enum tp_access searched(const struct tp_rule *rules, size_t count, const struct tp_address *a)
{
    int longest = -1;
    enum tp_access access = TP_ACCESS_OPEN;
    for (size_t i = 0; i < count; i++) {
        const struct tp_address *p = &rules[i].prefix;
        if (p->family == a->family && p->prefix >= longest &&
            tp_bits_same(tp_bits_network(tp_bits_of(p), p->prefix), tp_bits_network(tp_bits_of(a), p->prefix))) {
            longest = p->prefix;
            access = (enum tp_access)rules[i].access;
        }
    }
    return access;
}

static void random_rules_give_what_a_search_through_all_gives(void)
{
    struct tp_rule rules[60];
    for (unsigned round = 0; round < 300; round++) {
        size_t count = 1 + chance() % 60;
        for (size_t i = 0; i < count; i++)
            rules[i] = (struct tp_rule){any(chance() % 2 ? 4 : 6), 1 + chance() % 2};
        struct tp_prefixes *p = tp_prefixes_new(rules, count);
        CHECK(p);
        for (unsigned i = 0; i < 200; i++) {
            struct tp_address a = any(chance() % 2 ? 4 : 6);
            CHECK(tp_prefixes_find(p, &a) == searched(rules, count, &a));
        }
        tp_prefixes_free(p);
    }
}

static void a_hundred_thousand_prefixes_are_fine(void)
{
    enum { MANY = 100000 };
    struct tp_rule *rules = calloc(MANY, sizeof *rules);
    CHECK(rules);
    for (unsigned i = 0; i < MANY; i++) {
        rules[i] = (struct tp_rule){any(i % 2 ? 4 : 6), TP_ACCESS_DENY};
        rules[i].prefix.bytes[1] = (uint8_t)(i >> 8);
        rules[i].prefix.bytes[2] = (uint8_t)i;
        rules[i].prefix.prefix = 24;
    }
    rules[MANY - 1] = (struct tp_rule){address("100.1.2.3", 32), TP_ACCESS_ALLOW};
    struct tp_prefixes *p = tp_prefixes_new(rules, MANY);
    CHECK(p && ask(p, "100.1.2.3") == TP_ACCESS_ALLOW);
    for (unsigned i = 0; i < 1000; i++)
        CHECK(tp_prefixes_find(p, &rules[i].prefix) == TP_ACCESS_DENY);
    tp_prefixes_free(p);
    free(rules);
}

int main(void)
{
    RUN(the_longest_prefix_wins_in_both_families);
    RUN(without_rules_everything_is_open);
    RUN(random_rules_give_what_a_search_through_all_gives);
    RUN(a_hundred_thousand_prefixes_are_fine);
    return 0;
}
