// SPDX-License-Identifier: Apache-2.0
// What the two threads of the load generator and their paths share; see load.c.
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>
#include <stddef.h>

#define HEADER 4
#define MIN_SIZE 8
#define MAX_SIZE 9000
#define LINK_PORT 4500
#define BLOCK (1 << 18)

struct load {
    size_t size; // of one datagram
    int batch;
    struct sockaddr_in address;
    atomic_ullong received;  // payload bytes at rx
    atomic_ullong lost;      // bytes that tx gave up on; only where tx can know
    atomic_ullong misshapen; // datagrams at rx of another size than was sent
    atomic_ullong wake_at;   // tx sleeps until `received` is this; NEVER while it is awake
    atomic_int link_open; // the link's socket would hear a datagram now
    atomic_int stop;
};
#define NEVER (~0ULL)
extern struct load load;

_Noreturn void die(const char *what);
double now(void);
void arrived(unsigned long long total);                         // rx: `received` is now `total`
int sleep_until_arrived(unsigned long long total, double seconds); // tx: 0 when it was so within `seconds`

// Each runs on a thread that is in its namespace already, until load.stop.
void tcp_tx(void);
void tcp_rx(void);
void stream_tx(void); // frames to the pump's TCP port
void stream_rx(void);
void link_tx(void); // datagrams to the flow address
void link_rx(void);
