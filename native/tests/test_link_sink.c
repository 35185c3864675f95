// SPDX-License-Identifier: Apache-2.0
// Grouping towards the link, and what becomes of datagrams that the kernel refuses. The kernel is a stand-in
// here: this file's own sendmmsg() takes the place of the C library's, keeps an MTU, and refuses what it is
// told to.
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#include "clock.h"
#include "harness.h"
#include "link_sink.h"

enum { NOTED = 4096, MTU = 1500, LONGEST = MTU - 28 };

static struct tp_link link_;
static struct tp_counters counters;
static struct tp_events events;
static struct tp_watch watch;
static struct tp_link_sink sink;
static struct tp_conn conn;
static struct tp_datagram run[512];
static uint8_t bytes[1 << 20];
static uint64_t now = 1000 * TP_SECOND;

/* What the stand-in took, datagram by datagram after cutting, and what it refuses. */
static struct {
    unsigned calls, messages, datagrams;
    uint32_t size[NOTED];
    uint16_t port[NOTED];
    uint8_t first[NOTED];
    int refuse_at, refuse_with; /* the message that fails, counted from 0; -1 none */
    bool refuse_all;
} kernel;

static uint16_t segment_of(const struct msghdr *message)
{
    uint16_t segment = 0;
    bool source = false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c;
         c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)message, c)) {
        if (c->cmsg_level == SOL_UDP)
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
        else
            source = c->cmsg_level == SOL_IP && c->cmsg_type == IP_PKTINFO;
    }
    CHECK(source);
    return segment;
}

static int take(const struct msghdr *message)
{
    size_t total = 0;
    uint16_t segment = segment_of(message);
    const struct sockaddr_in *to = message->msg_name;
    if (kernel.refuse_all || (int)kernel.messages == kernel.refuse_at)
        return kernel.refuse_with;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        total += message->msg_iov[i].iov_len;
    if (total > 65507)
        return EMSGSIZE;
    if (segment > LONGEST || (segment > 0 && message->msg_iovlen > 64))
        return EINVAL;
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        const struct iovec *piece = &message->msg_iov[i];
        /* All pieces but the last must be where the kernel cuts. */
        CHECK(segment == 0
                  ? message->msg_iovlen == 1
                  : piece->iov_len == segment || (i + 1 == message->msg_iovlen && piece->iov_len < segment));
        CHECK(kernel.datagrams < NOTED);
        kernel.size[kernel.datagrams] = (uint32_t)piece->iov_len;
        kernel.first[kernel.datagrams] = *(const uint8_t *)piece->iov_base;
        kernel.port[kernel.datagrams++] = ntohs(to->sin_port);
    }
    kernel.messages++;
    return 0;
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    (void)fd, (void)flags;
    kernel.calls++;
    for (unsigned i = 0; i < count; i++) {
        int number = take(&messages[i].msg_hdr);
        if (number == 0)
            continue;
        if (i > 0)
            return (int)i; /* an error behind a success is told by the next call, which meets it again */
        kernel.refuse_at = -1;
        errno = number;
        return -1;
    }
    return (int)count;
}

static void fresh(void)
{
    memset(&counters, 0, sizeof counters);
    memset(&kernel, 0, sizeof kernel);
    memset(&conn, 0, sizeof conn);
    kernel.refuse_at = -1;
    conn.peer = &conn.own_peer;
    conn.ike_port = TP_PORT_4500;
    conn.card.flow = (struct tp_address){.family = 4, .bytes = {198, 18, 0, 16}};
    conn.own_peer = (struct tp_peer){.address = {.family = 4, .bytes = {192, 0, 2, 1}}, .port = {500, 4500}};
    tp_link_sink_open(&sink, &link_, &counters, &watch);
    now += 10 * TP_SECOND;
}

/* Datagrams of these sizes; negative ones are IKE. Each begins with its number, IKE with zeros. */
static void deliver(const int *sizes, unsigned count)
{
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        uint32_t size = (uint32_t)abs(sizes[i]);
        CHECK(sizeof bytes - at >= size);
        memset(bytes + at, sizes[i] < 0 ? 0 : (int)(i % 255 + 1), size);
        run[i] = (struct tp_datagram){bytes + at, size, sizes[i] < 0 ? TP_IKE : TP_ESP};
        at += size;
    }
    sink.sink.deliver(&sink.sink, &conn, run, count, now);
}

static uint64_t counted(enum tp_counter which)
{
    return tp_read(&counters.value[which]);
}

static unsigned told(void)
{
    struct tp_event out[8];
    return tp_events_poll(&events, out, 8, now);
}

static void equal_sizes_travel_together_and_a_shorter_one_ends_the_group(void)
{
    static const int sizes[] = {1400, 1400, 1400, 100, 100, 1400, 1400, 50, 60};
    fresh();
    deliver(sizes, 9);
    CHECK(kernel.datagrams == 9 && kernel.messages == 4 && kernel.calls == 1);
    for (unsigned i = 0; i < 9; i++)
        CHECK(kernel.size[i] == (uint32_t)sizes[i] && kernel.first[i] == i + 1 && kernel.port[i] == 4500);
    CHECK(counted(TP_C_stream_to_link_frames) == 9 && counted(TP_C_stream_to_link_sends) == 4);
    CHECK(counted(TP_C_stream_to_link_bytes) == 3 * 1400 + 200 + 2800 + 110);
    CHECK(tp_read(&conn.stat[TP_STAT_STREAM_TO_LINK_ESP]) == 9);
}

static void ike_of_the_same_size_shares_a_group_and_is_no_esp(void)
{
    static const int sizes[] = {200, -200, 200, -100};
    fresh();
    deliver(sizes, 4);
    CHECK(kernel.messages == 1 && kernel.datagrams == 4);
    CHECK(counted(TP_C_stream_to_link_frames) == 4 && counted(TP_C_stream_to_link_esp_frames) == 2);
}

static void ike_for_port_500_goes_alone_and_without_its_marker(void)
{
    static const int sizes[] = {200, -204, -204, 200};
    fresh();
    conn.ike_port = TP_PORT_500;
    deliver(sizes, 4);
    CHECK(kernel.datagrams == 4 && kernel.messages == 3);
    for (unsigned i = 0; i < 4; i++)
        CHECK(kernel.size[i] == 200 && kernel.port[i] == (i == 1 || i == 2 ? 500 : 4500));
    CHECK(counted(TP_C_stream_to_link_bytes) == 200 + 204 + 204 + 200);
}

static void groups_end_at_64_segments_and_before_64_kilobytes(void)
{
    static int small[300], big[300];
    for (unsigned i = 0; i < 300; i++) {
        small[i] = 80;
        big[i] = LONGEST;
    }
    fresh();
    deliver(small, 300);
    CHECK(kernel.datagrams == 300 && kernel.messages == 5);
    fresh();
    deliver(big, 300);
    CHECK(kernel.datagrams == 300 && kernel.messages == 7); /* 44 of 1472 bytes fit */
    CHECK(counted(TP_C_stream_to_link_frames) == 300);
}

static void many_sizes_are_many_messages_in_few_calls(void)
{
    static int sizes[500];
    for (int i = 0; i < 500; i++)
        sizes[i] = 100 + i;
    fresh();
    deliver(sizes, 500);
    CHECK(kernel.datagrams == 500 && kernel.messages == 500 &&
          kernel.calls == (500 + TP_SINK_GROUPS - 1) / TP_SINK_GROUPS);
    for (unsigned i = 0; i < 500; i++)
        CHECK(kernel.size[i] == 100 + i);
}

static void segments_beyond_the_mtu_are_sent_singly_and_remembered_for_a_second(void)
{
    static const int sizes[] = {1473, 1473, 1473, 200};
    fresh();
    deliver(sizes, 4);
    CHECK(kernel.datagrams == 4 && counted(TP_C_stream_to_link_regrouped) == 1);
    CHECK(counted(TP_C_stream_to_link_frames) == 4 && counted(TP_C_stream_to_link_esp_frames) == 4);
    unsigned calls = kernel.calls;
    deliver(sizes, 4);
    CHECK(kernel.datagrams == 8 && kernel.calls == calls + 1 && counted(TP_C_stream_to_link_regrouped) == 1);
    now += TP_SECOND;
    deliver(sizes, 4);
    CHECK(kernel.datagrams == 12 && counted(TP_C_stream_to_link_regrouped) == 2);
    static const int fitting[] = {1472, 1472};
    unsigned messages = kernel.messages;
    deliver(fitting, 2);
    CHECK(kernel.messages == messages + 1);
}

static void a_full_buffer_drops_the_rest_of_the_turn_whole(void)
{
    static const int sizes[] = {100, 200, 200, 300, 400};
    fresh();
    kernel.refuse_at = 1;
    kernel.refuse_with = EAGAIN;
    deliver(sizes, 5);
    CHECK(kernel.datagrams == 1 && counted(TP_C_stream_to_link_no_buffer) == 4);
    CHECK(tp_read(&conn.stat[TP_STAT_DROPPED]) == 4);
    CHECK(told() == 0);
    kernel.refuse_at = (int)kernel.messages;
    kernel.refuse_with = ENOBUFS;
    deliver(sizes, 1);
    CHECK(counted(TP_C_stream_to_link_no_buffer) == 5);
}

static void one_refused_datagram_does_not_take_the_others_with_it(void)
{
    static const int sizes[] = {100, 200, 300};
    fresh();
    kernel.refuse_at = 1;
    kernel.refuse_with = EPERM;
    deliver(sizes, 3);
    CHECK(kernel.datagrams == 2 && kernel.size[1] == 300 && counted(TP_C_stream_to_link_refused) == 1);
    static const int long_ones[] = {65531, 100};
    deliver(long_ones, 2);
    CHECK(counted(TP_C_stream_to_link_too_big) == 1 && kernel.datagrams == 3);
}

static void a_link_that_is_gone_is_told_once_a_second_and_its_return_at_once(void)
{
    static const int sizes[] = {100, 200};
    static const int gone[] = {ENETUNREACH, ENETDOWN, EHOSTUNREACH, EADDRNOTAVAIL};
    for (unsigned i = 0; i < sizeof gone / sizeof gone[0]; i++) {
        fresh();
        kernel.refuse_all = true;
        kernel.refuse_with = gone[i];
        for (unsigned turn = 0; turn < 50; turn++)
            deliver(sizes, 2);
        CHECK(counted(TP_C_stream_to_link_link_down) == 100 && counted(TP_C_link_down) == 1);
        CHECK(kernel.calls == 50); /* the second datagram of a turn is not even tried */
        CHECK(told() == 1);
        kernel.refuse_all = false;
        deliver(sizes, 2);
        CHECK(told() == 1);
        kernel.refuse_all = true;
        deliver(sizes, 2);
        CHECK(told() == 0);
        now += TP_SECOND;
        deliver(sizes, 2);
        CHECK(told() == 1 && counted(TP_C_link_down) == 2);
        kernel.refuse_all = false;
        deliver(sizes, 2);
        CHECK(told() == 1);
    }
}

static void a_peer_that_was_never_heard_gets_nothing(void)
{
    static const int sizes[] = {100, -100};
    fresh();
    conn.own_peer.port[TP_PORT_4500] = 0;
    deliver(sizes, 2);
    CHECK(kernel.calls == 0 && counted(TP_C_stream_to_link_no_peer) == 2);
}

int main(void)
{
    CHECK(tp_events_open(&events, 64, -1) == 0);
    tp_watch_open(&watch, &events);
    RUN(equal_sizes_travel_together_and_a_shorter_one_ends_the_group);
    RUN(ike_of_the_same_size_shares_a_group_and_is_no_esp);
    RUN(ike_for_port_500_goes_alone_and_without_its_marker);
    RUN(groups_end_at_64_segments_and_before_64_kilobytes);
    RUN(many_sizes_are_many_messages_in_few_calls);
    RUN(segments_beyond_the_mtu_are_sent_singly_and_remembered_for_a_second);
    RUN(a_full_buffer_drops_the_rest_of_the_turn_whole);
    RUN(one_refused_datagram_does_not_take_the_others_with_it);
    RUN(a_link_that_is_gone_is_told_once_a_second_and_its_return_at_once);
    RUN(a_peer_that_was_never_heard_gets_nothing);
    tp_watch_close(&watch);
    tp_events_close(&events);
    return 0;
}
