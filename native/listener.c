// SPDX-License-Identifier: Apache-2.0
#include "listener.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

enum {
    BACKLOG = 4096,
    /* Liveness is IKE's matter. This holds state in NATs, and ends what a vanished peer left behind: after a
     * minute of silence eight probes, a quarter of a minute apart; or as long without any progress of data.
     */
    KEEPALIVE_IDLE = 60,
    KEEPALIVE_INTERVAL = 15,
    KEEPALIVE_PROBES = 8,
    DEAD_AFTER = KEEPALIVE_IDLE + KEEPALIVE_PROBES * KEEPALIVE_INTERVAL,
};

static int set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value);
}

/* Who had the socket before may know better how long its path may be silent. */
static int set_user_timeout(int fd)
{
    int there;
    socklen_t length = sizeof there;
    if (getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &there, &length) == -1)
        return -1;
    return there > 0 ? 0 : set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_AFTER * 1000);
}

int tp_stream_options(int fd, const struct tp_config *config, struct tp_error *error)
{
    if (set(fd, IPPROTO_TCP, TCP_NODELAY, 1) == -1 ||
        set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)config->notsent_lowat) == -1 ||
        set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) == -1 ||
        set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE) == -1 ||
        set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL) == -1 ||
        set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES) == -1 || set_user_timeout(fd) == -1)
        return tp_fail(error, errno, "cannot set TCP options");
    if (config->congestion && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, config->congestion,
                                         (socklen_t)strlen(config->congestion)) == -1)
        return tp_fail(error, errno, "cannot set the congestion control '%s'", config->congestion);
    return 0;
}

/* A bound socket, listening unless it is the probe; -1 with `error` filled. */
static int bind_one(const struct tp_config *config, struct tp_address *address, bool probe,
                    struct tp_error *error)
{
    char text[64];
    tp_address_text(address, text, sizeof text);
    int fd = socket(address->family == 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd == -1)
        return tp_fail(error, errno, "listen %s: cannot make a socket", text);
    struct sockaddr_storage name;
    socklen_t length = tp_address_to(address, &name);
    if ((address->family == 6 && set(fd, SOL_IPV6, IPV6_V6ONLY, 1) == -1) ||
        set(fd, SOL_SOCKET, SO_REUSEADDR, 1) == -1 ||
        (!probe && set(fd, SOL_SOCKET, SO_REUSEPORT, 1) == -1)) {
        tp_fail(error, errno, "listen %s: cannot set socket options", text);
        goto failed;
    }
    /* Inherited by what is accepted, until that is let in: a peer that is refused then costs accept4 and close,
     * which resets it, and nothing of it stays in the kernel. */
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (!probe && setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == -1) {
        tp_fail(error, errno, "listen %s: cannot set socket options", text);
        goto failed;
    }
    if (!probe && tp_stream_options(fd, config, error) == -1)
        goto failed;
    if (bind(fd, (struct sockaddr *)&name, length) == -1) {
        tp_fail(error, errno, "listen %s: cannot bind", text);
        goto failed;
    }
    if (!probe && listen(fd, BACKLOG) == -1) {
        tp_fail(error, errno, "listen %s: cannot listen", text);
        goto failed;
    }
    if (getsockname(fd, (struct sockaddr *)&name, &length) == -1) {
        tp_fail(error, errno, "listen %s: cannot ask for the port", text);
        goto failed;
    }
    struct tp_address bound;
    tp_address_from(&name, &bound);
    address->port = bound.port;
    return fd;

failed:
    close(fd);
    return -1;
}

int tp_listen(const struct tp_config *config, const struct tp_address *address, int *fds,
              struct tp_error *error)
{
    struct tp_address at = *address;
    int probe = bind_one(config, &at, true, error);
    if (probe == -1)
        return -1;
    close(probe);
    for (unsigned w = 0; w < config->workers; w++) {
        fds[w] = bind_one(config, &at, false, error);
        if (fds[w] == -1) {
            while (w-- > 0)
                close(fds[w]);
            return -1;
        }
    }
    return at.port;
}
