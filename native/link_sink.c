// SPDX-License-Identifier: Apache-2.0
#include "link_sink.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#include "clock.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

/* The kernel takes 64 KiB with all headers in one message; IPv6, UDP and some options must still fit. */
static const uint32_t longest_group = 65000;

union control {
    char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t))];
    struct cmsghdr align;
};

static unsigned family_of(const struct tp_link_sink *s)
{
    return s->conn->card.flow.family == 4 ? TP_LINK_V4 : TP_LINK_V6;
}

static unsigned port_of(const struct tp_conn *conn, const struct tp_datagram *datagram)
{
    return datagram->kind == TP_IKE ? conn->ike_port : TP_PORT_4500;
}

static void count_sent(struct tp_link_sink *s, const struct tp_group *g)
{
    tp_count(s->counters, TP_C_stream_to_link_sends, 1);
    tp_count(s->counters, TP_C_stream_to_link_frames, g->count);
    tp_count(s->counters, TP_C_stream_to_link_esp_frames, g->esp);
    tp_count(s->counters, TP_C_stream_to_link_bytes, g->datagrams);
    tp_bump(&s->conn->stat[TP_STAT_STREAM_TO_LINK_FRAMES], g->count);
    tp_bump(&s->conn->stat[TP_STAT_STREAM_TO_LINK_ESP], g->esp);
    tp_bump(&s->conn->stat[TP_STAT_STREAM_TO_LINK_BYTES], g->datagrams);
    tp_watch_worked(s->watch, s->now);
}

static void count_dropped(struct tp_link_sink *s, const struct tp_group *g, enum tp_counter why)
{
    tp_count(s->counters, why, g->count);
    tp_bump(&s->conn->stat[TP_STAT_DROPPED], g->count);
}

/* What a failed send means for the datagrams in it. */
static enum tp_counter why(int number)
{
    switch (number) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
        return TP_C_stream_to_link_no_buffer;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
    case ENODEV:
    case ENXIO:
    case EADDRNOTAVAIL:
        return TP_C_stream_to_link_link_down;
    case EMSGSIZE:
        return TP_C_stream_to_link_too_big;
    default:
        return TP_C_stream_to_link_refused;
    }
}

/* Source address and, for a group, where the kernel is to cut. */
static size_t write_control(union control *control, const struct tp_address *flow, uint32_t segment)
{
    memset(control, 0, sizeof *control);
    struct msghdr m = {.msg_control = control, .msg_controllen = sizeof *control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    size_t used;
    if (flow->family == 4) {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, flow->bytes, 4);
        c->cmsg_level = SOL_IP;
        c->cmsg_type = IP_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(c), &info, sizeof info);
        used = CMSG_SPACE(sizeof info);
    } else {
        struct in6_pktinfo info = {0};
        memcpy(&info.ipi6_addr, flow->bytes, 16);
        c->cmsg_level = SOL_IPV6;
        c->cmsg_type = IPV6_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(c), &info, sizeof info);
        used = CMSG_SPACE(sizeof info);
    }
    if (segment == 0)
        return used;
    uint16_t size = (uint16_t)segment;
    c = CMSG_NXTHDR(&m, c);
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(c), &size, sizeof size);
    return used + CMSG_SPACE(sizeof size);
}

/* Sends groups in order until one fails; gives how many went, and the failure's errno (0: none). */
static unsigned send_groups(struct tp_link_sink *s, struct tp_group *groups, unsigned count, int *failure)
{
    struct sockaddr_storage to;
    struct mmsghdr messages[TP_SINK_GROUPS];
    union control controls[TP_SINK_GROUPS];
    struct tp_address peer = s->conn->peer->address;
    peer.port = s->conn->peer->port[s->port];
    socklen_t to_length = tp_address_to(&peer, &to);
    for (unsigned i = 0; i < count; i++) {
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &to,
            .msg_namelen = to_length,
            .msg_iov = &s->piece[groups[i].first],
            .msg_iovlen = groups[i].count,
            .msg_control = &controls[i],
        };
        messages[i].msg_hdr.msg_controllen =
            write_control(&controls[i], &s->conn->card.flow, groups[i].count > 1 ? groups[i].segment : 0);
    }
    int fd = tp_link_socket(s->link, s->conn->card.flow.family, s->port)->fd;
    unsigned sent = 0;
    *failure = 0;
    while (sent < count && *failure == 0) {
        int n = sendmmsg(fd, messages + sent, count - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n == -1 && errno != EINTR)
            *failure = errno;
        for (; n > 0; n--)
            count_sent(s, &groups[sent++]);
    }
    return sent;
}

static enum tp_counter lose(struct tp_link_sink *s, const struct tp_group *g, int failure)
{
    enum tp_counter reason = why(failure);
    count_dropped(s, g, reason);
    if (reason == TP_C_stream_to_link_link_down && tp_watch_failed(s->watch, &s->conn->card.flow, s->now))
        tp_count(s->counters, TP_C_link_down, 1);
    return reason;
}

/* A group that the kernel would not cut: its datagrams one by one, and shorter groups for the next second. */
static void send_singly(struct tp_link_sink *s, const struct tp_group *g)
{
    tp_count(s->counters, TP_C_stream_to_link_regrouped, 1);
    s->longest_segment[family_of(s)] = g->segment - 1;
    s->longest_until[family_of(s)] = s->now + TP_SECOND;
    for (uint32_t i = 0; i < g->count; i++) {
        const struct iovec *piece = &s->piece[g->first + i];
        uint32_t length = (uint32_t)piece->iov_len;
        struct tp_group one = {.first = g->first + i, .count = 1, .segment = length, .bytes = length};
        one.datagrams = length + (s->port == TP_PORT_500 ? TP_MARKER : 0);
        one.esp = s->port == TP_PORT_4500 && tp_kind_of(piece->iov_base, length) == TP_ESP;
        int failure;
        if (send_groups(s, &one, 1, &failure) == 0)
            lose(s, &one, failure);
    }
}

static void flush(struct tp_link_sink *s)
{
    unsigned i = 0;
    if (s->groups > 0 && s->conn->peer->port[s->port] == 0) {
        for (; i < s->groups; i++)
            count_dropped(s, &s->group[i], TP_C_stream_to_link_no_peer);
    }
    while (i < s->groups) {
        int failure;
        i += send_groups(s, s->group + i, s->groups - i, &failure);
        if (failure == 0)
            continue;
        const struct tp_group *g = &s->group[i++];
        /* EMSGSIZE, or EINVAL on some kernels: beyond the MTU. EIO: the device cannot checksum segments. */
        if (g->count > 1 && (failure == EMSGSIZE || failure == EINVAL || failure == EIO)) {
            send_singly(s, g);
            continue;
        }
        enum tp_counter reason = lose(s, g, failure);
        /* A full buffer or a missing route will be no better a microsecond later. */
        if (reason == TP_C_stream_to_link_link_down || reason == TP_C_stream_to_link_no_buffer) {
            for (; i < s->groups; i++)
                count_dropped(s, &s->group[i], reason);
        }
    }
    s->groups = s->pieces = 0;
}

static uint32_t longest_segment(struct tp_link_sink *s)
{
    unsigned family = family_of(s);
    if (s->now >= s->longest_until[family])
        s->longest_segment[family] = UINT16_MAX;
    return s->longest_segment[family];
}

/* Puts one more group together out of the head of `run`; gives how many datagrams it took. */
static unsigned take_group(struct tp_link_sink *s, const struct tp_datagram *run, unsigned count)
{
    /* Port 500 carries no marker. */
    uint32_t skip = s->port == TP_PORT_500 ? TP_MARKER : 0;
    struct tp_group *g = &s->group[s->groups++];
    *g = (struct tp_group){.first = s->pieces, .segment = run[0].length - skip};
    unsigned most = g->segment > longest_segment(s) ? 1 : TP_SINK_SEGMENTS;
    while (g->count < count && g->count < most) {
        const struct tp_datagram *d = &run[g->count];
        uint32_t length = d->length - skip;
        if (g->count > 0 &&
            (length > g->segment || longest_group - g->bytes < length || port_of(s->conn, d) != s->port))
            break;
        s->piece[s->pieces++] = (struct iovec){d->data + skip, length};
        g->count++;
        g->bytes += length;
        g->datagrams += d->length;
        g->esp += d->kind == TP_ESP;
        if (length < g->segment || g->bytes > longest_group)
            break;
    }
    return g->count;
}

static void deliver(struct tp_sink *sink, struct tp_conn *from, const struct tp_datagram *run, unsigned count,
                    uint64_t now)
{
    struct tp_link_sink *s = (struct tp_link_sink *)sink;
    s->conn = from;
    s->now = now;
    for (unsigned i = 0; i < count;) {
        unsigned port = port_of(from, &run[i]);
        if (port != s->port || s->groups == TP_SINK_GROUPS || TP_SINK_PIECES - s->pieces < TP_SINK_SEGMENTS)
            flush(s);
        s->port = port;
        i += take_group(s, run + i, count - i);
    }
    flush(s);
}

void tp_link_sink_open(struct tp_link_sink *sink, struct tp_link *link, struct tp_counters *counters,
                       struct tp_watch *watch)
{
    *sink =
        (struct tp_link_sink){.sink.deliver = deliver, .link = link, .counters = counters, .watch = watch};
}
