// SPDX-License-Identifier: Apache-2.0
// Opening the link's sockets on a thread that enters the namespace and ends: no other ever leaves home.
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/ipv6.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "link.h"
#include "util.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* A second of traffic at 60 Mbit/s, or 5 ms at 14 Gbit/s: longer than a worker's longest turn. */
static const int buffer_bytes = 8 << 20;

struct job {
    struct tp_link *const *links;
    unsigned workers;
    const char *name_space;
    const bool *wanted;
    bool any_family;
    struct tp_error *error;
    int result;
};

static int set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value);
}

static int open_socket(int family, uint16_t port, bool shared, struct tp_error *error)
{
    bool v4 = family == AF_INET;
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd == -1) {
        tp_fail(error, errno, "link: cannot make a UDP socket over IPv%d", v4 ? 4 : 6);
        return -1;
    }
    const char *what;
    if ((what = "IP_TRANSPARENT",
         v4 ? set(fd, SOL_IP, IP_TRANSPARENT, 1) : set(fd, SOL_IPV6, IPV6_TRANSPARENT, 1)) == -1 ||
        (what = "IPV6_V6ONLY", v4 ? 0 : set(fd, SOL_IPV6, IPV6_V6ONLY, 1)) == -1 ||
        (what = "IP_PKTINFO", v4 ? set(fd, SOL_IP, IP_PKTINFO, 1) : set(fd, SOL_IPV6, IPV6_RECVPKTINFO, 1)) ==
            -1 ||
        (what = "IP_RECVTOS", v4 ? set(fd, SOL_IP, IP_RECVTOS, 1) : set(fd, SOL_IPV6, IPV6_RECVTCLASS, 1)) ==
            -1 ||
        (what = "UDP_GRO", set(fd, SOL_UDP, UDP_GRO, 1)) == -1 ||
        (what = "SO_RCVBUFFORCE", set(fd, SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes)) == -1 ||
        (what = "SO_SNDBUFFORCE", set(fd, SOL_SOCKET, SO_SNDBUFFORCE, buffer_bytes)) == -1 ||
        (what = "SO_REUSEPORT", shared ? set(fd, SOL_SOCKET, SO_REUSEPORT, 1) : 0) == -1) {
        tp_fail(error, errno, "link: cannot set %s on a UDP socket", what);
        close(fd);
        return -1;
    }
    struct tp_address any = {.family = v4 ? 4 : 6, .port = port};
    struct sockaddr_storage name;
    socklen_t length = tp_address_to(&any, &name);
    if (bind(fd, (struct sockaddr *)&name, length) == -1) {
        tp_fail(error, errno, "link: cannot bind UDP port %u over IPv%d", port, v4 ? 4 : 6);
        close(fd);
        return -1;
    }
    return fd;
}

/* The kernel numbers the sockets of a port in the order of their bind(): the filter answers with that. */
static int attach_selector(int fd, int family, unsigned workers, struct tp_error *error)
{
    /* The last 32 bits of the destination address, from the start of the IP header. */
    uint32_t destination = family == AF_INET ? 16 : 24 + 12;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + destination),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, workers),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) == -1)
        return tp_fail(error, errno,
                       "link: cannot attach the filter that spreads flow addresses over workers");
    return 0;
}

static int open_port(const struct job *job, unsigned which, unsigned port)
{
    int family = which == TP_LINK_V4 ? AF_INET : AF_INET6;
    /* With SO_REUSEPORT a second pump in the same namespace would silently share: ask without it first. */
    int probe = open_socket(family, tp_link_ports[port], false, job->error);
    if (probe == -1)
        return -1;
    if (job->workers == 1) {
        job->links[0]->socket[which][port].fd = probe;
        return 0;
    }
    close(probe);
    for (unsigned w = 0; w < job->workers; w++) {
        int fd = open_socket(family, tp_link_ports[port], true, job->error);
        if (fd == -1)
            return -1;
        job->links[w]->socket[which][port].fd = fd;
    }
    return attach_selector(job->links[0]->socket[which][port].fd, family, job->workers, job->error);
}

static int open_all(const struct job *job)
{
    int at = open(job->name_space, O_RDONLY | O_CLOEXEC);
    if (at == -1)
        return tp_fail(job->error, errno, "link: cannot open its network namespace %s", job->name_space);
    int entered = setns(at, CLONE_NEWNET);
    int number = errno;
    close(at);
    if (entered == -1)
        return tp_fail(job->error, number, "link: cannot enter its network namespace %s", job->name_space);
    unsigned opened = 0;
    for (unsigned which = 0; which < TP_LINK_FAMILIES; which++) {
        if (!job->wanted[which])
            continue;
        for (unsigned port = 0; port < TP_PORTS; port++) {
            if (open_port(job, which, port) == -1) {
                if (job->any_family && job->error->number == EAFNOSUPPORT)
                    break;
                return -1;
            }
            opened++;
        }
    }
    return opened > 0 ? 0 : -1;
}

static void *run(void *argument)
{
    struct job *job = argument;
    job->result = open_all(job);
    return NULL;
}

int tp_links_open(struct tp_link *const *links, unsigned workers, const char *name_space,
                  const bool wanted[TP_LINK_FAMILIES], bool any_family, struct tp_error *error)
{
    for (unsigned w = 0; w < workers; w++) {
        for (unsigned which = 0; which < TP_LINK_FAMILIES; which++) {
            for (unsigned port = 0; port < TP_PORTS; port++)
                links[w]->socket[which][port] =
                    (struct tp_link_socket){.handle.kind = TP_HANDLE_LINK, .fd = -1, .port = (uint8_t)port};
        }
    }
    struct job job = {links, workers, name_space, wanted, any_family, error, -1};
    pthread_t thread;
    int number = tp_thread_start(&thread, "pump-link", run, &job);
    if (number != 0)
        return tp_fail(error, number, "link: cannot start a thread to enter %s", name_space);
    pthread_join(thread, NULL);
    return job.result;
}

void tp_link_close(struct tp_link *link)
{
    for (unsigned which = 0; which < TP_LINK_FAMILIES; which++) {
        for (unsigned port = 0; port < TP_PORTS; port++) {
            if (link->socket[which][port].fd != -1)
                close(link->socket[which][port].fd);
            link->socket[which][port].fd = -1;
        }
    }
}
