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

static uint32_t left_of(const struct tp_block *block)
{
    return block->end - block->start;
}

/* `sign` 1: a block joins the line of its class, -1: it leaves. */
static void account(struct tp_queue *queue, const struct tp_block *block, int sign)
{
    struct tp_line *line = &queue->waiting[block->line];
    line->bytes += (uint32_t)sign * left_of(block);
    line->memory += (uint32_t)sign * (uint32_t)tp_block_cost(block->room);
    queue->frames += (uint32_t)sign;
    if (block->demoted > 0)
        queue->demoted[block->demoted - 1] += (uint32_t)sign;
}

static struct tp_block *pop(struct tp_queue *queue, enum tp_class class)
{
    struct tp_line *line = &queue->waiting[class];
    struct tp_block *block = line->first;
    line->first = block->next;
    if (!block->next)
        line->last = NULL;
    block->next = NULL;
    account(queue, block, -1);
    return block;
}

static void push(struct tp_queue *queue, struct tp_block *block)
{
    struct tp_line *line = &queue->waiting[block->line];
    if (line->last)
        line->last->next = block;
    else
        line->first = block;
    line->last = block;
    account(queue, block, 1);
}

static void push_back(struct tp_queue *queue, struct tp_block *block)
{
    struct tp_line *line = &queue->waiting[block->line];
    block->next = line->first;
    line->first = block;
    if (!line->last)
        line->last = block;
    account(queue, block, 1);
}

/* The oldest frame that may be lost for one of `class` gives way. False when there is none. */
static bool drop_one(struct tp_queue *queue, struct tp_blocks *blocks, enum tp_class class,
                     struct tp_tally *dropped)
{
    enum tp_class from = TP_CLASS_BULK;
    if (!queue->waiting[from].first) {
        from = TP_CLASS_EXPEDITED;
        if (class == TP_CLASS_BULK || !queue->waiting[from].first)
            return false;
    }
    struct tp_block *block = pop(queue, from);
    tally(dropped, block);
    give(queue, blocks, block);
    return true;
}

enum tp_class tp_frame_class(const struct tp_frame *frame)
{
    if (frame->kind == TP_IKE)
        return TP_CLASS_IKE;
    bool small = frame->dscp == 0 && frame->datagram <= TP_SMALL;
    return small || frame->dscp >= TP_DSCP_EXPEDITED ? TP_CLASS_EXPEDITED : TP_CLASS_BULK;
}

static enum tp_marking marking(const struct tp_frame *frame)
{
    return frame->dscp == 0 ? TP_SMALL_UNMARKED : TP_MARKED;
}

enum tp_class tp_queue_place(const struct tp_queue *queue, uint32_t limit, const struct tp_frame *frame)
{
    enum tp_class class = tp_frame_class(frame);
    if (class != TP_CLASS_EXPEDITED)
        return class;
    bool share_is_used_up = queue->waiting[class].memory >= limit / TP_EXPEDITED_SHARE;
    bool must_not_overtake = queue->demoted[marking(frame)] > 0;
    return share_is_used_up || must_not_overtake ? TP_CLASS_BULK : class;
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
    enum tp_class class = tp_queue_place(queue, limit, frame);
    size_t cost = tp_block_cost(frame->header_length + frame->payload_length);
    while (queue->bytes > limit || limit - queue->bytes < cost) {
        if (!drop_one(queue, blocks, class, dropped))
            return TP_PUT_QUEUE_FULL;
    }
    while (blocks->taken > blocks->limit || blocks->limit - blocks->taken < cost) {
        if (drop_one(queue, blocks, class, dropped))
            continue;
        if (class != TP_CLASS_IKE)
            return TP_PUT_WORKER_FULL;
        break; /* others fill the worker's cap; IKE is small and goes through */
    }
    struct tp_block *block = copy(blocks, frame, 0, class == TP_CLASS_IKE, now);
    if (!block)
        return TP_PUT_NO_MEMORY;
    block->line = (uint8_t)class;
    block->demoted = class != tp_frame_class(frame) ? (uint8_t)(1 + marking(frame)) : 0;
    queue->bytes += (uint32_t)tp_block_cost(block->room);
    push(queue, block);
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

/* Whose turn it is; TP_CLASSES when nothing waits. */
static enum tp_class next_class(const struct tp_queue *queue)
{
    bool bulk = queue->waiting[TP_CLASS_BULK].first != NULL;
    if (queue->waiting[TP_CLASS_IKE].first)
        return TP_CLASS_IKE;
    if (queue->waiting[TP_CLASS_EXPEDITED].first && !(bulk && queue->run >= TP_EXPEDITED_RUN))
        return TP_CLASS_EXPEDITED;
    return bulk ? TP_CLASS_BULK : TP_CLASSES;
}

/* The first of `class` that has not waited too long. CoDel leaves the last one. */
static struct tp_block *take(struct tp_queue *queue, struct tp_blocks *blocks, enum tp_class class,
                             uint64_t now, struct tp_tally *late)
{
    struct tp_block *block = pop(queue, class);
    struct tp_codel *codel = class == TP_CLASS_BULK ? &queue->bulk : &queue->expedited;
    while (class != TP_CLASS_IKE &&
           tp_codel_drop(codel, now, block->since, queue->waiting[class].bytes)) {
        tally(late, block);
        give(queue, blocks, block);
        block = pop(queue, class);
    }
    if (class == TP_CLASS_EXPEDITED && queue->waiting[TP_CLASS_BULK].first)
        queue->run += left_of(block);
    else if (class != TP_CLASS_IKE)
        queue->run = 0;
    return block;
}

static struct iovec piece_of(const struct tp_block *block)
{
    /* Only read from: iovec has no const. */
    return (struct iovec){(void *)(uintptr_t)(block->data + block->start), left_of(block)};
}

unsigned tp_queue_pick(struct tp_queue *queue, struct tp_blocks *blocks, uint64_t now, struct tp_wish wish,
                       struct iovec *pieces, unsigned room, struct tp_tally *late)
{
    struct tp_block **end = &queue->picked;
    unsigned count = 0;
    size_t bytes = 0;
    if (queue->begun) {
        pieces[count++] = piece_of(queue->begun);
        bytes = left_of(queue->begun);
        if (wish.all_alone)
            return count;
    }
    while (count < room && bytes < wish.budget) {
        enum tp_class class = next_class(queue);
        bool alone = wish.all_alone || (wish.urgent_alone && class != TP_CLASS_BULK);
        if (class == TP_CLASSES || (alone && count > 0))
            break;
        struct tp_block *block = take(queue, blocks, class, now, late);
        *end = block;
        end = &block->next;
        pieces[count++] = piece_of(block);
        bytes += left_of(block);
        if (alone)
            break;
    }
    return count;
}

/* Puts what was picked back to where it was, the last one first. */
static void unpick(struct tp_queue *queue)
{
    struct tp_block *reversed = NULL;
    while (queue->picked) {
        struct tp_block *block = queue->picked;
        queue->picked = block->next;
        block->next = reversed;
        reversed = block;
    }
    while (reversed) {
        struct tp_block *block = reversed;
        reversed = block->next;
        push_back(queue, block);
    }
}

void tp_queue_written(struct tp_queue *queue, struct tp_blocks *blocks, size_t bytes, struct tp_tally *done)
{
    while (bytes > 0) {
        struct tp_block *block = queue->begun;
        if (!block) {
            block = queue->picked;
            queue->picked = block->next;
            block->next = NULL;
        }
        queue->begun = block;
        if (bytes < left_of(block)) {
            block->start += (uint32_t)bytes;
            break;
        }
        bytes -= left_of(block);
        queue->begun = NULL;
        tally(done, block);
        give(queue, blocks, block);
    }
    unpick(queue);
}

void tp_queue_each(const struct tp_queue *queue,
                   void (*tell)(void *context, const struct tp_block *block, bool begun), void *context)
{
    if (queue->begun)
        tell(context, queue->begun, true);
    for (enum tp_class class = 0; class < TP_CLASSES; class ++) {
        for (const struct tp_block *block = queue->waiting[class].first; block; block = block->next)
            tell(context, block, false);
    }
}

bool tp_queue_restore(struct tp_queue *queue, struct tp_block *block, bool begun)
{
    if (block->line >= TP_CLASSES || block->demoted > TP_MARKINGS || left_of(block) == 0 ||
        (begun && queue->begun))
        return false;
    queue->bytes += (uint32_t)tp_block_cost(block->room);
    if (begun)
        queue->begun = block;
    else
        push(queue, block);
    return true;
}

void tp_queue_clear(struct tp_queue *queue, struct tp_blocks *blocks, struct tp_tally *dropped)
{
    unpick(queue);
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
