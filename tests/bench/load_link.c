// SPDX-License-Identifier: Apache-2.0
// The UDP ends, which stand where charon or XFRM would: UDP 4500 of the gateway's address.
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define SEGMENTS 64     // what every kernel since 4.18 takes in one UDP_SEGMENT send
#define GSO_BYTES 65000 // below 64 KiB with all headers
// tx behaves like a TCP inside the tunnel with this window: less than a connection's queue in the pump, so that nothing is
// dropped for want of flow control, and what is measured is what the pump moves.
#define WINDOW (192 * 1024)
#define LOSS_SECONDS 0.02

static int link_socket(void) {
    static const struct timeval patience = {.tv_usec = 100000};
    int big = 16 << 20, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        die("socket");
    struct sockaddr_in here = load.address;
    here.sin_port = htons(LINK_PORT);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof big) == -1 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof big) == -1 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == -1)
        die("setsockopt");
    if (bind(fd, (struct sockaddr *)&here, sizeof here) == -1)
        die("bind UDP 4500");
    atomic_store(&load.link_open, 1);
    return fd;
}

// The size of the segments that UDP_GRO put together, or 0 when it did not.
static size_t segment_size(struct msghdr *message) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(c), sizeof size);
            return (size_t)size;
        }
    return 0;
}

void link_rx(void) {
    static unsigned char block[65536];
    int one = 1, fd = link_socket();
    if (load.batch && setsockopt(fd, SOL_UDP, UDP_GRO, &one, sizeof one) == -1)
        die("UDP_GRO");
    while (!atomic_load_explicit(&load.stop, memory_order_relaxed)) {
        char control[CMSG_SPACE(sizeof(int))];
        struct iovec iov = {block, sizeof block};
        struct msghdr message = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        ssize_t n = recvmsg(fd, &message, 0);
        if (n == -1) {
            if (errno == EAGAIN || errno == EINTR)
                continue;
            die("recvmsg");
        }
        size_t segment = segment_size(&message);
        if ((segment ? segment : (size_t)n) != load.size || (size_t)n % load.size != 0)
            atomic_fetch_add(&load.misshapen, 1);
        atomic_fetch_add_explicit(&load.received, (unsigned long long)n, memory_order_relaxed);
    }
    close(fd);
}

// Waits until the window is half empty when `length` more would not fit; counts as lost what does not arrive in time.
static void wait_for_window(unsigned long long sent, unsigned long long *written_off, size_t length) {
    unsigned long long accounted = atomic_load(&load.received) + *written_off;
    if (sent + length <= accounted + WINDOW)
        return;
    unsigned long long target = sent - WINDOW / 2 - *written_off;
    if (sleep_until_arrived(target, LOSS_SECONDS) == -1) {
        unsigned long long missing = target + WINDOW / 2 - atomic_load(&load.received);
        *written_off += missing;
        atomic_fetch_add(&load.lost, missing);
    }
}

static void send_segments(int fd, struct sockaddr_in *to, unsigned char *block, size_t length) {
    union {
        char bytes[CMSG_SPACE(sizeof(unsigned short))];
        struct cmsghdr aligned;
    } control = {0};
    struct iovec iov = {block, length};
    struct msghdr message = {.msg_name = to,
                             .msg_namelen = sizeof *to,
                             .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    unsigned short size = (unsigned short)load.size;
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(c), &size, sizeof size);
    if (sendmsg(fd, &message, 0) == -1 && errno != ENOBUFS && errno != EAGAIN)
        die("sendmsg with UDP_SEGMENT");
}

static void send_singly(int fd, struct sockaddr_in *to, unsigned char *block, unsigned count) {
    struct mmsghdr messages[SEGMENTS];
    struct iovec iov = {block, load.size};
    for (unsigned i = 0; i < count; i++)
        messages[i] = (struct mmsghdr){
            .msg_hdr = {.msg_name = to, .msg_namelen = sizeof *to, .msg_iov = &iov, .msg_iovlen = 1}};
    for (unsigned at = 0; at < count;) {
        int n = sendmmsg(fd, messages + at, count - at, 0);
        if (n == -1 && errno != ENOBUFS && errno != EAGAIN)
            die("sendmmsg");
        at += n > 0 ? (unsigned)n : 1;
    }
}

void link_tx(void) {
    static unsigned char block[65536];
    int fd = link_socket();
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    while (recvfrom(fd, block, sizeof block, 0, (struct sockaddr *)&peer, &length) == -1)
        if ((errno != EAGAIN && errno != EINTR) || atomic_load(&load.stop))
            die("recvfrom: no first datagram");
    unsigned count = (unsigned)(GSO_BYTES / load.size);
    if (count > SEGMENTS)
        count = SEGMENTS;
    memset(block, 0xcc, sizeof block);
    unsigned long long sent = WINDOW, written_off = WINDOW; // so that differences stay positive
    while (!atomic_load_explicit(&load.stop, memory_order_relaxed)) {
        wait_for_window(sent, &written_off, count * load.size);
        if (load.batch)
            send_segments(fd, &peer, block, count * load.size);
        else
            send_singly(fd, &peer, block, count);
        sent += count * load.size;
    }
    close(fd);
}
