// SPDX-License-Identifier: Apache-2.0
#include "flow.h"

#include <stdlib.h>
#include <string.h>

/* Far more than connections may be open; a pool may have 2^64 addresses. */
static const uint64_t most_addresses = 1 << 20;

static void write_low(struct tp_address *address, uint32_t low)
{
    uint8_t *to = address->bytes + (address->family == 4 ? 0 : 12);
    to[0] = (uint8_t)(low >> 24);
    to[1] = (uint8_t)(low >> 16);
    to[2] = (uint8_t)(low >> 8);
    to[3] = (uint8_t)low;
}

static int pool_open(struct tp_pool *pool, const struct tp_address *base, uint32_t reserved, uint32_t workers,
                     uint32_t worker)
{
    *pool = (struct tp_pool){.first = *base, .stride = workers};
    if (base->family == 0)
        return 0;
    unsigned host_bits = (base->family == 4 ? 32 : 128) - base->prefix;
    uint64_t addresses = host_bits < 20 ? (uint64_t)1 << host_bits : most_addresses;
    uint32_t low = tp_address_low(base);
    uint32_t offset = reserved;
    while ((low + offset) % workers != worker)
        offset++;
    /* The last address of an IPv4 network is one for broadcasts to somebody: leave it. */
    uint64_t end = base->family == 4 ? addresses - 1 : addresses;
    pool->size = offset < end ? (uint32_t)((end - offset + workers - 1) / workers) : 0;
    pool->first.port = 0;
    pool->first.prefix = 0;
    write_low(&pool->first, low + offset);
    if (pool->size == 0)
        return 0;
    pool->ring = calloc(pool->size, sizeof *pool->ring);
    pool->holders = calloc(pool->size, sizeof *pool->holders);
    return pool->ring && pool->holders ? 0 : -1;
}

static void pool_close(struct tp_pool *pool)
{
    free(pool->ring);
    free(pool->holders);
    *pool = (struct tp_pool){0};
}

int tp_flows_open(struct tp_flows *flows, const struct tp_config *config, unsigned worker)
{
    *flows = (struct tp_flows){0};
    if (pool_open(&flows->pool4, &config->pool4, config->reserved, config->workers, worker) == -1)
        return -1;
    return pool_open(&flows->pool6, &config->pool6, config->reserved, config->workers, worker);
}

void tp_flows_close(struct tp_flows *flows)
{
    pool_close(&flows->pool4);
    pool_close(&flows->pool6);
    while (flows->claims) {
        struct tp_claim *next = flows->claims->next;
        free(flows->claims);
        flows->claims = next;
    }
}

bool tp_flow_assign(struct tp_flows *flows, unsigned family, struct tp_conn *holder, struct tp_address *flow)
{
    struct tp_pool *pool = family == 4 ? &flows->pool4 : &flows->pool6;
    uint32_t index;
    if (pool->fresh < pool->size) {
        index = pool->fresh++;
    } else if (pool->returned > 0) {
        index = pool->ring[pool->oldest];
        pool->oldest = (pool->oldest + 1) % pool->size;
        pool->returned--;
    } else {
        return false;
    }
    pool->holders[index] = holder;
    *flow = pool->first;
    write_low(flow, tp_address_low(&pool->first) + index * pool->stride);
    return true;
}

/* The index of `flow` in `pool`, or pool->size when it is not one of its own. */
static uint32_t index_of(const struct tp_pool *pool, const struct tp_address *flow)
{
    if (flow->family == 6 && memcmp(flow->bytes, pool->first.bytes, 12) != 0)
        return pool->size;
    uint32_t distance = tp_address_low(flow) - tp_address_low(&pool->first);
    if (distance % pool->stride != 0 || distance / pool->stride >= pool->size)
        return pool->size;
    return distance / pool->stride;
}

static struct tp_pool *pool_of(struct tp_flows *flows, const struct tp_address *flow)
{
    struct tp_pool *pool = flow->family == 4 ? &flows->pool4 : &flows->pool6;
    return pool->size > 0 ? pool : NULL;
}

bool tp_flow_index(struct tp_flows *flows, const struct tp_address *flow, uint32_t *index)
{
    struct tp_pool *pool = pool_of(flows, flow);
    if (!pool)
        return false;
    *index = index_of(pool, flow);
    return *index < pool->size;
}

bool tp_flow_restore(struct tp_flows *flows, const struct tp_address *flow, struct tp_conn *holder)
{
    uint32_t index;
    if (!tp_flow_index(flows, flow, &index))
        return false;
    struct tp_conn **place = &pool_of(flows, flow)->holders[index];
    if (*place)
        return false;
    *place = holder;
    return true;
}

static struct tp_claim *claim_of(struct tp_flows *flows, const struct tp_address *flow)
{
    struct tp_claim *claim = flows->claims;
    while (claim && !tp_address_same(&claim->flow, flow))
        claim = claim->next;
    return claim;
}

struct tp_claim *tp_flow_claim(struct tp_flows *flows, const struct tp_address *flow, struct tp_conn *holder)
{
    struct tp_claim *claim = claim_of(flows, flow);
    if (!claim) {
        claim = calloc(1, sizeof *claim);
        if (!claim)
            return NULL;
        claim->flow = *flow;
        claim->next = flows->claims;
        flows->claims = claim;
    }
    claim->holder = holder;
    return claim;
}

struct tp_conn *tp_flow_find(struct tp_flows *flows, const struct tp_address *flow, struct tp_claim **claim)
{
    *claim = NULL;
    struct tp_pool *pool = pool_of(flows, flow);
    if (pool) {
        uint32_t index = index_of(pool, flow);
        return index < pool->size ? pool->holders[index] : NULL;
    }
    *claim = claim_of(flows, flow);
    return *claim ? (*claim)->holder : NULL;
}

void tp_flow_return(struct tp_flows *flows, const struct tp_address *flow, const struct tp_conn *holder)
{
    struct tp_pool *pool = pool_of(flows, flow);
    if (pool) {
        uint32_t index = index_of(pool, flow);
        if (index == pool->size || pool->holders[index] != holder)
            return;
        pool->holders[index] = NULL;
        pool->ring[(pool->oldest + pool->returned) % pool->size] = index;
        pool->returned++;
        return;
    }
    struct tp_claim *claim = claim_of(flows, flow);
    if (claim && claim->holder == holder)
        claim->holder = NULL;
}
