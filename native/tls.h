// SPDX-License-Identifier: Apache-2.0
// The TLS channel of one connection: OpenSSL on the connection's own non-blocking socket.
//
// Same answers as channel.h. The handshake is a part of reading: until it is done, reading gives 0, or the end
// with its reason. What OpenSSL could not get rid of at once it wants to see again byte for byte (one record);
// that record is kept here and counts as written, so that queues stay free to reorder and drop what they hold.
// Must not know frames, queues, deadlines or counters: stream_tls.c, which does, is beside it.
#ifndef TP_TLS_H
#define TP_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "tls_context.h"

enum {
    TP_TLS_RECORD = 16384, /* RFC 8446 5.1: the most that one holds */
};

struct tp_tls;

/* What a handshake came to. */
struct tp_tls_facts {
    uint16_t version; /* 0x0303, 0x0304 */
    uint16_t cipher;  /* IANA's number */
    bool resumed, ktls_send, ktls_receive;
    bool trikesec; /* ALPN trikesec/1 */
};

/* The server's side on `fd`, whose first `size` bytes were read already. NULL when memory is short. `scratch`
 * has TP_TLS_RECORD bytes and may be shared by all connections of a thread. */
struct tp_tls *tp_tls_accept(struct tp_tls_contexts *contexts, int fd, const uint8_t *at, size_t size,
                             uint8_t *scratch);

/* The client's side: the same, with the first bytes of the server if there are any. */
struct tp_tls *tp_tls_connect(struct tp_tls_client *client, int fd, const uint8_t *at, size_t size,
                              uint8_t *scratch);

/* Says good-bye where there is somebody to hear it. */
void tp_tls_free(struct tp_tls *tls);

ssize_t tp_tls_read(struct tp_tls *tls, const struct iovec *pieces, unsigned count);
ssize_t tp_tls_write(struct tp_tls *tls, const struct iovec *pieces, unsigned count);
int tp_tls_finish(struct tp_tls *tls);

/* Whether there is something to read that epoll does not know of. */
bool tp_tls_pending(const struct tp_tls *tls);

/* Reading gives no more than that, 16 KiB at most, and leaves the socket alone. */
void tp_tls_pending_only(struct tp_tls *tls, bool only);

/* Whether it waits for room in the socket, whoever has something to say. */
bool tp_tls_wants_write(const struct tp_tls *tls);

bool tp_tls_established(const struct tp_tls *tls);
struct tp_tls_facts tp_tls_facts(const struct tp_tls *tls);

#endif
