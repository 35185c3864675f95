// SPDX-License-Identifier: Apache-2.0
// A pump's state is written, cut off anywhere, changed anywhere, and read: a successor is whole or is none, and
// either way no memory and no descriptor is lost (AddressSanitizer looks).
#include "moving.h"

#include <dirent.h>

#include "stage.h"
#include "tlv.h"

enum { CHANGES = 3000 };

static struct tp_stage stage;
static struct tp_config config;
static struct tp_conn *half, *full;
static int peers[2];

static void note(struct tp_sink *sink, struct tp_conn *from, const struct tp_datagram *run, unsigned count,
                 uint64_t now)
{
    (void)sink, (void)from, (void)run, (void)now, (void)count;
}

static uint32_t chance(uint32_t below)
{
    static uint32_t state = 9329;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % below;
}

static unsigned descriptors(void)
{
    unsigned count = 0;
    DIR *all = opendir("/proc/self/fd");
    CHECK(all);
    while (readdir(all))
        count++;
    closedir(all);
    return count;
}

/* One connection in the middle of a frame, one with frames that wait and a begun one before them. */
static void set_the_stage(void)
{
    static const struct tp_sink silent = {.deliver = note};
    static const uint8_t begun[] = {1, 0, 0x10, 0, 0xc0, 0xff, 0xee, 1, 0, 0, 0, 1};
    static uint8_t payload[1400] = {0xc0, 0xff, 0xee, 2};
    config = stage_config();
    stage_open(&stage, &config, &silent);
    stage_enter(&stage);
    half = stage.conn;
    peers[0] = stage.peer;
    stage_feed(&stage, begun, sizeof begun);
    CHECK(half->partial && half->partial->end == sizeof begun);
    stage_enter(&stage);
    full = stage.conn;
    peers[1] = stage.peer;
    stage_feed(&stage, begun, 2);
    CHECK(full->card.state == TP_OPEN);
    uint8_t header[4] = {1, 0, 0x05, 0x7c};
    struct tp_frame frame = {header, payload, 4, sizeof payload, sizeof payload, TP_ESP, 0};
    struct tp_tally dropped = {0};
    CHECK(tp_queue_begin(&full->queue, &stage.worker->blocks, &frame, 700, 1) == TP_PUT_OK);
    for (unsigned i = 0; i < 5; i++) {
        frame.kind = i % 2 ? TP_IKE : TP_ESP;
        CHECK(tp_queue_put(&full->queue, &stage.worker->blocks, 1 << 16, &frame, 2, &dropped) == TP_PUT_OK);
    }
    stage.pump->frozen = true;
}

static void leave_the_stage(void)
{
    stage_close(&stage);
    close(peers[0]);
    close(peers[1]);
}

struct listing {
    const struct tp_block *block[16];
    unsigned count;
};

static void list(void *context, const struct tp_block *block, bool begun)
{
    struct listing *to = context;
    CHECK(to->count < 16 && begun == (to->count == 0));
    to->block[to->count++] = block;
}

/* Another pump reads `moving`; NULL when it refuses. */
static struct tp_pump *succeed(const struct tp_moving *moving)
{
    struct tp_error error = {0};
    struct tp_config other = config;
    int fds[64];
    CHECK(moving->descriptor_count <= 64);
    for (unsigned i = 0; i < moving->descriptor_count; i++) {
        fds[i] = dup(moving->descriptors[i]);
        CHECK(fds[i] != -1);
    }
    struct tp_moving copy = *moving;
    copy.descriptors = fds;
    struct tp_pump *pump = tp_pump_new(&other);
    CHECK(pump && tp_pump_prepare(pump, &error) == 0);
    if (tp_pump_import(pump, &copy, &error) == 0)
        return pump;
    CHECK(error.text[0]);
    tp_pump_free(pump);
    return NULL;
}

static void what_was_written_is_read(void)
{
    struct tp_moving moving;
    struct tp_error error;
    set_the_stage();
    CHECK(tp_pump_export(stage.pump, &moving, &error) == 0);
    CHECK(moving.descriptor_count == 2);
    struct tp_pump *pump = succeed(&moving);
    CHECK(pump && pump->open == 2);
    struct tp_worker *w = pump->workers;
    struct tp_conn *now_half = tp_conn_by_id(&w->conns, half->card.id);
    struct tp_conn *now_full = tp_conn_by_id(&w->conns, full->card.id);
    CHECK(now_half && now_full);
    CHECK(now_half->partial->end == half->partial->end && now_half->partial->room == half->partial->room);
    CHECK(memcmp(now_half->partial->data, half->partial->data, half->partial->end) == 0);
    CHECK(now_half->frame.at == half->frame.at && now_half->opening.at == half->opening.at);
    CHECK(now_full->head_length == 2 && memcmp(now_full->head, full->head, 2) == 0);
    CHECK(now_full->queue.bytes == full->queue.bytes && now_full->wants_write);
    struct listing old = {0}, new = {0};
    tp_queue_each(&full->queue, list, &old);
    tp_queue_each(&now_full->queue, list, &new);
    CHECK(old.count == 6 && new.count == 6 && old.block[0]->end - old.block[0]->start == 704);
    for (unsigned i = 0; i < old.count; i++) {
        const struct tp_block *was = old.block[i], *is = new.block[i];
        CHECK(was->end - was->start == is->end - is->start && was->line == is->line && was->kind == is->kind);
        CHECK(memcmp(was->data + was->start, is->data + is->start, is->end - is->start) == 0);
    }
    CHECK(tp_read(&w->counters.value[TP_C_adopted]) == 2);
    CHECK(tp_deadlines_next(&w->frame) == half->frame.at);
    tp_pump_free(pump);
    tp_moving_free(&moving);
    leave_the_stage();
}

static void what_is_cut_off_is_refused(void)
{
    struct tp_moving moving;
    struct tp_error error;
    set_the_stage();
    CHECK(tp_pump_export(stage.pump, &moving, &error) == 0);
    unsigned before = descriptors();
    for (uint64_t size = 0; size < moving.size; size++) {
        uint8_t *bytes = malloc(size + 1);
        CHECK(bytes);
        memcpy(bytes, moving.bytes, size);
        struct tp_moving cut = moving;
        cut.bytes = bytes;
        cut.size = size;
        CHECK(!succeed(&cut));
        free(bytes);
    }
    CHECK(descriptors() == before);
    tp_moving_free(&moving);
    leave_the_stage();
}

static void whatever_is_changed_nothing_breaks(void)
{
    struct tp_moving moving;
    struct tp_error error;
    set_the_stage();
    CHECK(tp_pump_export(stage.pump, &moving, &error) == 0);
    unsigned before = descriptors();
    for (unsigned i = 0; i < CHANGES; i++) {
        uint8_t *bytes = malloc(moving.size);
        CHECK(bytes);
        memcpy(bytes, moving.bytes, moving.size);
        for (unsigned n = chance(3) + 1; n > 0; n--)
            bytes[chance((uint32_t)moving.size)] = (uint8_t)chance(256);
        struct tp_moving changed = moving;
        changed.bytes = bytes;
        struct tp_pump *pump = succeed(&changed);
        if (pump)
            tp_pump_free(pump);
        free(bytes);
    }
    CHECK(descriptors() == before);
    tp_moving_free(&moving);
    leave_the_stage();
}

static void items_of_a_later_version_are_passed_over(void)
{
    struct tp_writer out = {0};
    struct tp_reader in;
    struct tp_view view;
    size_t begun = tp_write_begin(&out, 7);
    tp_write_item(&out, 9, "later", 5);
    tp_write_end(&out, begun);
    in = (struct tp_reader){out.bytes, out.bytes + out.size};
    CHECK(tp_read_item(&in, &view) == 1 && view.tag == 7 && view.size == TP_TLV_HEADER + 5);
    in = tp_inside(&view);
    CHECK(tp_read_item(&in, &view) == 1 && view.tag == 9 && memcmp(view.data, "later", 5) == 0);
    CHECK(tp_read_item(&in, &view) == 0);
    free(out.bytes);
}

int main(void)
{
    RUN(items_of_a_later_version_are_passed_over);
    RUN(what_was_written_is_read);
    RUN(what_is_cut_off_is_refused);
    RUN(whatever_is_changed_nothing_breaks);
    return 0;
}
