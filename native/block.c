// SPDX-License-Identifier: Apache-2.0
#include "block.h"

#include <stdlib.h>

#include "frame.h"

/* What a worker keeps for reuse; beyond it blocks go back to the system: a burst is not kept for ever. */
static const size_t keep = 8 << 20;

/* Whole blocks with their bookkeeping. 2048 holds a frame of any Ethernet path, the last any frame. */
static const uint32_t sizes[TP_BLOCK_CLASSES] = {
    256, 512, 1024, 2048, 4096, 8192, 16384, 32768, TP_MAX_FRAME + 1 + sizeof(struct tp_block),
};

static unsigned class_of(size_t room)
{
    unsigned c = 0;
    while (c < TP_BLOCK_CLASSES - 1 && sizes[c] - sizeof(struct tp_block) < room)
        c++;
    return c;
}

void tp_blocks_open(struct tp_blocks *blocks, size_t limit)
{
    *blocks = (struct tp_blocks){.limit = limit};
}

void tp_blocks_close(struct tp_blocks *blocks)
{
    for (unsigned c = 0; c < TP_BLOCK_CLASSES; c++) {
        struct tp_block *block = blocks->free[c];
        while (block) {
            struct tp_block *next = block->next;
            free(block);
            block = next;
        }
        blocks->free[c] = NULL;
    }
    blocks->kept = 0;
}

size_t tp_block_cost(size_t room)
{
    return sizes[class_of(room)];
}

struct tp_block *tp_block_take(struct tp_blocks *blocks, size_t room, bool must)
{
    unsigned c = class_of(room);
    if (!must && (blocks->taken > blocks->limit || blocks->limit - blocks->taken < sizes[c]))
        return NULL;
    struct tp_block *block = blocks->free[c];
    if (block) {
        blocks->free[c] = block->next;
        blocks->kept -= sizes[c];
    } else {
        block = malloc(sizes[c]);
        if (!block)
            return NULL;
    }
    blocks->taken += sizes[c];
    *block = (struct tp_block){.room = sizes[c] - (uint32_t)sizeof *block, .size_class = (uint8_t)c};
    return block;
}

void tp_block_give(struct tp_blocks *blocks, struct tp_block *block)
{
    uint32_t size = sizes[block->size_class];
    blocks->taken -= size;
    if (keep - blocks->kept < size) {
        free(block);
        return;
    }
    block->next = blocks->free[block->size_class];
    blocks->free[block->size_class] = block;
    blocks->kept += size;
}
