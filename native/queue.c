// SPDX-License-Identifier: Apache-2.0
#include "queue.h"

static void tally(struct tp_tally *to, const struct tp_block *block)
{
    to->frames++;
    to->esp_frames += block->kind == TP_ESP;
    to->bytes += block->payload;
}

static void give(struct tp_queue *queue, struct tp_blocks *blocks, struct tp_block *block)
{
    queue->bytes -= (uint32_t)tp_block_cost(block->room);
    tp_block_give(blocks, block);
}

static struct tp_block *pop(struct tp_queue *queue, enum tp_class class)
{
    struct tp_block *block = queue->waiting[class].first;
    queue->waiting[class].first = block->next;
    if (!block->next)
        queue->waiting[class].last = NULL;
    block->next = NULL;
    return block;
}

static void push(struct tp_queue *queue, enum tp_class class, struct tp_block *block)
{
    if (queue->waiting[class].last)
        queue->waiting[class].last->next = block;
    else
        queue->waiting[class].first = block;
    queue->waiting[class].last = block;
}

/* The oldest frame that may be lost gives way. False when there is none. */
static bool drop_one(struct tp_queue *queue, struct tp_blocks *blocks, struct tp_tally *dropped)
{
    if (!queue->waiting[TP_CLASS_BULK].first)
        return false;
    struct tp_block *block = pop(queue, TP_CLASS_BULK);
    tally(dropped, block);
    give(queue, blocks, block);
    return true;
}

enum tp_class tp_queue_class(const struct tp_frame *frame)
{
    return frame->kind == TP_IKE ? TP_CLASS_IKE : TP_CLASS_BULK;
}

/* A block with the bytes of `frame` from `skip` on. */
static struct tp_block *copy(struct tp_blocks *blocks, const struct tp_frame *frame, uint32_t skip, bool must,
                             uint64_t now)
{
    uint32_t length = frame->header_length + frame->payload_length;
    struct tp_block *block = tp_block_take(blocks, length - skip, must);
    if (!block)
        return NULL;
    if (skip < frame->header_length) {
        uint32_t header = frame->header_length - skip;
        memcpy(block->data, frame->header + skip, header);
        memcpy(block->data + header, frame->payload, frame->payload_length);
    } else {
        uint32_t sent = skip - frame->header_length;
        memcpy(block->data, frame->payload + sent, frame->payload_length - sent);
    }
    block->end = length - skip;
    block->payload = frame->datagram;
    block->kind = (uint8_t)frame->kind;
    block->since = now;
    return block;
}

enum tp_put tp_queue_put(struct tp_queue *queue, struct tp_blocks *blocks, uint32_t limit,
                         const struct tp_frame *frame, uint64_t now, struct tp_tally *dropped)
{
    enum tp_class class = tp_queue_class(frame);
    size_t cost = tp_block_cost(frame->header_length + frame->payload_length);
    while (queue->bytes > limit || limit - queue->bytes < cost) {
        if (!drop_one(queue, blocks, dropped))
            return TP_PUT_QUEUE_FULL;
    }
    while (blocks->taken > blocks->limit || blocks->limit - blocks->taken < cost) {
        if (drop_one(queue, blocks, dropped))
            continue;
        if (class != TP_CLASS_IKE)
            return TP_PUT_WORKER_FULL;
        break; /* others fill the worker's cap; IKE is small and goes through */
    }
    struct tp_block *block = copy(blocks, frame, 0, class == TP_CLASS_IKE, now);
    if (!block)
        return TP_PUT_NO_MEMORY;
    queue->bytes += (uint32_t)tp_block_cost(block->room);
    push(queue, class, block);
    return TP_PUT_OK;
}

enum tp_put tp_queue_begin(struct tp_queue *queue, struct tp_blocks *blocks, const struct tp_frame *frame,
                           uint32_t written, uint64_t now)
{
    struct tp_block *block = copy(blocks, frame, written, true, now);
    if (!block)
        return TP_PUT_NO_MEMORY;
    queue->bytes += (uint32_t)tp_block_cost(block->room);
    queue->begun = block;
    return TP_PUT_OK;
}

unsigned tp_queue_gather(const struct tp_queue *queue, struct iovec *pieces, unsigned room, size_t budget)
{
    const struct tp_block *lists[] = {
        queue->begun,
        queue->waiting[TP_CLASS_IKE].first,
        queue->waiting[TP_CLASS_BULK].first,
    };
    unsigned count = 0;
    size_t bytes = 0;
    for (unsigned i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        for (const struct tp_block *block = lists[i]; block; block = block->next) {
            if (count == room || bytes >= budget)
                return count;
            /* Only read from: iovec has no const. */
            pieces[count].iov_base = (void *)(uintptr_t)(block->data + block->start);
            pieces[count].iov_len = block->end - block->start;
            bytes += pieces[count].iov_len;
            count++;
        }
    }
    return count;
}

void tp_queue_written(struct tp_queue *queue, struct tp_blocks *blocks, size_t bytes, struct tp_tally *done)
{
    while (bytes > 0) {
        struct tp_block *block = queue->begun;
        if (!block)
            block = pop(queue, queue->waiting[TP_CLASS_IKE].first ? TP_CLASS_IKE : TP_CLASS_BULK);
        queue->begun = block;
        uint32_t left = block->end - block->start;
        if (bytes < left) {
            block->start += (uint32_t)bytes;
            return;
        }
        bytes -= left;
        queue->begun = NULL;
        tally(done, block);
        give(queue, blocks, block);
    }
}

void tp_queue_clear(struct tp_queue *queue, struct tp_blocks *blocks, struct tp_tally *dropped)
{
    if (queue->begun) {
        tally(dropped, queue->begun);
        give(queue, blocks, queue->begun);
        queue->begun = NULL;
    }
    for (enum tp_class class = 0; class < TP_CLASSES; class ++) {
        while (queue->waiting[class].first) {
            struct tp_block *block = pop(queue, class);
            tally(dropped, block);
            give(queue, blocks, block);
        }
    }
}
