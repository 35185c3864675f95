// SPDX-License-Identifier: Apache-2.0
// Load and sink in one process: two threads, each in a network namespace of its own, one clock, one line of JSON.
//
//   load PATH TX_NAMESPACE RX_NAMESPACE ADDRESS PORT SIZE SECONDS MAX_BYTES BATCH
//
// PATH tcp             tx writes blocks to a plain TCP connection to ADDRESS:PORT that rx accepts
//      stream_to_link  tx writes TPKT' frames of SIZE bytes to ADDRESS:PORT; rx is UDP ADDRESS:4500
//      link_to_stream  rx connects to ADDRESS:PORT and sends one frame; tx is UDP ADDRESS:4500 and answers it for ever
// BATCH 1: UDP in batches (UDP_GRO, UDP_SEGMENT); 0: one datagram per receive, sendmmsg without segmentation.
//
// What counts is what arrived: payload bytes at rx, after a warm-up, for SECONDS or until MAX_BYTES. It knows the framing
// and nothing of the pump.
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h> // setns
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP_SECONDS 0.5
#define FIRST_BYTE_SECONDS 10.0

struct load load = {.wake_at = NEVER};
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;

static const struct path {
    const char *name;
    void (*tx)(void);
    void (*rx)(void);
} paths[] = {
    {"tcp", tcp_tx, tcp_rx},
    {"stream_to_link", stream_tx, link_rx},
    {"link_to_stream", link_tx, stream_rx},
};

static const struct path *chosen;
static const char *tx_namespace, *rx_namespace;

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void enter(const char *namespace) {
    int fd = open(namespace, O_RDONLY | O_CLOEXEC);
    if (fd == -1 || setns(fd, CLONE_NEWNET) == -1)
        die(namespace);
    close(fd);
}

void die(const char *what) {
    fprintf(stderr, "load: ");
    perror(what);
    exit(1);
}

// Both sides write their own variable before they read the other's: no wake-up is lost (sequential consistency).
void arrived(unsigned long long total) {
    atomic_store(&load.received, total);
    if (total >= atomic_load(&load.wake_at)) {
        pthread_mutex_lock(&mutex);
        pthread_cond_signal(&more);
        pthread_mutex_unlock(&mutex);
    }
}

int sleep_until_arrived(unsigned long long total, double seconds) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    long nanoseconds = end.tv_nsec + (long)(seconds * 1e9);
    end.tv_sec += nanoseconds / 1000000000;
    end.tv_nsec = nanoseconds % 1000000000;
    pthread_mutex_lock(&mutex);
    atomic_store(&load.wake_at, total);
    int status = 0;
    while (status == 0 && atomic_load(&load.received) < total)
        status = pthread_cond_timedwait(&more, &mutex, &end);
    atomic_store(&load.wake_at, NEVER);
    pthread_mutex_unlock(&mutex);
    return atomic_load(&load.received) >= total ? 0 : -1;
}

static void *run_tx(void *unused) {
    enter(tx_namespace);
    chosen->tx();
    return unused;
}

static void *run_rx(void *unused) {
    enter(rx_namespace);
    chosen->rx();
    return unused;
}

static void wait_for_first_byte(void) {
    double end = now() + FIRST_BYTE_SECONDS;
    while (atomic_load(&load.received) == 0) {
        if (now() > end) {
            fprintf(stderr, "load: nothing arrived within %g s\n", FIRST_BYTE_SECONDS);
            exit(1);
        }
        usleep(1000);
    }
}

int main(int argc, char **argv) {
    if (argc != 10) {
        fprintf(stderr, "usage: load PATH TX_NS RX_NS ADDRESS PORT SIZE SECONDS MAX_BYTES BATCH\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (strcmp(paths[i].name, argv[1]) == 0)
            chosen = &paths[i];
    load.size = (size_t)strtoul(argv[6], NULL, 10);
    load.batch = atoi(argv[9]);
    load.address.sin_family = AF_INET;
    load.address.sin_port = htons((unsigned short)atoi(argv[5]));
    if (chosen == NULL || load.size < MIN_SIZE || load.size > MAX_SIZE ||
        inet_pton(AF_INET, argv[4], &load.address.sin_addr) != 1) {
        fprintf(stderr, "load: no such path, size or address: %s %s %s\n", argv[1], argv[6], argv[4]);
        return 2;
    }
    tx_namespace = argv[2];
    rx_namespace = argv[3];
    double seconds = strtod(argv[7], NULL);
    unsigned long long max_bytes = strtoull(argv[8], NULL, 10);

    pthread_t tx, rx;
    if (pthread_create(&rx, NULL, run_rx, NULL) || pthread_create(&tx, NULL, run_tx, NULL))
        die("pthread_create");
    wait_for_first_byte();
    usleep((useconds_t)(WARM_UP_SECONDS * 1e6));
    double begin = now();
    unsigned long long bytes = atomic_load(&load.received), got = 0, lost = atomic_load(&load.lost);
    double end = begin;
    while (end - begin < seconds && got < max_bytes) {
        usleep(5000);
        got = atomic_load(&load.received) - bytes;
        end = now();
    }
    lost = atomic_load(&load.lost) - lost;
    atomic_store(&load.stop, 1);
    pthread_join(tx, NULL);
    pthread_join(rx, NULL);
    printf("{\"seconds\": %.4f, \"bytes\": %llu, \"gbit_per_second\": %.4f, \"lost_bytes\": %llu, \"misshapen\": %llu}\n",
           end - begin, got, (double)got * 8 / (end - begin) / 1e9, lost, atomic_load(&load.misshapen));
    return 0;
}
