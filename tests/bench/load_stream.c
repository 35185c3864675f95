// SPDX-License-Identifier: Apache-2.0
// The TCP ends: plain TCP both ways, frames towards the pump, and what the pump sends back.
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

// A thread that waits must see load.stop soon.
static const struct timeval patience = {.tv_usec = 100000};

static int made(int fd) {
    if (fd == -1)
        die("socket");
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == -1 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == -1)
        die("SO_RCVTIMEO");
    return fd;
}

static int connected(void) {
    // The other thread may not listen yet.
    for (int tries = 0; tries < 200; tries++) {
        int fd = made(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (connect(fd, (struct sockaddr *)&load.address, sizeof load.address) == 0)
            return fd;
        if (errno != ECONNREFUSED && errno != EINPROGRESS)
            break;
        close(fd);
        usleep(10000);
    }
    die("connect");
}

static int interrupted(void) { return errno == EAGAIN || errno == EINTR; }

static void send_for_ever(int fd, const unsigned char *block, size_t length) {
    size_t at = 0;
    while (!atomic_load_explicit(&load.stop, memory_order_relaxed)) {
        ssize_t n = send(fd, block + at, length - at, MSG_NOSIGNAL);
        if (n == -1 && !interrupted() && !atomic_load(&load.stop))
            die("send");
        if (n > 0)
            at = (at + (size_t)n) % length; // a block ends where a frame ends
    }
    close(fd);
}

static void count_for_ever(int fd, size_t payload, size_t frame) {
    static unsigned char block[BLOCK];
    unsigned long long raw = 0;
    while (!atomic_load_explicit(&load.stop, memory_order_relaxed)) {
        ssize_t n = recv(fd, block, sizeof block, 0);
        if ((n == 0 || (n == -1 && !interrupted())) && !atomic_load(&load.stop))
            die("recv: the connection ended"); // not by the other thread, which may stop first
        if (n > 0) {
            raw += (unsigned long long)n;
            arrived(raw / frame * payload);
        }
    }
    close(fd);
}

// Fills `block` with as many frames as are written at once; gives their length.
static size_t frames(unsigned char *block, size_t at_most) {
    size_t length = 0, total = load.size + HEADER;
    for (; length == 0 || length + total <= at_most; length += total) {
        unsigned char *frame = block + length;
        memset(frame, 0, total);
        frame[0] = 1; // version; RFC 9329's non-ESP marker is absent, so this is ESP
        frame[2] = (unsigned char)(total >> 8);
        frame[3] = (unsigned char)total;
        memset(frame + HEADER, 0xcc, 4);
    }
    return length;
}

void tcp_tx(void) {
    static unsigned char block[BLOCK];
    send_for_ever(connected(), block, 64000);
}

void tcp_rx(void) {
    int one = 1, listener = made(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&load.address, sizeof load.address) == -1 || listen(listener, 1) == -1)
        die("bind, listen");
    int fd = -1;
    while (fd == -1 && !atomic_load(&load.stop))
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    if (fd != -1)
        count_for_ever(made(fd), 1, 1);
}

void stream_tx(void) {
    static unsigned char block[BLOCK];
    size_t length = frames(block, 64000);
    while (!atomic_load(&load.link_open) && !atomic_load(&load.stop))
        usleep(1000);
    send_for_ever(connected(), block, length);
}

void stream_rx(void) {
    unsigned char first[MAX_SIZE + HEADER];
    size_t length = frames(first, 0);
    while (!atomic_load(&load.link_open) && !atomic_load(&load.stop))
        usleep(1000);
    int fd = connected();
    if (send(fd, first, length, MSG_NOSIGNAL) != (ssize_t)length)
        die("send of the first frame");
    count_for_ever(fd, load.size, load.size + HEADER);
}
