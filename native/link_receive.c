// SPDX-License-Identifier: Apache-2.0
// Reading the link: up to 64 messages a call, each of which may be a whole train of datagrams (UDP_GRO).
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "link.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
    BUFFER = 1 << 16, /* no message is longer, with or without GRO */
    LONG_BATCH = 512 << 10,
    FEW = TP_LINK_BATCH / 4,
};

union control {
    char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

struct tp_receiver {
    uint8_t *buffers; /* mapped: a page costs memory once it was filled */
    struct mmsghdr messages[TP_LINK_BATCH];
    struct iovec pieces[TP_LINK_BATCH];
    struct sockaddr_storage names[TP_LINK_BATCH];
    union control controls[TP_LINK_BATCH];
    struct tp_received received[TP_LINK_BATCH];
    unsigned most; /* messages to ask for */
    int used;      /* messages that the last call wrote to: their lengths must be set again */
};

static void offer(struct tp_receiver *r, int count)
{
    for (int i = 0; i < count; i++) {
        r->messages[i].msg_hdr = (struct msghdr){
            .msg_name = &r->names[i],
            .msg_namelen = sizeof r->names[i],
            .msg_iov = &r->pieces[i],
            .msg_iovlen = 1,
            .msg_control = &r->controls[i],
            .msg_controllen = sizeof r->controls[i],
        };
    }
}

struct tp_receiver *tp_receiver_new(void)
{
    struct tp_receiver *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->buffers = mmap(NULL, (size_t)BUFFER * TP_LINK_BATCH, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (r->buffers == MAP_FAILED) {
        free(r);
        return NULL;
    }
    for (unsigned i = 0; i < TP_LINK_BATCH; i++) {
        r->pieces[i] = (struct iovec){r->buffers + (size_t)BUFFER * i, BUFFER};
        r->received[i].data = r->pieces[i].iov_base;
    }
    r->used = TP_LINK_BATCH;
    r->most = TP_LINK_BATCH;
    return r;
}

void tp_receiver_free(struct tp_receiver *r)
{
    if (!r)
        return;
    munmap(r->buffers, (size_t)BUFFER * TP_LINK_BATCH);
    free(r);
}

static void read_control(struct msghdr *message, struct tp_received *out)
{
    memset(&out->to, 0, sizeof out->to);
    out->segment = out->length;
    out->dscp = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int segment;
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
            if (segment > 0)
                out->segment = (uint32_t)segment;
        } else if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            out->to.family = 4;
            memcpy(out->to.bytes, &info.ipi_addr, 4);
        } else if (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            out->to.family = 6;
            memcpy(out->to.bytes, &info.ipi6_addr, 16);
        } else if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_TOS) {
            out->dscp = *CMSG_DATA(c) >> 2;
        } else if (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_TCLASS) {
            int traffic_class;
            memcpy(&traffic_class, CMSG_DATA(c), sizeof traffic_class);
            out->dscp = (uint8_t)(traffic_class >> 2 & 0x3f);
        }
    }
}

unsigned tp_link_receive(struct tp_receiver *r, const struct tp_link_socket *from,
                         const struct tp_received **out, bool *more)
{
    *more = false;
    offer(r, r->used);
    r->used = 0;
    /* An error is one that the kernel kept for us from an earlier send; it is reported once and says nothing
     * that the send did not. EAGAIN is the common one. */
    int count = recvmmsg(from->fd, r->messages, r->most, MSG_DONTWAIT, NULL);
    if (count <= 0)
        return 0;
    r->used = count;
    size_t bytes = 0;
    for (int i = 0; i < count; i++) {
        r->received[i].length = r->messages[i].msg_len;
        bytes += r->messages[i].msg_len;
        tp_address_from(&r->names[i], &r->received[i].from);
        read_control(&r->messages[i].msg_hdr, &r->received[i]);
    }
    *more = (unsigned)count == r->most;
    r->most = bytes > LONG_BATCH ? FEW : TP_LINK_BATCH;
    *out = r->received;
    return (unsigned)count;
}
