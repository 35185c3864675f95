// SPDX-License-Identifier: Apache-2.0
#include "tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "profile.h"
#include "reason.h"
#include "tls_blame.h"
#include "tls_client.h"

struct tp_tls {
    SSL *ssl;
    struct tp_tls_contexts *contexts; /* the server's, */
    struct tp_tls_client *client;     /* or the client's */
    uint8_t *scratch;
    int fd;
    bool established;
    bool feeding; /* OpenSSL still reads what was read before it came */
    bool wants_write;
    bool pending_only;
    int end;       /* a negative reason: found, and told by the next read; OpenSSL is not asked again */
    uint32_t kept; /* bytes of a record that OpenSSL holds and wants to be given again */
    uint8_t *keep; /* TP_TLS_RECORD bytes, while kept > 0 */
};

/* Calls of OpenSSL leave errors on the thread, and judge what they find there. */
static void begin_call(void)
{
    ERR_clear_error();
    errno = 0;
}

/* OpenSSL reads from the socket from here on. */
static bool read_socket(struct tp_tls *tls)
{
    BIO *bio = BIO_new_socket(tls->fd, BIO_NOCLOSE);
    if (!bio)
        return false;
    SSL_set0_rbio(tls->ssl, bio);
    tls->feeding = false;
    return true;
}

/* OpenSSL reads these bytes first. A copy: it may be slow to. */
static bool feed(struct tp_tls *tls, const uint8_t *at, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (!bio)
        return false;
    BIO_set_mem_eof_return(bio, -1);
    SSL_set0_rbio(tls->ssl, bio);
    tls->feeding = true;
    return BIO_write(bio, at, (int)size) == (int)size;
}

/* Takes `ssl`, which may be NULL. */
static struct tp_tls *make(SSL *ssl, int fd, uint8_t *scratch)
{
    struct tp_tls *tls = calloc(1, sizeof *tls);
    if (tls && ssl && SSL_set_fd(ssl, fd) == 1) {
        tls->ssl = ssl;
        tls->fd = fd;
        tls->scratch = scratch;
        return tls;
    }
    SSL_free(ssl);
    free(tls);
    return NULL;
}

struct tp_tls *tp_tls_accept(struct tp_tls_contexts *contexts, int fd, const uint8_t *at, size_t size,
                             uint8_t *scratch)
{
    begin_call();
    struct tp_tls *tls = make(SSL_new(contexts->context[0]), fd, scratch);
    if (!tls)
        return NULL;
    tls->contexts = contexts;
    contexts->users++;
    SSL_set_accept_state(tls->ssl);
    if (feed(tls, at, size))
        return tls;
    tp_tls_free(tls);
    return NULL;
}

/* A socket that is full just now misses it: TCP's own end follows. */
static void good_bye(struct tp_tls *tls)
{
    begin_call();
    if (tls->established && tls->kept == 0 && (tls->end == 0 || tls->end == -TP_REASON_FIN))
        (void)SSL_shutdown(tls->ssl);
}

void tp_tls_free(struct tp_tls *tls)
{
    good_bye(tls);
    SSL_free(tls->ssl);
    tp_tls_contexts_leave(tls->contexts);
    tp_tls_client_free(tls->client);
    free(tls->keep);
    free(tls);
}

struct tp_tls *tp_tls_connect(struct tp_tls_client *client, int fd, const uint8_t *at, size_t size,
                              uint8_t *scratch)
{
    begin_call();
    SSL *ssl = tp_tls_client_ssl(client);
    struct tp_tls *tls = make(ssl, fd, scratch);
    if (!tls) {
        tp_tls_client_free(ssl ? client : NULL); /* its user is the SSL */
        return NULL;
    }
    tls->client = client;
    if (size == 0 || feed(tls, at, size))
        return tls;
    tp_tls_free(tls);
    return NULL;
}

/* What a call that gave `result` means: 0 or a negative reason. */
static int judge(struct tp_tls *tls, int result)
{
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return 0;
    case SSL_ERROR_WANT_WRITE:
        tls->wants_write = true;
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        tls->end = -TP_REASON_FIN;
        return tls->end;
    default:
        tls->end = -(int)tp_tls_blame(tls->ssl);
        return tls->end;
    }
}

/* > 0: done, 0: not yet, < 0: the end. */
static int shake_hands(struct tp_tls *tls)
{
    for (;;) {
        begin_call();
        int result = SSL_do_handshake(tls->ssl);
        if (result == 1) {
            tls->established = true;
            return tls->feeding && !read_socket(tls) ? -TP_REASON_OUT_OF_MEMORY : 1;
        }
        int why = judge(tls, result);
        if (why < 0 || tls->wants_write || !tls->feeding)
            return why;
        if (!read_socket(tls)) /* what was read before is used up */
            return -TP_REASON_OUT_OF_MEMORY;
    }
}

ssize_t tp_tls_read(struct tp_tls *tls, const struct iovec *pieces, unsigned count)
{
    size_t done = 0;
    int why = 0;
    if (tls->end < 0)
        return tls->end;
    tls->wants_write = tls->kept > 0;
    if (!tls->established && (why = shake_hands(tls)) <= 0)
        return why;
    for (unsigned i = 0; i < count; i++) {
        size_t got, room = pieces[i].iov_len;
        uint8_t *to = pieces[i].iov_base;
        while (room > 0) {
            if (tls->pending_only && SSL_pending(tls->ssl) == 0)
                return (ssize_t)done;
            begin_call();
            int result = SSL_read_ex(tls->ssl, to, room, &got);
            if (result != 1) {
                why = judge(tls, result);
                return done > 0 ? (ssize_t)done : why;
            }
            done += got;
            to += got;
            room -= got;
        }
    }
    return (ssize_t)done;
}

/* 0: it is gone; 1: it is still there; < 0: the end. */
static int write_kept(struct tp_tls *tls)
{
    size_t written;
    if (tls->kept == 0)
        return 0;
    begin_call();
    int result = SSL_write_ex(tls->ssl, tls->keep, tls->kept, &written);
    if (result != 1) {
        int why = judge(tls, result);
        return why < 0 ? why : 1;
    }
    tls->kept = 0;
    free(tls->keep);
    tls->keep = NULL;
    return 0;
}

/* Bytes taken; `blocked` when the last of them wait in `keep`. */
static ssize_t write_record(struct tp_tls *tls, const uint8_t *at, size_t size, bool *blocked)
{
    size_t written;
    begin_call();
    int result = SSL_write_ex(tls->ssl, at, size, &written);
    if (result == 1)
        return (ssize_t)written;
    int why = judge(tls, result);
    if (why < 0)
        return why;
    *blocked = true;
    tls->keep = malloc(TP_TLS_RECORD);
    if (!tls->keep)
        return -TP_REASON_OUT_OF_MEMORY;
    memcpy(tls->keep, at, size);
    tls->kept = (uint32_t)size;
    tls->wants_write = true;
    return (ssize_t)size;
}

ssize_t tp_tls_write(struct tp_tls *tls, const struct iovec *pieces, unsigned count)
{
    size_t taken = 0, filled = 0, at = 0;
    bool blocked = false;
    if (tls->end < 0)
        return tls->end;
    if (!tls->established)
        return 0;
    tls->wants_write = false;
    int waiting = write_kept(tls);
    if (waiting != 0)
        return waiting < 0 ? waiting : 0;
    for (unsigned i = 0; i < count || filled > 0;) {
        size_t room = TP_TLS_RECORD - filled, left = i < count ? pieces[i].iov_len - at : 0;
        size_t part = left < room ? left : room;
        if (part > 0)
            memcpy(tls->scratch + filled, (const uint8_t *)pieces[i].iov_base + at, part);
        filled += part;
        at += part;
        if (i < count && at == pieces[i].iov_len) {
            i++;
            at = 0;
        }
        if (filled == 0 || (filled < TP_TLS_RECORD && i < count))
            continue;
        ssize_t n = write_record(tls, tls->scratch, filled, &blocked);
        if (n < 0)
            return n;
        taken += (size_t)n;
        if (blocked)
            break;
        filled = 0;
    }
    return (ssize_t)taken;
}

int tp_tls_finish(struct tp_tls *tls)
{
    good_bye(tls);
    return shutdown(tls->fd, SHUT_WR) == 0 ? 0 : -TP_REASON_IO_ERROR;
}

bool tp_tls_pending(const struct tp_tls *tls)
{
    return tls->feeding || tls->end < 0 || SSL_pending(tls->ssl) > 0;
}

void tp_tls_pending_only(struct tp_tls *tls, bool only)
{
    tls->pending_only = only;
}

bool tp_tls_wants_write(const struct tp_tls *tls)
{
    return tls->wants_write;
}

bool tp_tls_established(const struct tp_tls *tls)
{
    return tls->established;
}

struct tp_tls_facts tp_tls_facts(const struct tp_tls *tls)
{
    const unsigned char *name;
    unsigned int length;
    SSL_get0_alpn_selected(tls->ssl, &name, &length);
    return (struct tp_tls_facts){
        .version = (uint16_t)SSL_version(tls->ssl),
        .cipher = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(tls->ssl)),
        .resumed = SSL_session_reused(tls->ssl) == 1,
        .ktls_send = BIO_get_ktls_send(SSL_get_wbio(tls->ssl)) == 1,
        .ktls_receive = BIO_get_ktls_recv(SSL_get_rbio(tls->ssl)) == 1,
        .trikesec = length == strlen(TP_ALPN_TRIKESEC) && memcmp(name, TP_ALPN_TRIKESEC, length) == 0,
    };
}
