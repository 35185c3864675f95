// SPDX-License-Identifier: Apache-2.0
// How much a stream's socket holds that the network has not taken yet, and how much of it is enough.
//
// What lies unsent in the kernel goes out in its order whatever comes later, so it must be little: some
// milliseconds of what the path carries. TCP_NOTSENT_LOWAT alone does not do that: its fitting value differs
// by a factor of a hundred between paths, and one sendmsg may exceed it by a whole 64 KiB segment. So the value
// follows the path, and the writer stops by itself. The kernel is asked once in `limit` bytes, not for each
// write. Must not know queues or frames.
#ifndef TP_UNSENT_H
#define TP_UNSENT_H

#include <stdbool.h>
#include <stdint.h>

enum {
    TP_UNSENT_LEAST = 4096,     /* nearly three segments: with less the network would wait for us */
    TP_UNSENT_AT_FIRST = 32768, /* before a path is known: 13 ms at 20 Mbit/s */
};

struct tp_unsent {
    uint32_t limit;
    uint32_t bound;       /* no more than this lies there */
    uint32_t watermark;   /* TCP_NOTSENT_LOWAT as set; 0: as it was opened */
    uint64_t measured_at; /* the path's rate */
};

void tp_unsent_open(struct tp_unsent *unsent, uint32_t most);

/* How many bytes may be written now. With a `backlog` the kernel is asked in any case, and a socket that has
 * run empty meanwhile means a path that could have carried more: the limit grows, up to `most`. */
uint32_t tp_unsent_room(struct tp_unsent *unsent, int fd, uint32_t most, bool backlog);

static inline void tp_unsent_wrote(struct tp_unsent *unsent, uint32_t bytes)
{
    unsent->bound += bytes;
}

/* Frames are about to wait for the socket: the limit follows the path, and EPOLLOUT the limit. */
void tp_unsent_wait(struct tp_unsent *unsent, int fd, uint32_t most, uint64_t now);

#endif
