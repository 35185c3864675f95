// SPDX-License-Identifier: Apache-2.0
// Reading a stream: the same datagrams however it is cut, memory only while something is incomplete, and an
// end with a reason for everything that is wrong.
#include "stage.h"

enum { STREAM = 300000, NOTED = 64 };

static struct tp_stage stage;

static struct {
    unsigned count;
    uint64_t bytes;
    uint32_t size[NOTED];
    uint32_t sum;
} noted;

static void note(struct tp_sink *sink, struct tp_conn *from, const struct tp_datagram *run, unsigned count,
                 uint64_t now)
{
    (void)sink, (void)now;
    CHECK(from == stage.conn && count > 0);
    for (unsigned i = 0; i < count; i++) {
        if (noted.count < NOTED)
            noted.size[noted.count] = run[i].length;
        noted.count++;
        noted.bytes += run[i].length;
        for (uint32_t b = 0; b < run[i].length; b++)
            noted.sum = noted.sum * 31 + run[i].data[b];
        CHECK(run[i].kind == tp_kind_of(run[i].data, run[i].length));
    }
}

static size_t add_frame(uint8_t *to, uint32_t size, uint8_t mark)
{
    size_t header = tp_frame_write_header(TP_FRAMING_TPKT, to, size);
    memset(to + header, mark, size);
    return header + size;
}

/* A marker and a header that says its length; `off` makes it wrong by as much. */
static size_t add_ike(uint8_t *to, uint32_t size, uint8_t off)
{
    size_t length = add_frame(to, size, 0);
    to[4 + 4] = 0x11; /* of the initiator's SPI */
    to[4 + 4 + 26] = (uint8_t)((size - 4) >> 8);
    to[4 + 4 + 27] = (uint8_t)((size - 4) + off);
    return length;
}

static void enter(void)
{
    stage_enter(&stage);
    memset(&noted, 0, sizeof noted);
}

static enum tp_reason hang_up(void)
{
    CHECK(shutdown(stage.peer, SHUT_WR) == 0);
    tp_stream_readable(stage.worker, stage.conn);
    return stage_leave(&stage);
}

static void any_cut_gives_the_same_datagrams(void)
{
    static uint8_t stream[STREAM];
    static const size_t steps[] = {STREAM, 1, 2, 3, 5, 7, 1404, 4096, 65536, 100000};
    size_t size = 0;
    size += add_frame(stream + size, 8, 1);
    size += add_frame(stream + size, 65531, 2);
    size += add_ike(stream + size, 32, 0);
    size += add_frame(stream + size, 1400, 3);
    size += add_frame(stream + size, 1, 0xff);
    size += add_frame(stream + size, 0, 0);
    size += add_frame(stream + size, 20000, 4);
    size += add_frame(stream + size, 3000, 5);
    for (unsigned i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        static uint32_t sum;
        enter();
        for (size_t at = 0; at < size; at += steps[i]) {
            stage_feed(&stage, stream + at, size - at < steps[i] ? size - at : steps[i]);
            CHECK(stage.conn->fd != -1);
        }
        CHECK(noted.count == 6 && noted.bytes == 8 + 65531 + 32 + 1400 + 20000 + 3000);
        CHECK(i == 0 || sum == noted.sum);
        sum = noted.sum;
        CHECK(!stage.conn->partial && stage.conn->head_length == 0 && stage.worker->blocks.taken == 0);
        CHECK(!stage.conn->frame.later);
        CHECK(hang_up() == TP_REASON_FIN);
    }
}

static void what_a_peer_announces_is_not_lent_to_it(void)
{
    static const uint8_t header[] = {1, 0, 0xff, 0xff};
    static uint8_t more[1000];
    enter();
    stage_feed(&stage, header, sizeof header);
    CHECK(stage.worker->blocks.taken <= 4096);
    for (unsigned i = 0; i < 5; i++)
        stage_feed(&stage, more, sizeof more);
    CHECK(stage.worker->blocks.taken <= 8 * 5004 + 4096);
    CHECK(hang_up() == TP_REASON_FIN_IN_FRAME);
    CHECK(noted.count == 0);
}

static void a_frame_keeps_its_first_deadline_until_it_is_whole(void)
{
    static const uint8_t frame[] = {1, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8};
    enter();
    stage_feed(&stage, frame, 2);
    uint64_t first = stage.conn->frame.at;
    CHECK(stage.conn->frame.later);
    for (size_t i = 2; i < sizeof frame - 1; i++) {
        stage.worker->now += TP_MILLISECOND;
        stage_feed(&stage, frame + i, 1);
        CHECK(stage.conn->frame.later && stage.conn->frame.at == first);
    }
    uint8_t two[2] = {frame[sizeof frame - 1], 1}; /* the last byte, and the first of the next */
    stage_feed(&stage, two, 2);
    CHECK(noted.count == 1 && stage.conn->frame.later && stage.conn->frame.at > first);
    stage_feed(&stage, frame + 1, sizeof frame - 1);
    CHECK(noted.count == 2 && !stage.conn->frame.later);
    CHECK(hang_up() == TP_REASON_FIN);
}

static void seventeen_bad_ike_headers_are_too_many_and_good_ones_pass_before(void)
{
    uint8_t frame[64];
    enter();
    size_t size = add_ike(frame, 32, 1);
    for (unsigned i = 0; i < TP_MAX_BAD_IKE; i++)
        stage_feed(&stage, frame, size);
    CHECK(stage.conn->fd != -1 && noted.count == 0);
    size = add_ike(frame, 32, 0);
    stage_feed(&stage, frame, size);
    CHECK(noted.count == 1 && stage.conn->fd != -1);
    size = add_frame(frame, 10, 0); /* a marker and no header behind it is bad IKE as well */
    stage_feed(&stage, frame, size);
    CHECK(stage.conn->fd == -1);
    CHECK(stage_leave(&stage) == TP_REASON_BAD_IKE);
}

static void every_wrong_stream_ends_with_its_reason(void)
{
    static const struct {
        const char *bytes;
        size_t size;
        enum tp_reason reason;
    } cases[] = {
        {"\1\0\0\3", 4, TP_REASON_BAD_LENGTH},        {"\1\0\0\4\2", 5, TP_REASON_BAD_VERSION},
        {"\1\0\0\4\1\1", 6, TP_REASON_BAD_RESERVED},  {"\3\0\0\26", 4, TP_REASON_UNKNOWN_PROTOCOL},
        {"\1\1", 2, TP_REASON_UNKNOWN_PROTOCOL},      {"IKETCP\0\1", 8, TP_REASON_BAD_LENGTH},
        {"IKETCQ", 6, TP_REASON_UNKNOWN_PROTOCOL},    {"\26\3\1\2\0", 5, TP_REASON_TLS_NOT_CONFIGURED},
        {"SSH-2.0-x", 9, TP_REASON_UNKNOWN_PROTOCOL},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int byte_by_byte = 0; byte_by_byte < 2; byte_by_byte++) {
            enter();
            size_t step = byte_by_byte ? 1 : cases[i].size;
            for (size_t at = 0; at < cases[i].size && stage.conn->fd != -1; at += step)
                stage_feed(&stage, (const uint8_t *)cases[i].bytes + at, step);
            CHECK(stage_leave(&stage) == cases[i].reason);
        }
    }
}

static void without_memory_for_a_partial_frame_the_connection_ends(void)
{
    static const uint8_t begun[] = {1, 0, 8, 0, 1, 2, 3, 4, 5};
    enter();
    stage.worker->blocks.limit = 100;
    stage_feed(&stage, begun, sizeof begun);
    stage.worker->blocks.limit = 1 << 20;
    CHECK(stage_leave(&stage) == TP_REASON_OUT_OF_MEMORY);
}

static void an_http_client_reads_its_answer(void)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    char answer[512];
    enter();
    stage_feed(&stage, (const uint8_t *)request, sizeof request - 1);
    CHECK(stage.conn->card.state == TP_LINGERING);
    stage_feed(&stage, (const uint8_t *)request, sizeof request - 1);
    ssize_t n = read(stage.peer, answer, sizeof answer - 1);
    CHECK(n > 0);
    answer[n] = 0;
    CHECK(strncmp(answer, "HTTP/1.1 404 ", 13) == 0);
    char *body = strstr(answer, "\r\n\r\n"), *length = strstr(answer, "Content-Length: ");
    CHECK(body && length && strlen(body + 4) == strtoul(length + 16, NULL, 10));
    CHECK(read(stage.peer, answer, 1) == 0); /* half-closed */
    CHECK(hang_up() == TP_REASON_HTTP);
}

int main(void)
{
    struct tp_config config = stage_config();
    stage_open(&stage, &config, &(struct tp_sink){note});
    RUN(any_cut_gives_the_same_datagrams);
    RUN(what_a_peer_announces_is_not_lent_to_it);
    RUN(a_frame_keeps_its_first_deadline_until_it_is_whole);
    RUN(seventeen_bad_ike_headers_are_too_many_and_good_ones_pass_before);
    RUN(every_wrong_stream_ends_with_its_reason);
    RUN(without_memory_for_a_partial_frame_the_connection_ends);
    RUN(an_http_client_reads_its_answer);
    stage_close(&stage);
    return 0;
}
