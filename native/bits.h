// SPDX-License-Identifier: Apache-2.0
// Addresses as numbers of 128 bits, IPv4 in the first 32, so that prefixes of both families are alike; and the
// hash that strangers cannot steer.
#ifndef TP_BITS_H
#define TP_BITS_H

#include <stdbool.h>

#include "api.h"

struct tp_bits {
    uint64_t high, low;
};

static inline struct tp_bits tp_bits_of(const struct tp_address *address)
{
    unsigned count = address->family == 4 ? 4 : 16;
    struct tp_bits bits = {0, 0};
    for (unsigned i = 0; i < count; i++) {
        uint64_t byte = address->bytes[i];
        if (i < 8)
            bits.high |= byte << (56 - 8 * i);
        else
            bits.low |= byte << (120 - 8 * i);
    }
    return bits;
}

/* The bits behind the first `length` (0 to 128), set. */
static inline struct tp_bits tp_bits_host(unsigned length)
{
    return (struct tp_bits){
        length == 0 ? UINT64_MAX : length < 64 ? UINT64_MAX >> length : 0,
        length <= 64 ? UINT64_MAX : length < 128 ? UINT64_MAX >> (length - 64) : 0,
    };
}

static inline struct tp_bits tp_bits_network(struct tp_bits bits, unsigned length)
{
    struct tp_bits host = tp_bits_host(length);
    return (struct tp_bits){bits.high & ~host.high, bits.low & ~host.low};
}

static inline bool tp_bits_before(struct tp_bits a, struct tp_bits b)
{
    return a.high != b.high ? a.high < b.high : a.low < b.low;
}

static inline bool tp_bits_same(struct tp_bits a, struct tp_bits b)
{
    return a.high == b.high && a.low == b.low;
}

/* Back into the form the outside knows. */
static inline void tp_bits_write(struct tp_bits bits, struct tp_address *address)
{
    for (unsigned i = 0; i < sizeof address->bytes; i++)
        address->bytes[i] = (uint8_t)(i < 8 ? bits.high >> (56 - 8 * i) : bits.low >> (120 - 8 * i));
}

static inline uint64_t tp_bits_hash(struct tp_bits bits, uint64_t kind, uint64_t seed)
{
    uint64_t h = bits.high ^ seed ^ kind << 56;
    h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ h >> 27 ^ bits.low ^ seed >> 32) * UINT64_C(0x94d049bb133111eb);
    h = (h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    return h ^ h >> 31;
}

#endif
