// SPDX-License-Identifier: Apache-2.0
#include "prefixes.h"

#include <stdlib.h>

#include "bits.h"

enum { NESTED = 129 }; /* at most one prefix of each length holds an address */

struct ranges {
    struct tp_bits *start; /* sorted; the first is 0 */
    uint8_t *access;       /* from there to the next start */
    size_t count;
};

struct tp_prefixes {
    struct ranges family[2]; /* IPv4, IPv6 */
};

struct prefix {
    struct tp_bits start;
    uint32_t order;
    uint8_t length, access;
};

static int by_start(const void *left, const void *right)
{
    const struct prefix *a = left, *b = right;
    if (!tp_bits_same(a->start, b->start))
        return tp_bits_before(a->start, b->start) ? -1 : 1;
    if (a->length != b->length)
        return a->length < b->length ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

static struct tp_bits last_of(const struct prefix *prefix)
{
    struct tp_bits host = tp_bits_host(prefix->length);
    return (struct tp_bits){prefix->start.high | host.high, prefix->start.low | host.low};
}

static void begin(struct ranges *ranges, struct tp_bits start, uint8_t access)
{
    if (ranges->count > 0 && tp_bits_same(ranges->start[ranges->count - 1], start))
        ranges->count--;
    if (ranges->count > 0 && ranges->access[ranges->count - 1] == access)
        return;
    ranges->start[ranges->count] = start;
    ranges->access[ranges->count++] = access;
}

/* The innermost prefix ends: what is around it holds again behind it, unless that is behind all addresses. */
static void leave(struct ranges *ranges, const struct prefix *const *nest, unsigned depth)
{
    struct tp_bits last = last_of(nest[depth - 1]);
    struct tp_bits next = {last.high + (last.low == UINT64_MAX), last.low + 1};
    if (next.high != 0 || next.low != 0)
        begin(ranges, next, depth > 1 ? nest[depth - 2]->access : TP_ACCESS_OPEN);
}

static void flatten(struct ranges *ranges, const struct prefix *prefixes, size_t count)
{
    const struct prefix *nest[NESTED];
    unsigned depth = 0;
    begin(ranges, (struct tp_bits){0, 0}, TP_ACCESS_OPEN);
    for (size_t i = 0; i < count; i++) {
        const struct prefix *one = &prefixes[i];
        for (; depth > 0 && tp_bits_before(last_of(nest[depth - 1]), one->start); depth--)
            leave(ranges, nest, depth);
        if (depth > 0 && nest[depth - 1]->length == one->length)
            depth--; /* the same prefix once more */
        begin(ranges, one->start, one->access);
        nest[depth++] = one;
    }
    for (; depth > 0; depth--)
        leave(ranges, nest, depth);
}

static int make(struct ranges *ranges, const struct tp_rule *rules, size_t count, uint8_t family)
{
    size_t found = 0;
    struct prefix *prefixes = malloc((count + 1) * sizeof *prefixes);
    if (!prefixes)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct tp_address *at = &rules[i].prefix;
        if (at->family == family)
            prefixes[found++] = (struct prefix){
                .start = tp_bits_network(tp_bits_of(at), at->prefix),
                .order = (uint32_t)i,
                .length = at->prefix,
                .access = (uint8_t)rules[i].access,
            };
    }
    qsort(prefixes, found, sizeof *prefixes, by_start);
    ranges->start = malloc((2 * found + 1) * sizeof *ranges->start);
    ranges->access = malloc(2 * found + 1);
    if (ranges->start && ranges->access)
        flatten(ranges, prefixes, found);
    free(prefixes);
    return ranges->start && ranges->access ? 0 : -1;
}

struct tp_prefixes *tp_prefixes_new(const struct tp_rule *rules, size_t count)
{
    struct tp_prefixes *made = calloc(1, sizeof *made);
    if (made && make(&made->family[0], rules, count, 4) == 0 && make(&made->family[1], rules, count, 6) == 0)
        return made;
    tp_prefixes_free(made);
    return NULL;
}

void tp_prefixes_free(struct tp_prefixes *prefixes)
{
    if (!prefixes)
        return;
    for (unsigned i = 0; i < 2; i++) {
        free(prefixes->family[i].start);
        free(prefixes->family[i].access);
    }
    free(prefixes);
}

enum tp_access tp_prefixes_find(const struct tp_prefixes *prefixes, const struct tp_address *address)
{
    if (!prefixes)
        return TP_ACCESS_OPEN;
    const struct ranges *ranges = &prefixes->family[address->family == 6];
    struct tp_bits bits = tp_bits_of(address);
    size_t first = 0, behind = ranges->count; /* the range is in [first, behind) */
    while (behind - first > 1) {
        size_t middle = first + (behind - first) / 2;
        if (tp_bits_before(bits, ranges->start[middle]))
            behind = middle;
        else
            first = middle;
    }
    return (enum tp_access)ranges->access[first];
}
