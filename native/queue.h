// SPDX-License-Identifier: Apache-2.0
// What waits to be written to one stream (link_to_stream): whole frames, oldest first, in classes.
//
// The one place where it is decided which frame goes next and which is dropped. IKE goes first and is never
// dropped. Expedited frames (marked by their DSCP, or small and not marked at all) go before bulk, but not
// for ever. Expedited and bulk frames each have a CoDel, and a byte cap under which the oldest gives way. A
// frame of which a part has been written is always finished, whatever it is. Must not know sockets:
// tp_queue_pick says what to write, tp_queue_written is told how much of it went out. One owner thread.
#ifndef TP_QUEUE_H
#define TP_QUEUE_H

#include <sys/uio.h>

#include "block.h"
#include "codel.h"
#include "frame.h"

enum {
    /* DSCP from CS5 on: CS5 (signalling), VOICE-ADMIT, EF, CS6, CS7. RFC 4594 2.3. */
    TP_DSCP_EXPEDITED = 40,
    /* ESP up to this size is small: 20 ms of G.711 over IPv6 under the largest usual suite (AES-CBC with
     * HMAC-SHA2-512-256) take 280 bytes, under AES-GCM 256; so does a TCP acknowledgement, and a game's. */
    TP_SMALL = 288,
    /* Bulk that waits gets a frame after this many expedited bytes, about a fifth of the line at worst: and
     * a packet of each of 20 calls still goes before. */
    TP_EXPEDITED_RUN = 6000,
    /* The part of the cap that expedited frames may fill; what comes beyond it is treated as bulk. */
    TP_EXPEDITED_SHARE = 4,
    /* Up to as many waiting frames each one is worth a write, and a segment, of its own. */
    TP_SHORT_QUEUE = 8,
};

enum tp_class { TP_CLASS_IKE, TP_CLASS_EXPEDITED, TP_CLASS_BULK, TP_CLASSES };

/* Why a frame is expedited. */
enum tp_marking { TP_SMALL_UNMARKED, TP_MARKED, TP_MARKINGS };

enum tp_put { TP_PUT_OK, TP_PUT_QUEUE_FULL, TP_PUT_WORKER_FULL, TP_PUT_NO_MEMORY };

struct tp_line {
    struct tp_block *first, *last;
    uint32_t bytes;  /* still to be written */
    uint32_t memory; /* taken */
};

struct tp_queue {
    struct tp_block *begun;  /* a part of it is on the stream */
    struct tp_block *picked; /* being written: between tp_queue_pick and tp_queue_written */
    struct tp_line waiting[TP_CLASSES];
    struct tp_codel expedited, bulk;
    uint32_t bytes;   /* memory taken */
    uint32_t frames;  /* waiting in classes */
    uint32_t run;     /* expedited bytes picked since bulk had its turn */
    uint32_t demoted[TP_MARKINGS]; /* expedited frames that wait in bulk */
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
    uint8_t dscp; /* of the datagram's IP header */
};

/* What is wanted of tp_queue_pick: about `budget` bytes; urgent frames, or all of them, one at a time. */
struct tp_wish {
    size_t budget;
    bool urgent_alone, all_alone;
};

static inline bool tp_queue_empty(const struct tp_queue *queue)
{
    return !queue->begun && queue->frames == 0;
}

/* Something waits that is worth a write at once. */
static inline bool tp_queue_urgent(const struct tp_queue *queue)
{
    return queue->waiting[TP_CLASS_IKE].first || queue->waiting[TP_CLASS_EXPEDITED].first;
}

/* What a frame is by itself. */
enum tp_class tp_frame_class(const struct tp_frame *frame);

/* Where it would wait in `queue`, which may hold `limit` bytes: expedited frames beyond their share wait in
 * bulk, and so do those that come later, small or marked like them, until they are gone: order is kept. */
enum tp_class tp_queue_place(const struct tp_queue *queue, uint32_t limit, const struct tp_frame *frame);

/* Copies `frame` in, to where tp_queue_place says. Older frames may be dropped for it: they are added to
 * `dropped`. Anything but TP_PUT_OK means that this frame itself is lost; for IKE that happens only when
 * nothing but IKE and the begun frame fills the cap, or memory is out: the stream can then not be served any
 * more. */
enum tp_put tp_queue_put(struct tp_queue *queue, struct tp_blocks *blocks, uint32_t limit,
                         const struct tp_frame *frame, uint64_t now, struct tp_tally *dropped);

/* Copies in what is left of a frame whose first `written` bytes are on the stream already; nothing else has
 * begun. */
enum tp_put tp_queue_begin(struct tp_queue *queue, struct tp_blocks *blocks, const struct tp_frame *frame,
                           uint32_t written, uint64_t now);

/* Fills at most `room` pieces with what to write next, in this order; gives their number, which is 0 only for
 * an empty queue. What has waited too long is dropped and added to `late`. tp_queue_written follows. */
unsigned tp_queue_pick(struct tp_queue *queue, struct tp_blocks *blocks, uint64_t now, struct tp_wish wish,
                       struct iovec *pieces, unsigned room, struct tp_tally *late);

/* The first `bytes` of what tp_queue_pick gave are on the stream; what has not begun goes back. */
void tp_queue_written(struct tp_queue *queue, struct tp_blocks *blocks, size_t bytes, struct tp_tally *done);

/* For a hand-over, between turns: tells every block, in order within its class; and puts one that was told to
 * the end of its class in another queue. False: it is not fit for a queue. */
void tp_queue_each(const struct tp_queue *queue,
                   void (*tell)(void *context, const struct tp_block *block, bool begun), void *context);
bool tp_queue_restore(struct tp_queue *queue, struct tp_block *block, bool begun);

/* Gives everything back. */
void tp_queue_clear(struct tp_queue *queue, struct tp_blocks *blocks, struct tp_tally *dropped);

#endif
