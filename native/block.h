// SPDX-License-Identifier: Apache-2.0
// Memory for bytes that must wait: a frame in a queue, a frame of which only a part has arrived.
//
// Blocks come in a few sizes from free lists, so that traffic allocates nothing; what waits is accounted in
// memory really taken, against one cap for the whole worker. One owner thread; must not know what is inside.
#ifndef TP_BLOCK_H
#define TP_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TP_BLOCK_CLASSES = 9 };

struct tp_block {
    struct tp_block *next; /* in a list of its holder's */
    uint64_t since;        /* when it began to wait */
    uint32_t room;         /* bytes in data[] */
    uint32_t start;        /* of what is still wanted in data[] */
    uint32_t end;          /* of what is there in data[] */
    uint32_t payload;      /* bytes of datagram in the frame held here */
    uint8_t kind;          /* tp_kind of that datagram */
    uint8_t size_class;
    uint8_t line;    /* tp_class in which it waits */
    uint8_t demoted; /* 1 + tp_marking: belongs into a faster one */
    uint8_t data[];
};

struct tp_blocks {
    struct tp_block *free[TP_BLOCK_CLASSES];
    size_t kept;  /* bytes in the free lists */
    size_t taken; /* bytes in blocks handed out */
    size_t limit; /* on taken */
};

void tp_blocks_open(struct tp_blocks *blocks, size_t limit);
void tp_blocks_close(struct tp_blocks *blocks);

/* Bytes that a block with `room` takes from the caps. */
size_t tp_block_cost(size_t room);

/* A block with room for at least `room` bytes (at most TP_MAX_FRAME); NULL beyond the cap, unless `must`, or
 * when the system has no memory. start, end, payload and next are 0. */
struct tp_block *tp_block_take(struct tp_blocks *blocks, size_t room, bool must);

void tp_block_give(struct tp_blocks *blocks, struct tp_block *block);

#endif
