// SPDX-License-Identifier: Apache-2.0
#include "unsent.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "clock.h"

/* Two wake-ups of ours and what a busy machine needs to come round; at 20 Mbit/s 10 KB. */
static const uint64_t enough = 4 * TP_MILLISECOND;
/* Acknowledgements come in bunches (radio, Wi-Fi), and they wake us: on a longer path a bit more. */
static const uint64_t most_for_bunches = 12 * TP_MILLISECOND;
static const uint64_t measure_every = 20 * TP_MILLISECOND;

static uint32_t within(uint64_t value, uint32_t most)
{
    uint64_t least = most < TP_UNSENT_LEAST ? most : TP_UNSENT_LEAST;
    if (value > most)
        return most;
    return value < least ? (uint32_t)least : (uint32_t)value;
}

void tp_unsent_open(struct tp_unsent *u, uint32_t most)
{
    *u = (struct tp_unsent){.limit = within(TP_UNSENT_AT_FIRST, most)};
}

uint32_t tp_unsent_room(struct tp_unsent *u, int fd, uint32_t most, bool backlog)
{
    if (u->bound >= u->limit || backlog) {
        int unsent;
        /* What is no TCP socket, as in tests, says itself when it is full. */
        uint32_t lies = ioctl(fd, SIOCOUTQNSD, &unsent) == 0 && unsent > 0 ? (uint32_t)unsent : 0;
        if (backlog && lies == 0 && u->bound >= u->limit / 2)
            u->limit = within(u->limit + u->limit / 2, most);
        u->bound = lies;
    }
    return u->bound < u->limit ? u->limit - u->bound : 0;
}

/* What the path carries in `enough` and some time for bunches. 0: not known. */
static uint64_t wanted(int fd, bool *lower_bound)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == -1 || info.tcpi_delivery_rate == 0)
        return 0;
    uint64_t bunches = (uint64_t)info.tcpi_rtt * 1000 / 8;
    uint64_t time = enough + (bunches < most_for_bunches ? bunches : most_for_bunches);
    *lower_bound = info.tcpi_delivery_rate_app_limited;
    return info.tcpi_delivery_rate * (time / 1000) / 1000000;
}

static void measure(struct tp_unsent *u, int fd, uint32_t most)
{
    bool lower_bound = false;
    uint64_t fitting = wanted(fd, &lower_bound);
    if (fitting == 0)
        return;
    /* Up at once, down in steps: a path that ran dry must not do so every time. */
    uint64_t down = u->limit - u->limit / 8;
    if (fitting >= u->limit)
        u->limit = within(fitting, most);
    else if (!lower_bound)
        u->limit = within(fitting > down ? fitting : down, most);
}

void tp_unsent_wait(struct tp_unsent *u, int fd, uint32_t most, uint64_t now)
{
    if (now - u->measured_at >= measure_every) {
        u->measured_at = now;
        measure(u, fd, most);
    }
    if (u->watermark == u->limit)
        return;
    /* It may fail where a socket is none of TCP; that one says itself when it is full. */
    int watermark = (int)u->limit;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &watermark, sizeof watermark);
    u->watermark = u->limit;
}
