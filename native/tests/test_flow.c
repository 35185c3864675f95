// SPDX-License-Identifier: Apache-2.0
// Flow addresses: who gets which, who has it, and how late it is used again.
#include <arpa/inet.h>
#include <string.h>

#include "flow.h"
#include "harness.h"

/* Connections are only pointed to. */
static char people[4096];
#define PERSON(i) ((struct tp_conn *)(void *)&people[i])

static struct tp_address address(const char *text, unsigned prefix)
{
    struct tp_address a = {.family = strchr(text, ':') ? 6 : 4, .prefix = (uint8_t)prefix};
    CHECK(inet_pton(a.family == 4 ? AF_INET : AF_INET6, text, a.bytes) == 1);
    return a;
}

static struct tp_config gateway(unsigned workers, const char *pool4, unsigned prefix)
{
    return (struct tp_config){.workers = workers,
                              .reserved = 16,
                              .pool4 = address(pool4, prefix),
                              .pool6 = address("2001:2::", 64)};
}

static void an_address_finds_its_holder_and_only_while_it_is_held(void)
{
    struct tp_config config = gateway(1, "198.18.0.0", 24);
    struct tp_flows flows;
    struct tp_address flow, other = address("198.18.0.200", 0), v6;
    struct tp_claim *claim;
    CHECK(tp_flows_open(&flows, &config, 0) == 0);
    CHECK(tp_flow_assign(&flows, 4, PERSON(1), &flow));
    CHECK(tp_flow_assign(&flows, 6, PERSON(2), &v6));
    struct tp_address first4 = address("198.18.0.16", 0), first6 = address("2001:2::10", 0);
    CHECK(tp_address_same(&flow, &first4) && tp_address_same(&v6, &first6));
    CHECK(tp_flow_find(&flows, &flow, &claim) == PERSON(1) && !claim);
    CHECK(tp_flow_find(&flows, &v6, &claim) == PERSON(2));
    CHECK(!tp_flow_find(&flows, &other, &claim));
    tp_flow_return(&flows, &flow, PERSON(2)); /* not his */
    CHECK(tp_flow_find(&flows, &flow, &claim) == PERSON(1));
    tp_flow_return(&flows, &flow, PERSON(1));
    CHECK(!tp_flow_find(&flows, &flow, &claim));
    tp_flows_close(&flows);
}

static void addresses_outside_the_pool_find_nobody(void)
{
    static const char *const strangers[] = {"198.18.0.15",     "198.18.1.0", "198.17.255.255", "0.0.0.0",
                                            "255.255.255.255", "2001:2::f",  "2001:2:0:1::10", "::"};
    struct tp_config config = gateway(1, "198.18.0.0", 24);
    struct tp_flows flows;
    struct tp_address flow;
    struct tp_claim *claim;
    CHECK(tp_flows_open(&flows, &config, 0) == 0);
    while (tp_flow_assign(&flows, 4, PERSON(0), &flow))
        ;
    CHECK(tp_flow_assign(&flows, 6, PERSON(0), &flow));
    for (unsigned i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        struct tp_address stranger = address(strangers[i], 0);
        CHECK(!tp_flow_find(&flows, &stranger, &claim));
        tp_flow_return(&flows, &stranger, PERSON(0));
    }
    tp_flows_close(&flows);
}

static void a_returned_address_is_used_again_as_late_as_possible(void)
{
    struct tp_config config = gateway(1, "198.18.0.0", 26); /* 16 reserved, 47 left */
    struct tp_flows flows;
    struct tp_address flow, held[47];
    CHECK(tp_flows_open(&flows, &config, 0) == 0);
    for (unsigned i = 0; i < 40; i++)
        CHECK(tp_flow_assign(&flows, 4, PERSON(i), &held[i]));
    tp_flow_return(&flows, &held[5], PERSON(5));
    tp_flow_return(&flows, &held[3], PERSON(3));
    for (unsigned i = 40; i < 47; i++)
        CHECK(tp_flow_assign(&flows, 4, PERSON(i), &held[i]));
    CHECK(tp_flow_assign(&flows, 4, PERSON(5), &flow) && tp_address_same(&flow, &held[5]));
    CHECK(tp_flow_assign(&flows, 4, PERSON(3), &flow) && tp_address_same(&flow, &held[3]));
    CHECK(!tp_flow_assign(&flows, 4, PERSON(9), &flow));
    /* Round and round: the ring's end is no border. */
    for (unsigned i = 0; i < 500; i++) {
        tp_flow_return(&flows, &held[i % 47], PERSON(i % 47));
        CHECK(tp_flow_assign(&flows, 4, PERSON(i % 47), &flow) && tp_address_same(&flow, &held[i % 47]));
    }
    tp_flows_close(&flows);
}

static void workers_share_a_pool_by_the_kernels_rule(void)
{
    static bool taken[256];
    unsigned total = 0;
    memset(taken, 0, sizeof taken);
    for (unsigned worker = 0; worker < 3; worker++) {
        struct tp_config config = gateway(3, "198.18.7.0", 24);
        struct tp_flows flows;
        struct tp_address flow;
        CHECK(tp_flows_open(&flows, &config, worker) == 0);
        while (tp_flow_assign(&flows, 4, PERSON(1), &flow)) {
            CHECK(tp_address_low(&flow) % 3 == worker);
            CHECK(flow.bytes[2] == 7 && flow.bytes[3] >= 16 && flow.bytes[3] < 255 && !taken[flow.bytes[3]]);
            taken[flow.bytes[3]] = true;
            total++;
        }
        CHECK(tp_flow_assign(&flows, 6, PERSON(1), &flow) && tp_address_low(&flow) % 3 == worker);
        tp_flows_close(&flows);
    }
    CHECK(total == 256 - 16 - 1);
}

static void a_family_without_a_pool_has_no_addresses(void)
{
    struct tp_config config = gateway(1, "198.18.0.0", 24);
    struct tp_flows flows;
    struct tp_address flow;
    config.pool6.family = 0;
    CHECK(tp_flows_open(&flows, &config, 0) == 0);
    CHECK(!tp_flow_assign(&flows, 6, PERSON(1), &flow));
    tp_flows_close(&flows);
}

static void a_later_claim_takes_over_and_keeps_what_was_learnt(void)
{
    struct tp_config config = {.workers = 1};
    struct tp_flows flows;
    struct tp_address flow = address("198.51.100.2", 0), other = address("2001:db8::2", 0);
    struct tp_claim *claim;
    CHECK(tp_flows_open(&flows, &config, 0) == 0);
    CHECK(!tp_flow_find(&flows, &flow, &claim) && !claim);
    struct tp_claim *made = tp_flow_claim(&flows, &flow, PERSON(1));
    made->peer.port[TP_PORT_4500] = 4500;
    CHECK(tp_flow_claim(&flows, &other, PERSON(3)) != made);
    CHECK(tp_flow_claim(&flows, &flow, PERSON(2)) == made && made->peer.port[TP_PORT_4500] == 4500);
    CHECK(tp_flow_find(&flows, &flow, &claim) == PERSON(2) && claim == made);
    tp_flow_return(&flows, &flow, PERSON(1)); /* the older one: nothing changes */
    CHECK(tp_flow_find(&flows, &flow, &claim) == PERSON(2));
    tp_flow_return(&flows, &flow, PERSON(2));
    CHECK(!tp_flow_find(&flows, &flow, &claim) && claim == made);
    tp_flows_close(&flows);
}

int main(void)
{
    RUN(an_address_finds_its_holder_and_only_while_it_is_held);
    RUN(addresses_outside_the_pool_find_nobody);
    RUN(a_returned_address_is_used_again_as_late_as_possible);
    RUN(workers_share_a_pool_by_the_kernels_rule);
    RUN(a_family_without_a_pool_has_no_addresses);
    RUN(a_later_claim_takes_over_and_keeps_what_was_learnt);
    return 0;
}
