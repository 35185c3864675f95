// SPDX-License-Identifier: Apache-2.0
// The plain channel: one system call on the connection's TCP socket, and what its failures mean. The other is
// tls.c.
#include "channel.h"

#include <errno.h>
#include <sys/socket.h>

#include "conn.h"
#include "tls.h"

static int failed(int number)
{
    switch (number) {
    case EAGAIN:
    case EINTR:
    case ENOBUFS:
        return 0;
    case ECONNRESET:
    case EPIPE:
        return -TP_REASON_RESET;
    default:
        return -TP_REASON_IO_ERROR;
    }
}

ssize_t tp_channel_read(struct tp_conn *conn, struct iovec *pieces, unsigned count)
{
    if (conn->tls)
        return tp_tls_read(conn->tls, pieces, count);
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
    ssize_t n = recvmsg(conn->fd, &message, MSG_DONTWAIT);
    if (n > 0)
        return n;
    return n == 0 ? -TP_REASON_FIN : failed(errno);
}

ssize_t tp_channel_write(struct tp_conn *conn, struct iovec *pieces, unsigned count, int flags)
{
    if (conn->tls)
        return tp_tls_write(conn->tls, pieces, count); /* one call ends with a record of its own anyway */
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
    ssize_t n = sendmsg(conn->fd, &message, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    return n >= 0 ? n : failed(errno);
}

int tp_channel_finish(struct tp_conn *conn)
{
    if (conn->tls)
        return tp_tls_finish(conn->tls);
    return shutdown(conn->fd, SHUT_WR) == 0 ? 0 : failed(errno);
}
