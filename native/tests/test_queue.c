// SPDX-License-Identifier: Apache-2.0
// The queue in front of a stream: what goes next, what is dropped, and what it costs.
#include "harness.h"
#include "queue.h"

enum { CAP = 16384, BIG = 1400 };

static struct tp_blocks blocks;
static struct tp_queue queue;
static struct tp_tally dropped, late, done;
static uint64_t now;
static uint8_t header[TP_MAX_HEADER], payload[TP_MAX_FRAME];

static void fresh(size_t worker_cap)
{
    tp_queue_clear(&queue, &blocks, &dropped);
    CHECK(blocks.taken == 0);
    CHECK(queue.bytes == 0);
    tp_blocks_close(&blocks);
    tp_blocks_open(&blocks, worker_cap);
    queue = (struct tp_queue){0};
    dropped = late = done = (struct tp_tally){0};
    now = TP_SECOND;
}

/* A TPKT' frame whose payload is filled with `mark`; `header` and `payload` must not change until it is used.
 */
static struct tp_frame frame(enum tp_kind kind, uint32_t size, uint8_t dscp, uint8_t mark)
{
    memset(payload, mark, size);
    uint32_t length = (uint32_t)tp_frame_write_header(TP_FRAMING_TPKT, header, size);
    return (struct tp_frame){header, payload, length, size, size, kind, dscp};
}

static enum tp_put put(enum tp_kind kind, uint32_t size, uint8_t mark)
{
    struct tp_frame f = frame(kind, size, 0, mark);
    return tp_queue_put(&queue, &blocks, CAP, &f, now, &dropped);
}

static enum tp_put put_marked(uint8_t dscp, uint32_t size, uint8_t mark)
{
    struct tp_frame f = frame(TP_ESP, size, dscp, mark);
    return tp_queue_put(&queue, &blocks, CAP, &f, now, &dropped);
}

/* Writes at most `room` bytes and checks that they are the next ones; gives the marks of frames they came
 * from. */
static size_t write_some(size_t room, uint8_t *out)
{
    struct iovec pieces[64];
    struct tp_wish wish = {.budget = room};
    unsigned count = tp_queue_pick(&queue, &blocks, now, wish, pieces, 64, &late);
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
        struct tp_frame f = frame(TP_ESP, SIZE, 0, 'x');
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

/* How many pieces are picked; nothing of them is written. */
static unsigned picked(struct tp_wish wish, unsigned room)
{
    struct iovec pieces[64];
    unsigned count = tp_queue_pick(&queue, &blocks, now, wish, pieces, room, &late);
    tp_queue_written(&queue, &blocks, 0, &done);
    return count;
}

static void picking_stops_at_its_room_and_about_its_budget(void)
{
    fresh(1 << 20);
    for (unsigned i = 0; i < 6; i++)
        put(TP_ESP, 1000, 0);
    CHECK(picked((struct tp_wish){.budget = 1 << 20}, 4) == 4);
    CHECK(picked((struct tp_wish){.budget = 1 << 20}, 8) == 6);
    CHECK(picked((struct tp_wish){.budget = 1500}, 8) == 2);
    CHECK(picked((struct tp_wish){.budget = 1 << 20, .all_alone = true}, 8) == 1);
    CHECK(picked((struct tp_wish){.budget = 1 << 20, .urgent_alone = true}, 8) == 6);
    put(TP_ESP, 100, 0);
    CHECK(picked((struct tp_wish){.budget = 1 << 20, .urgent_alone = true}, 8) == 1);
    CHECK(picked((struct tp_wish){.budget = 1 << 20}, 8) == 7);
}

/* The marks of whole frames of `size`, as they leave. */
static void expect(const char *marks, uint32_t size)
{
    uint8_t out[TP_MAX_FRAME];
    for (; *marks; marks++) {
        CHECK(write_some(4 + size, out) == 4 + size);
        CHECK(out[4] == (uint8_t)*marks);
    }
}

static void marked_and_small_frames_go_before_bulk(void)
{
    fresh(1 << 20);
    put_marked(0, TP_SMALL + 1, 'b');     /* bulk */
    put_marked(39, TP_SMALL + 1, 'c');    /* below CS5: bulk */
    put_marked(40, TP_SMALL + 1, 'm');    /* CS5 */
    put_marked(46, TP_SMALL + 1, 'n');    /* EF */
    put(TP_IKE, TP_SMALL + 1, 'i');
    expect("imnbc", TP_SMALL + 1);
    put_marked(0, TP_SMALL + 1, 'b');
    put_marked(8, TP_SMALL, 'c'); /* small, but marked as less than best effort */
    put_marked(0, TP_SMALL, 's');
    expect("s", TP_SMALL);
    expect("b", TP_SMALL + 1);
    expect("c", TP_SMALL);
    CHECK(tp_queue_empty(&queue));
}

static void bulk_is_not_starved_by_what_goes_before_it(void)
{
    uint8_t out[TP_MAX_FRAME];
    unsigned bulk = 0, expedited = 0;
    fresh(1 << 20);
    for (unsigned i = 0; i < 5; i++)
        put(TP_ESP, BIG, 'b');
    while (bulk < 5) {
        put_marked(46, 196, 'e'); /* there is always one more */
        struct iovec piece;
        CHECK(tp_queue_pick(&queue, &blocks, now, (struct tp_wish){.budget = 1}, &piece, 1, &late) == 1);
        memcpy(out, piece.iov_base, piece.iov_len);
        tp_queue_written(&queue, &blocks, piece.iov_len, &done);
        bulk += out[4] == 'b';
        expedited += out[4] == 'e';
        CHECK(expedited * 200 <= (bulk + 1) * (TP_EXPEDITED_RUN + 200));
    }
    CHECK(expedited * 200 >= 5 * TP_EXPEDITED_RUN);
    CHECK(dropped.frames == 0 && late.frames == 0);
}

static void expedited_frames_beyond_their_share_become_bulk_and_keep_their_order(void)
{
    enum { SIZE = 200, COST = 256, SHARE = CAP / TP_EXPEDITED_SHARE / COST };
    static const uint8_t markings[] = {0, 46};
    for (unsigned m = 0; m < 2; m++) {
        uint8_t out[4 + SIZE], next = 0;
        fresh(1 << 20);
        for (uint8_t i = 0; i < SHARE + 4; i++)
            CHECK(put_marked(markings[m], SIZE, i) == TP_PUT_OK);
        CHECK(queue.demoted[m] == 4 && queue.demoted[!m] == 0);
        /* Its share is free again, but those that wait in bulk come first. */
        for (unsigned i = 0; i < SHARE; i++) {
            CHECK(write_some(sizeof out, out) == sizeof out);
            CHECK(out[4] == next++);
        }
        CHECK(put_marked(markings[m], SIZE, SHARE + 4) == TP_PUT_OK);
        CHECK(put_marked(markings[!m], SIZE, 'o') == TP_PUT_OK); /* others are not held up */
        expect("o", SIZE);
        for (unsigned i = 0; i < 5; i++) {
            CHECK(write_some(sizeof out, out) == sizeof out);
            CHECK(out[4] == next++);
        }
        CHECK(queue.demoted[m] == 0 && tp_queue_empty(&queue));
        CHECK(put_marked(markings[m], SIZE, 'e') == TP_PUT_OK);
        CHECK(queue.waiting[TP_CLASS_EXPEDITED].first);
    }
}

static void what_waits_too_long_for_too_long_is_dropped_from_the_head(void)
{
    uint8_t out[BIG + 4], last = 0;
    fresh(1 << 20);
    put(TP_IKE, 100, 'i');
    uint64_t begin = now;
    /* A frame a millisecond comes and goes, and every frame waits for seven. */
    for (unsigned i = 0; i < 7; i++, now += TP_MILLISECOND)
        put(TP_ESP, BIG, last++);
    CHECK(write_some(104, out) == 104);
    while (late.frames == 0) {
        put(TP_ESP, BIG, last++);
        CHECK(write_some(BIG + 4, out) == BIG + 4);
        now += TP_MILLISECOND;
    }
    CHECK(now - begin >= TP_CODEL_INTERVAL && now - begin < 2 * TP_CODEL_INTERVAL);
    /* The oldest was lost, and the one behind it left in its place. */
    CHECK(late.frames == 1 && out[4] == (uint8_t)(last - 7) && dropped.frames == 0);
}

static void neither_ike_nor_a_begun_frame_is_ever_late(void)
{
    uint8_t out[BIG + 4];
    fresh(1 << 20);
    put(TP_ESP, BIG, 'a');
    CHECK(write_some(1, out) == 1);
    for (unsigned i = 0; i < 4; i++)
        put(TP_IKE, 1000, 'i');
    for (unsigned i = 0; i < 4; i++) {
        now += 10 * TP_SECOND;
        CHECK(write_some(1, out + 1 + i) == 1);
    }
    CHECK(write_some(BIG + 4 - 5, out + 5) == BIG + 4 - 5 && out[4] == 'a' && out[BIG + 3] == 'a');
    for (unsigned i = 0; i < 4; i++) {
        now += 10 * TP_SECOND;
        CHECK(write_some(1004, out) == 1004 && out[4] == 'i');
    }
    CHECK(late.frames == 0 && dropped.frames == 0);
}

static void what_was_picked_and_not_written_is_where_it_was(void)
{
    fresh(1 << 20);
    for (uint8_t i = 'a'; i < 'f'; i++)
        put(TP_ESP, 1000, i);
    put(TP_IKE, 1000, 'i');
    struct tp_queue before = queue;
    CHECK(picked((struct tp_wish){.budget = 1 << 20}, 64) == 6);
    CHECK(before.frames == queue.frames && before.bytes == queue.bytes);
    CHECK(before.waiting[TP_CLASS_BULK].bytes == queue.waiting[TP_CLASS_BULK].bytes);
    expect("iabcde", 1000);
    CHECK(tp_queue_empty(&queue));
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
    RUN(picking_stops_at_its_room_and_about_its_budget);
    RUN(marked_and_small_frames_go_before_bulk);
    RUN(bulk_is_not_starved_by_what_goes_before_it);
    RUN(expedited_frames_beyond_their_share_become_bulk_and_keep_their_order);
    RUN(what_waits_too_long_for_too_long_is_dropped_from_the_head);
    RUN(neither_ike_nor_a_begun_frame_is_ever_late);
    RUN(what_was_picked_and_not_written_is_where_it_was);
    RUN(a_frame_longer_than_the_cap_is_refused_alone);
    RUN(blocks_of_all_sizes_are_reused_and_given_back);
    fresh(0);
    return 0;
}
