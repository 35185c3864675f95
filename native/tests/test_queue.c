// SPDX-License-Identifier: Apache-2.0
// The queue in front of a stream: what goes next, what is dropped, and what it costs.
#include "harness.h"
#include "queue.h"

enum { CAP = 16384, BIG = 1400 };

static struct tp_blocks blocks;
static struct tp_queue queue;
static struct tp_tally dropped, done;
static uint8_t header[TP_MAX_HEADER], payload[TP_MAX_FRAME];

static void fresh(size_t worker_cap)
{
    tp_queue_clear(&queue, &blocks, &dropped);
    CHECK(blocks.taken == 0);
    CHECK(queue.bytes == 0);
    tp_blocks_close(&blocks);
    tp_blocks_open(&blocks, worker_cap);
    queue = (struct tp_queue){0};
    dropped = done = (struct tp_tally){0};
}

/* A TPKT' frame whose payload is filled with `mark`; `header` and `payload` must not change until it is used.
 */
static struct tp_frame frame(enum tp_kind kind, uint32_t size, uint8_t mark)
{
    memset(payload, mark, size);
    uint32_t length = (uint32_t)tp_frame_write_header(TP_FRAMING_TPKT, header, size);
    return (struct tp_frame){header, payload, length, size, size, kind};
}

static enum tp_put put(enum tp_kind kind, uint32_t size, uint8_t mark)
{
    struct tp_frame f = frame(kind, size, mark);
    return tp_queue_put(&queue, &blocks, CAP, &f, 0, &dropped);
}

/* Writes at most `room` bytes and checks that they are the next ones; gives the marks of frames they came
 * from. */
static size_t write_some(size_t room, uint8_t *out)
{
    struct iovec pieces[64];
    unsigned count = tp_queue_gather(&queue, pieces, 64, TP_MAX_FRAME);
    size_t bytes = 0;
    for (unsigned i = 0; i < count && bytes < room; i++) {
        size_t n = pieces[i].iov_len < room - bytes ? pieces[i].iov_len : room - bytes;
        memcpy(out + bytes, pieces[i].iov_base, n);
        bytes += n;
    }
    tp_queue_written(&queue, &blocks, bytes, &done);
    return bytes;
}

static void frames_leave_in_order_and_whole(void)
{
    uint8_t out[8 * (4 + 10)];
    fresh(1 << 20);
    for (uint8_t i = 0; i < 8; i++)
        CHECK(put(TP_ESP, 10, i) == TP_PUT_OK);
    CHECK(write_some(sizeof out, out) == sizeof out);
    for (uint8_t i = 0; i < 8; i++) {
        CHECK(tp_frame_length(TP_FRAMING_TPKT, out + i * 14, 14) == 14);
        CHECK(out[i * 14 + 4] == i && out[i * 14 + 13] == i);
    }
    CHECK(tp_queue_empty(&queue));
    CHECK(done.frames == 8 && done.esp_frames == 8 && done.bytes == 80);
    CHECK(blocks.taken == 0);
}

static void ike_goes_before_what_has_not_begun(void)
{
    uint8_t out[64];
    fresh(1 << 20);
    put(TP_ESP, 10, 'a');
    put(TP_ESP, 10, 'b');
    CHECK(write_some(1, out) == 1);
    put(TP_IKE, 10, 'i');
    CHECK(write_some(41, out + 1) == 41);
    CHECK(out[4] == 'a' && out[14 + 4] == 'i' && out[28 + 4] == 'b');
    CHECK(tp_queue_empty(&queue));
}

static void the_oldest_frame_gives_way_and_the_begun_one_does_not(void)
{
    uint8_t out[TP_MAX_FRAME];
    fresh(1 << 20);
    CHECK(put(TP_ESP, BIG, 'a') == TP_PUT_OK);
    CHECK(write_some(100, out) == 100);
    for (unsigned i = 0; i < 100; i++) {
        CHECK(put(TP_ESP, BIG, (uint8_t)i) == TP_PUT_OK);
        CHECK(queue.bytes <= CAP);
        CHECK(blocks.taken == queue.bytes);
    }
    /* One begun and seven more fit; of a hundred the last seven are left. */
    CHECK(dropped.frames == 93 && dropped.bytes == 93 * BIG);
    CHECK(write_some(sizeof out, out + 100) == 8 * (4 + BIG) - 100);
    CHECK(out[4] == 'a' && out[BIG + 3] == 'a');
    CHECK(out[BIG + 4 + 4] == 93 && out[7 * (BIG + 4) + 4] == 99);
}

static void ike_is_never_dropped(void)
{
    uint8_t out[TP_MAX_FRAME];
    fresh(1 << 20);
    CHECK(put(TP_IKE, 200, 'i') == TP_PUT_OK);
    for (unsigned i = 0; i < 100; i++)
        CHECK(put(TP_ESP, BIG, (uint8_t)i) == TP_PUT_OK);
    CHECK(put(TP_IKE, 200, 'j') == TP_PUT_OK);
    CHECK(write_some(2 * 204, out) == 2 * 204);
    CHECK(out[4] == 'i' && out[204 + 4] == 'j');
}

static void ike_alone_fills_the_cap_and_then_says_so(void)
{
    fresh(1 << 20);
    unsigned taken = 0;
    while (put(TP_IKE, 900, 'i') == TP_PUT_OK)
        taken++;
    CHECK(taken == CAP / 1024);
    CHECK(put(TP_ESP, 10, 'e') == TP_PUT_QUEUE_FULL);
    CHECK(put(TP_IKE, 10, 'e') == TP_PUT_QUEUE_FULL);
    CHECK(dropped.frames == 0 && queue.bytes <= CAP);
}

static void a_full_worker_takes_ike_and_drops_the_rest(void)
{
    fresh(4096);
    struct tp_block *elsewhere = tp_block_take(&blocks, 3900, false);
    CHECK(elsewhere);
    CHECK(put(TP_ESP, 100, 'e') == TP_PUT_WORKER_FULL);
    CHECK(put(TP_IKE, 100, 'i') == TP_PUT_OK);
    tp_block_give(&blocks, elsewhere);
    CHECK(put(TP_ESP, 100, 'e') == TP_PUT_OK);
}

static void a_frame_cut_at_any_byte_is_finished(void)
{
    enum { SIZE = 20, LENGTH = SIZE + 4 };
    for (uint32_t cut = 1; cut < LENGTH; cut++) {
        uint8_t out[2 * LENGTH], whole[LENGTH];
        fresh(1 << 20);
        struct tp_frame f = frame(TP_ESP, SIZE, 'x');
        memcpy(whole, header, 4);
        memcpy(whole + 4, payload, SIZE);
        CHECK(tp_queue_begin(&queue, &blocks, &f, cut, 0) == TP_PUT_OK);
        put(TP_IKE, SIZE, 'i');
        memcpy(out, whole, cut);
        /* One byte at a time, so that the border is met at every place. */
        for (size_t at = cut; at < sizeof out; at++)
            CHECK(write_some(1, out + at) == 1);
        CHECK(memcmp(out, whole, LENGTH) == 0 && out[LENGTH + 4] == 'i');
        CHECK(done.frames == 2 && done.esp_frames == 1 && tp_queue_empty(&queue));
    }
}

static void gathering_stops_at_its_room_and_about_its_budget(void)
{
    struct iovec pieces[8];
    fresh(1 << 20);
    for (unsigned i = 0; i < 6; i++)
        put(TP_ESP, 1000, 0);
    CHECK(tp_queue_gather(&queue, pieces, 4, 1 << 20) == 4);
    CHECK(tp_queue_gather(&queue, pieces, 8, 1 << 20) == 6);
    CHECK(tp_queue_gather(&queue, pieces, 8, 1500) == 2);
}

static void a_frame_longer_than_the_cap_is_refused_alone(void)
{
    fresh(1 << 20);
    CHECK(put(TP_ESP, 60000, 0) == TP_PUT_QUEUE_FULL);
    CHECK(tp_queue_empty(&queue) && blocks.taken == 0);
}

static void blocks_of_all_sizes_are_reused_and_given_back(void)
{
    fresh(1 << 20);
    for (size_t room = 1; room <= TP_MAX_FRAME; room += 97) {
        struct tp_block *block = tp_block_take(&blocks, room, false);
        CHECK(block && block->room >= room && block->start == 0 && block->end == 0);
        CHECK(tp_block_cost(block->room) == tp_block_cost(room));
        memset(block->data, 1, block->room);
        tp_block_give(&blocks, block);
        CHECK(tp_block_take(&blocks, room, false) == block);
        tp_block_give(&blocks, block);
    }
    CHECK(blocks.taken == 0 && blocks.kept < 1 << 18);
}

int main(void)
{
    RUN(frames_leave_in_order_and_whole);
    RUN(ike_goes_before_what_has_not_begun);
    RUN(the_oldest_frame_gives_way_and_the_begun_one_does_not);
    RUN(ike_is_never_dropped);
    RUN(ike_alone_fills_the_cap_and_then_says_so);
    RUN(a_full_worker_takes_ike_and_drops_the_rest);
    RUN(a_frame_cut_at_any_byte_is_finished);
    RUN(gathering_stops_at_its_room_and_about_its_budget);
    RUN(a_frame_longer_than_the_cap_is_refused_alone);
    RUN(blocks_of_all_sizes_are_reused_and_given_back);
    fresh(0);
    return 0;
}
