// SPDX-License-Identifier: Apache-2.0
// How the bytes of a connection are read and written: the seam between a stream and what carries it.
//
// One answer shape: > 0 bytes, 0 nothing at the moment, < 0 the end: the negative tp_reason (TP_REASON_FIN is
// the peer's orderly one). Nothing here waits. A connection is plain until
// TLS is put between (conn->tls); the plain way is one system call. Must not know frames, queues or deadlines.
#ifndef TP_CHANNEL_H
#define TP_CHANNEL_H

#include <sys/types.h>
#include <sys/uio.h>

struct tp_conn;

ssize_t tp_channel_read(struct tp_conn *conn, struct iovec *pieces, unsigned count);

/* `flags` of sendmsg(2), MSG_EOR for one; those that keep it from waiting or killing are added here. */
ssize_t tp_channel_write(struct tp_conn *conn, struct iovec *pieces, unsigned count, int flags);

/* Nothing more will be written; the peer is told. 0 or a negative tp_reason. */
int tp_channel_finish(struct tp_conn *conn);

#endif
