// SPDX-License-Identifier: Apache-2.0
// What waits to be written to one stream (link_to_stream): whole frames, oldest first, in classes.
//
// The one place where it is decided which frame goes next and which is dropped. Today: IKE before the rest,
// a byte cap, and the oldest droppable frame gives way to the newest. A frame of which a part has been
// written is always finished, whatever it is; IKE is never dropped. Finer classes and a sojourn-time rule
// belong into tp_queue_class and drop_one. Must not know sockets: tp_queue_gather says what to write,
// tp_queue_written is told how much of it went out. One owner thread.
#ifndef TP_QUEUE_H
#define TP_QUEUE_H

#include <sys/uio.h>

#include "block.h"
#include "frame.h"

enum tp_class { TP_CLASS_IKE, TP_CLASS_BULK, TP_CLASSES };

enum tp_put { TP_PUT_OK, TP_PUT_QUEUE_FULL, TP_PUT_WORKER_FULL, TP_PUT_NO_MEMORY };

struct tp_queue {
    struct tp_block *begun; /* a part of it is on the stream */
    struct {
        struct tp_block *first, *last;
    } waiting[TP_CLASSES];
    uint32_t bytes; /* memory taken */
};

/* Frames that left the queue one way or the other. */
struct tp_tally {
    uint32_t frames, esp_frames;
    uint64_t bytes; /* of datagrams */
};

/* A frame as it comes: its header and its payload in two pieces, so that nothing is copied before it must. */
struct tp_frame {
    const uint8_t *header;
    const uint8_t *payload;
    uint32_t header_length; /* a marker that is to precede the payload counts here */
    uint32_t payload_length;
    uint32_t datagram; /* its size in statistics: with the marker, without framing */
    enum tp_kind kind;
};

static inline bool tp_queue_empty(const struct tp_queue *queue)
{
    return !queue->begun && !queue->waiting[TP_CLASS_IKE].first && !queue->waiting[TP_CLASS_BULK].first;
}

enum tp_class tp_queue_class(const struct tp_frame *frame);

/* Copies `frame` in. Older frames may be dropped for it: they are added to `dropped`. Anything but TP_PUT_OK
 * means that this frame itself is lost; for IKE that happens only when nothing but IKE and the begun frame
 * fills the cap, or memory is out: the stream can then not be served any more. */
enum tp_put tp_queue_put(struct tp_queue *queue, struct tp_blocks *blocks, uint32_t limit,
                         const struct tp_frame *frame, uint64_t now, struct tp_tally *dropped);

/* Copies in what is left of a frame whose first `written` bytes are on the stream already; the queue is
 * empty. */
enum tp_put tp_queue_begin(struct tp_queue *queue, struct tp_blocks *blocks, const struct tp_frame *frame,
                           uint32_t written, uint64_t now);

/* Fills at most `room` pieces with what to write next, in this order, about `budget` bytes; gives their
 * number. */
unsigned tp_queue_gather(const struct tp_queue *queue, struct iovec *pieces, unsigned room, size_t budget);

/* The first `bytes` of what tp_queue_gather gave are on the stream. */
void tp_queue_written(struct tp_queue *queue, struct tp_blocks *blocks, size_t bytes, struct tp_tally *done);

/* Gives everything back. */
void tp_queue_clear(struct tp_queue *queue, struct tp_blocks *blocks, struct tp_tally *dropped);

#endif
