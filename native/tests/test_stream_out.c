// SPDX-License-Identifier: Apache-2.0
// Writing a stream whose reader is slow in every way: what is on it are whole frames in order, the oldest are
// missing where the cap was reached, IKE never is.
#include "stage.h"

enum { TURNS = 4000, FRAME = TP_MAX_FRAME + 1 };

static struct tp_stage stage;

static void note(struct tp_sink *sink, struct tp_conn *from, const struct tp_datagram *run, unsigned count,
                 uint64_t now)
{
    (void)sink, (void)from, (void)run, (void)now;
    CHECK(count == 0); /* nothing comes from the stream here */
}

/* A small generator with a fixed seed: a failure can be seen again. */
static uint32_t chance(uint32_t below)
{
    static uint32_t state = 4500;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % below;
}

/* The reader: any amount at a time, frames checked as they become whole. */
static struct {
    uint8_t bytes[2 * FRAME];
    size_t size;
    uint64_t next_ike, esp, ike;
    uint64_t next[3]; /* of small, marked and bulk ESP: each keeps its order */
} reader;

static void put_number(uint8_t *to, uint32_t number)
{
    for (unsigned i = 0; i < 4; i++)
        to[i] = (uint8_t)(number >> (24 - 8 * i));
}

static uint32_t get_number(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void check_frame(enum tp_framing framing, const uint8_t *frame, size_t size)
{
    const uint8_t *payload = frame + tp_frame_header(framing);
    size -= tp_frame_header(framing);
    if (tp_kind_of(payload, size) == TP_IKE) {
        CHECK(tp_ike_header_ok(payload + TP_MARKER, size - TP_MARKER));
        CHECK(get_number(payload + 24) == reader.next_ike++);
        reader.ike++;
        return;
    }
    uint32_t number = get_number(payload + 4);
    uint8_t what = payload[3];
    CHECK(number >= reader.next[what]);
    reader.next[what] = number + 1;
    reader.esp++;
    for (size_t i = 8; i < size; i++)
        CHECK(payload[i] == (uint8_t)number);
}

static bool read_some(enum tp_framing framing, size_t most)
{
    size_t room = sizeof reader.bytes - reader.size;
    ssize_t n = recv(stage.peer, reader.bytes + reader.size, most < room ? most : room, MSG_DONTWAIT);
    if (n <= 0)
        return false;
    reader.size += (size_t)n;
    size_t at = 0;
    int length;
    while ((length = tp_frame_length(framing, reader.bytes + at, reader.size - at)) > 0) {
        check_frame(framing, reader.bytes + at, (size_t)length);
        at += (size_t)length;
    }
    CHECK(length == 0);
    memmove(reader.bytes, reader.bytes + at, reader.size - at);
    reader.size -= at;
    return true;
}

static uint64_t counted(enum tp_counter which)
{
    return tp_read(&stage.worker->counters.value[which]);
}

static void conversation(enum tp_protocol protocol)
{
    static uint8_t data[64][3000];
    uint32_t sent_esp = 0, sent_ike = 0;
    uint64_t full = counted(TP_C_link_to_stream_queue_full), late = counted(TP_C_link_to_stream_late),
             frames = counted(TP_C_link_to_stream_frames);
    enum tp_framing framing = protocol == TP_PROTOCOL_TPKT ? TP_FRAMING_TPKT : TP_FRAMING_RFC9329;
    memset(&reader, 0, sizeof reader);
    stage_enter(&stage);
    CHECK(setsockopt(stage.conn->fd, SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int)) == 0);
    CHECK(fcntl(stage.conn->fd, F_SETFL, O_NONBLOCK) == 0);
    CHECK(tp_stream_identified(stage.worker, stage.conn, protocol));
    for (unsigned turn = 0; turn < TURNS; turn++) {
        unsigned count = chance(20);
        for (unsigned i = 0; i < count; i++) {
            uint32_t size = 40 + chance(turn % 7 ? 1400 : 2900);
            memset(data[i], (int)sent_esp, size);
            if (chance(50) == 0) {
                bool bare = chance(2);
                memset(data[i], 0, size);
                uint8_t *message = data[i] + (bare ? 0 : TP_MARKER);
                put_number(message + 20, sent_ike++);
                put_number(message + 24, size - (bare ? 0 : TP_MARKER));
                tp_stream_offer(stage.worker, stage.conn, data[i], size, TP_IKE, 0, bare);
            } else {
                uint8_t dscp = chance(20) == 0 ? 46 : 0;
                put_number(data[i], 0xc0ffee00 + (dscp > 0 ? 1 : size <= TP_SMALL ? 0 : 2));
                put_number(data[i] + 4, sent_esp++);
                tp_stream_offer(stage.worker, stage.conn, data[i], size, TP_ESP, dscp, false);
            }
        }
        stage.worker->now += chance(12) * TP_MILLISECOND;
        tp_stream_flush(stage.worker);
        memset(data, 0xdd, sizeof data); /* what was not written must have been copied */
        CHECK(stage.conn->fd != -1 && stage.conn->queue.bytes <= stage.worker->config->queue_bytes);
        CHECK(stage.conn->wants_write == !tp_queue_empty(&stage.conn->queue));
        for (unsigned reads = chance(turn % 1000 < 300 ? 2 : 6); reads > 0; reads--) {
            read_some(framing, 1 + chance(5000));
            if (stage.conn->wants_write)
                tp_stream_writable(stage.worker, stage.conn);
        }
    }
    while (read_some(framing, FRAME) || !tp_queue_empty(&stage.conn->queue))
        tp_stream_writable(stage.worker, stage.conn);
    CHECK(reader.size == 0 && reader.ike == sent_ike && !stage.conn->wants_write);
    full = counted(TP_C_link_to_stream_queue_full) - full;
    late = counted(TP_C_link_to_stream_late) - late;
    CHECK(full > 0 && late > 0 && reader.esp == sent_esp - full - late);
    CHECK(tp_read(&stage.conn->stat[TP_STAT_DROPPED_FULL]) == full &&
          tp_read(&stage.conn->stat[TP_STAT_DROPPED_LATE]) == late);
    CHECK(counted(TP_C_link_to_stream_frames) - frames == reader.esp + reader.ike);
    CHECK(tp_read(&stage.conn->stat[TP_STAT_QUEUED]) == 0 &&
          tp_read(&stage.conn->stat[TP_STAT_DROPPED]) == full + late);
    tp_conn_close(stage.worker, stage.conn, TP_REASON_CONTROL);
    CHECK(stage_leave(&stage) == TP_REASON_CONTROL);
}

static void a_slow_reader_of_tpkt(void)
{
    conversation(TP_PROTOCOL_TPKT);
}

static void a_slow_reader_of_rfc_9329(void)
{
    conversation(TP_PROTOCOL_RFC9329);
}

static void a_reader_that_is_gone(void)
{
    static const uint8_t esp[100] = {1};
    stage_enter(&stage);
    CHECK(tp_stream_identified(stage.worker, stage.conn, TP_PROTOCOL_TPKT));
    CHECK(shutdown(stage.peer, SHUT_RD) == 0);
    tp_stream_offer(stage.worker, stage.conn, esp, sizeof esp, TP_ESP, 0, false);
    tp_stream_offer(stage.worker, stage.conn, esp, sizeof esp, TP_ESP, 0, false);
    tp_stream_flush(stage.worker);
    CHECK(stage.conn->fd == -1);
    CHECK(stage_leave(&stage) == TP_REASON_RESET);
}

static void a_connection_full_of_ike_is_given_up(void)
{
    static uint8_t message[1000];
    stage_enter(&stage);
    CHECK(fcntl(stage.conn->fd, F_SETFL, O_NONBLOCK) == 0);
    CHECK(tp_stream_identified(stage.worker, stage.conn, TP_PROTOCOL_TPKT));
    for (unsigned i = 0; i < 2000 && stage.conn->fd != -1; i++) {
        tp_stream_offer(stage.worker, stage.conn, message, sizeof message, TP_IKE, 0, false);
        tp_stream_flush(stage.worker);
    }
    CHECK(stage_leave(&stage) == TP_REASON_OUT_OF_MEMORY);
}

static void more_items_than_a_batch_holds_are_no_trouble(void)
{
    static uint8_t esp[8] = {1};
    stage_enter(&stage);
    CHECK(tp_stream_identified(stage.worker, stage.conn, TP_PROTOCOL_TPKT));
    memset(&reader, 0, sizeof reader);
    for (unsigned i = 0; i < TP_BATCH_ITEMS + 10; i++)
        tp_stream_offer(stage.worker, stage.conn, esp, sizeof esp, TP_ESP, 0, false);
    tp_stream_flush(stage.worker);
    uint64_t frames = 0;
    uint8_t frame[12];
    while (recv(stage.peer, frame, sizeof frame, MSG_DONTWAIT) == sizeof frame)
        frames++;
    CHECK(frames == TP_BATCH_ITEMS + 10);
    tp_conn_close(stage.worker, stage.conn, TP_REASON_CONTROL);
    stage_leave(&stage);
}

int main(void)
{
    struct tp_config config = stage_config();
    stage_open(&stage, &config, &(struct tp_sink){note});
    RUN(a_slow_reader_of_tpkt);
    RUN(a_slow_reader_of_rfc_9329);
    RUN(a_reader_that_is_gone);
    RUN(a_connection_full_of_ike_is_given_up);
    RUN(more_items_than_a_batch_holds_are_no_trouble);
    stage_close(&stage);
    return 0;
}
