// SPDX-License-Identifier: Apache-2.0
// Certificates and keys become contexts; a client's server name and ALPN choose among what is there.
#include "tls_context.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"
#include "util.h"

enum { SESSION_SECONDS = 2 * TP_TICKET_SECONDS };

static const unsigned char session_context[] = "trikesec"; /* the same for all: a ticket is good for each */

/* A key file that asks for a password gets none: nobody sits there to type it. */
static int no_password(char *text, int size, int writing, void *unused)
{
    (void)text, (void)size, (void)writing, (void)unused;
    return -1;
}

static EVP_PKEY *read_key(const uint8_t *data, size_t size)
{
    static const char pem[] = "-----BEGIN";
    const unsigned char *at = data;
    EVP_PKEY *key = NULL;
    if (size < sizeof pem || size > INT32_MAX)
        return NULL;
    if (memmem(data, size, pem, sizeof pem - 1) == NULL)
        return d2i_AutoPrivateKey(NULL, &at, (long)size);
    BIO *bio = BIO_new_mem_buf(data, (int)size);
    if (bio)
        key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    BIO_free(bio);
    return key;
}

/* The first is the server's own, the others go along. */
static bool use_chain(SSL_CTX *context, const uint8_t *data, size_t size)
{
    const unsigned char *at = data, *end = data + size;
    bool first = true, good = size > 0;
    while (good && at < end) {
        X509 *one = d2i_X509(NULL, &at, end - at);
        good = one && (first ? SSL_CTX_use_certificate(context, one) == 1
                             : SSL_CTX_add1_chain_cert(context, one) == 1);
        X509_free(one);
        first = false;
    }
    return good;
}

static bool use_certificate(SSL_CTX *context, const struct tp_tls_certificate *certificate)
{
    EVP_PKEY *key = read_key(certificate->key, certificate->key_size);
    bool good = key && use_chain(context, certificate->chain, certificate->chain_size) &&
                SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1;
    EVP_PKEY_free(key);
    return good;
}

/* The first of ours that the client offers: trikesec/1 before http/1.1 (RFC 7301 3.2, the server's choice). */
static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *length,
                           const unsigned char *offered, unsigned int size, void *unused)
{
    static const unsigned char ours[] = "\x0a" TP_ALPN_TRIKESEC "\x08" TP_ALPN_HTTP;
    unsigned char *out;
    (void)ssl, (void)unused;
    if (SSL_select_next_proto(&out, length, ours, sizeof ours - 1, offered, size) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *chosen = out;
    return SSL_TLSEXT_ERR_OK;
}

/* RFC 6066 3: a name nobody here has is no reason to refuse; the default's certificate tells the client. */
static int choose_certificate(SSL *ssl, int *alert, void *argument)
{
    const struct tp_tls_contexts *contexts = argument;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    if (!name)
        return SSL_TLSEXT_ERR_NOACK;
    for (uint32_t i = 0; i < contexts->count; i++) {
        X509 *certificate = SSL_CTX_get0_certificate(contexts->context[i]);
        if (X509_check_host(certificate, name, 0, 0, NULL) == 1) {
            SSL_set_SSL_CTX(ssl, contexts->context[i]);
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *make(const struct tp_tls_server *server, const struct tp_tls_certificate *certificate,
                     struct tp_tickets *tickets)
{
    SSL_CTX *context = tp_profile_context(true, (int)server->minimum, server->ktls != 0);
    if (!context)
        return NULL;
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* tickets hold all there is to remember */
    SSL_CTX_set_timeout(context, SESSION_SECONDS);
    if (server->tickets)
        tp_tickets_use(tickets, context);
    else
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    if (SSL_CTX_set_num_tickets(context, server->tickets ? 1 : 0) == 1 &&
        SSL_CTX_set_session_id_context(context, session_context, sizeof session_context - 1) == 1 &&
        use_certificate(context, certificate))
        return context;
    SSL_CTX_free(context);
    return NULL;
}

struct tp_tls_contexts *tp_tls_contexts_new(const struct tp_tls_server *server, struct tp_tickets *tickets,
                                            struct tp_error *error)
{
    struct tp_tls_contexts *made =
        calloc(1, sizeof *made + server->count * sizeof(SSL_CTX *));
    if (!made) {
        tp_fail(error, ENOMEM, "TLS: cannot get memory for %u certificates", server->count);
        return NULL;
    }
    made->users = 1;
    for (; made->count < server->count; made->count++) {
        SSL_CTX *context = make(server, &server->certificates[made->count], tickets);
        if (!context) {
            tp_fail(error, EINVAL, "TLS: certificate %u and its key cannot be used (%s)", made->count + 1,
                    tp_profile_error());
            tp_tls_contexts_leave(made);
            return NULL;
        }
        made->context[made->count] = context;
        SSL_CTX_set_tlsext_servername_callback(context, choose_certificate);
        SSL_CTX_set_tlsext_servername_arg(context, made);
    }
    return made;
}

void tp_tls_contexts_leave(struct tp_tls_contexts *contexts)
{
    if (!contexts || --contexts->users > 0)
        return;
    for (uint32_t i = 0; i < contexts->count; i++)
        SSL_CTX_free(contexts->context[i]);
    free(contexts);
}
