// SPDX-License-Identifier: Apache-2.0
// Many connections that do nothing: opens COUNT of them to ADDRESS:PORT, sends one ESP frame on each, says how long it
// took, and holds them until its standard input ends. Then all are reset, which leaves nothing in TIME_WAIT.
//
//   idle ADDRESS PORT COUNT SOURCE...
//
// The connections take turns with the source addresses: one address has some 28 000 ports.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// Connections on their way at once: below any listener's backlog (net.core.somaxconn is 4096), so that none is dropped
// and retried a second later.
#define IN_FLIGHT 512
#define EVENTS 256
#define SPARE_DESCRIPTORS 64
#define PATIENCE_MILLISECONDS 30000

static _Noreturn void die(const char *what) {
    fprintf(stderr, "idle: ");
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int begin(int epoll, const struct sockaddr_in *to, const char *source) {
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct linger reset = {.l_onoff = 1};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        die("socket");
    if (inet_pton(AF_INET, source, &from.sin_addr) != 1) {
        fprintf(stderr, "idle: %s is no IPv4 address\n", source);
        exit(2);
    }
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    // The port is chosen at connect, when the kernel knows that only the whole tuple must be free.
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) == -1)
        die(source);
    if (connect(fd, (const struct sockaddr *)to, sizeof *to) == -1 && errno != EINPROGRESS)
        die("connect");
    struct epoll_event event = {.events = EPOLLOUT, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == -1)
        die("epoll_ctl");
    return fd;
}

static void finish(int epoll, int fd) {
    static const unsigned char frame[] = {1, 0, 0, 12, 0xcc, 0xcc, 0xcc, 0xcc, 0, 0, 0, 1};
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    errno = error;
    if (error || send(fd, frame, sizeof frame, MSG_NOSIGNAL) != (ssize_t)sizeof frame)
        die("connection");
    if (epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL) == -1)
        die("epoll_ctl");
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: idle ADDRESS PORT COUNT SOURCE...\n");
        return 2;
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2]))};
    unsigned long count = strtoul(argv[3], NULL, 10);
    if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || count == 0) {
        fprintf(stderr, "idle: no such address or count: %s %s\n", argv[1], argv[3]);
        return 2;
    }
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
        die("RLIMIT_NOFILE");
    limit.rlim_cur = count + SPARE_DESCRIPTORS;
    if (limit.rlim_max < limit.rlim_cur)
        limit.rlim_max = limit.rlim_cur;
    if (setrlimit(RLIMIT_NOFILE, &limit) == -1)
        die("RLIMIT_NOFILE");
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll == -1)
        die("epoll_create1");

    unsigned long begun = 0, finished = 0, sources = (unsigned long)argc - 4;
    double start = now();
    while (finished < count) {
        for (; begun < count && begun - finished < IN_FLIGHT; begun++)
            begin(epoll, &to, argv[4 + begun % sources]);
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll, events, EVENTS, PATIENCE_MILLISECONDS);
        if (n <= 0) {
            fprintf(stderr, "idle: %lu of %lu connections, then nothing for 30 s\n", finished, count);
            return 1;
        }
        for (int i = 0; i < n; i++, finished++)
            finish(epoll, events[i].data.fd);
    }
    printf("{\"connections\": %lu, \"seconds\": %.4f}\n", finished, now() - start);
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    return 0;
}
