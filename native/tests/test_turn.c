// SPDX-License-Identifier: Apache-2.0
// A worker's turns: who is read first and how much, when some streams bring all they can.
#include <errno.h>

#include "stage.h"

enum { HEAVY = 3, TURNS = 200, FRAME = 1404 };

static struct tp_stage stage;
static struct tp_conn *conn[HEAVY + 1]; /* the last is the light one */
static int peer[HEAVY + 1];
static uint64_t brought[HEAVY + 1];
static size_t before_light; /* bytes of others that came in this turn before the light one's */
static bool light_came;

static void note(struct tp_sink *sink, struct tp_conn *from, const struct tp_datagram *run, unsigned count,
                 uint64_t now)
{
    (void)sink, (void)now;
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++)
        bytes += run[i].length;
    for (unsigned i = 0; i <= HEAVY; i++)
        brought[i] += from == conn[i] ? bytes : 0;
    if (from == conn[HEAVY])
        light_came = true;
    else if (!light_came)
        before_light += bytes;
}

static void write_frame(int fd, size_t length)
{
    static uint8_t frame[FRAME] = {1};
    tp_frame_write_header(TP_FRAMING_TPKT, frame, length - TP_TPKT_HEADER);
    memset(frame + TP_TPKT_HEADER, 0xcc, 8);
    CHECK(send(fd, frame, length, MSG_DONTWAIT) == (ssize_t)length || errno == EAGAIN);
}

/* Whole frames as long as there is room: the socket pair takes all of a small write or nothing. */
static void top_up(int fd)
{
    for (errno = 0; errno != EAGAIN;)
        write_frame(fd, FRAME);
}

static void enter(unsigned index)
{
    stage_enter(&stage);
    conn[index] = stage.conn;
    peer[index] = stage.peer;
    CHECK(fcntl(conn[index]->fd, F_SETFL, O_NONBLOCK) == 0);
    CHECK(setsockopt(peer[index], SOL_SOCKET, SO_SNDBUF, &(int){1 << 20}, sizeof(int)) == 0);
    CHECK(tp_stream_identified(stage.worker, conn[index], TP_PROTOCOL_TPKT));
}

static void whoever_brings_little_is_served_before_those_that_bring_much(void)
{
    for (unsigned i = 0; i <= HEAVY; i++)
        enter(i);
    for (unsigned turn = 0; turn < TURNS; turn++) {
        uint64_t all = brought[0] + brought[1] + brought[2];
        for (unsigned i = 0; i < HEAVY; i++)
            top_up(peer[i]);
        write_frame(peer[HEAVY], 204);
        before_light = 0;
        light_came = false;
        tp_worker_turn(stage.worker, 0);
        CHECK(light_came);
        /* Once it is known who brings much, nothing of theirs comes first, and a turn is one large read. */
        CHECK(turn == 0 || before_light == 0);
        CHECK(turn == 0 || brought[0] + brought[1] + brought[2] - all < 2 * TP_RECEIVE_BYTES);
    }
    CHECK(brought[HEAVY] == TURNS * 200);
    for (unsigned i = 1; i < HEAVY; i++)
        CHECK(brought[i] > brought[0] / 10 * 9 && brought[0] > brought[i] / 10 * 9);
}

static void a_connection_may_end_while_it_waits_for_its_turn(void)
{
    for (unsigned i = 0; i < HEAVY; i++)
        top_up(peer[i]);
    tp_worker_turn(stage.worker, 0);
    CHECK(stage.worker->heavy.first && stage.worker->heavy.first->in_line);
    tp_conn_close(stage.worker, stage.worker->heavy.first, TP_REASON_CONTROL);
    for (unsigned turn = 0; turn < 10; turn++)
        tp_worker_turn(stage.worker, 0);
    CHECK(!stage.worker->closed && !stage.worker->heavy.first);
    for (unsigned i = 0; i <= HEAVY; i++) {
        if (conn[i]->fd != -1)
            tp_conn_close(stage.worker, conn[i], TP_REASON_CONTROL);
        close(peer[i]);
    }
    stage_sweep(&stage);
}

int main(void)
{
    struct tp_config config = stage_config();
    stage_open(&stage, &config, &(struct tp_sink){note});
    RUN(whoever_brings_little_is_served_before_those_that_bring_much);
    RUN(a_connection_may_end_while_it_waits_for_its_turn);
    stage_close(&stage);
    return 0;
}
