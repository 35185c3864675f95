// SPDX-License-Identifier: Apache-2.0
#include "tls_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"
#include "util.h"

struct tp_tls_client {
    _Atomic uint32_t users;
    SSL_CTX *context;
    char *name; /* of the server: a DNS name or an address */
    bool name_is_address, by_chain;
    size_t pin_count;
    uint8_t (*pins)[TP_TLS_PIN];
    pthread_mutex_t lock;
    SSL_SESSION *last; /* what the next connection resumes */
};

static bool is_pinned(const struct tp_tls_client *client, X509 *certificate)
{
    uint8_t found[EVP_MAX_MD_SIZE];
    unsigned char *der = NULL;
    int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    bool digested = size > 0 && EVP_Digest(der, (size_t)size, found, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    for (size_t i = 0; digested && i < client->pin_count; i++) {
        if (memcmp(found, client->pins[i], TP_TLS_PIN) == 0)
            return true;
    }
    return false;
}

static int believe(X509_STORE_CTX *store, void *argument)
{
    const struct tp_tls_client *client = argument;
    if (client->pin_count > 0 && !is_pinned(client, X509_STORE_CTX_get0_cert(store))) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }
    return client->by_chain ? X509_verify_cert(store) : 1;
}

/* OpenSSL's: 1 keeps the reference it comes with. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tp_tls_client *client = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    pthread_mutex_lock(&client->lock);
    SSL_SESSION *before = client->last;
    client->last = session;
    pthread_mutex_unlock(&client->lock);
    SSL_SESSION_free(before);
    return 1;
}

/* A ticket of TLS 1.3 is used once (RFC 8446 C.4), and each connection brings a new one. */
static SSL_SESSION *take_session(struct tp_tls_client *client)
{
    pthread_mutex_lock(&client->lock);
    SSL_SESSION *session = client->last;
    if (session && SSL_SESSION_get_protocol_version(session) == TLS1_3_VERSION)
        client->last = NULL;
    else if (session)
        SSL_SESSION_up_ref(session);
    pthread_mutex_unlock(&client->lock);
    return session;
}

static bool add_authorities(SSL_CTX *context, const uint8_t *data, size_t size)
{
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    const unsigned char *at = data, *end = data + size;
    bool good = true;
    while (good && at < end) {
        X509 *one = d2i_X509(NULL, &at, end - at);
        good = one && X509_STORE_add_cert(store, one) == 1;
        X509_free(one);
    }
    return good;
}

static bool prepare(struct tp_tls_client *client, const struct tp_tls_client_config *config)
{
    static const unsigned char offered[] = "\x0a" TP_ALPN_TRIKESEC;
    SSL_CTX *context = client->context = tp_profile_context(false, (int)config->minimum, config->ktls != 0);
    if (!context)
        return false;
    SSL_CTX_set_app_data(context, client);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(context, believe, client);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    if (SSL_CTX_set_alpn_protos(context, offered, sizeof offered - 1) != 0) /* 0 is success here */
        return false;
    if (config->system_authorities)
        return SSL_CTX_set_default_verify_paths(context) == 1;
    return add_authorities(context, config->authorities, config->authorities_size);
}

struct tp_tls_client *tp_tls_client_new(const struct tp_tls_client_config *config, struct tp_error *error)
{
    uint8_t address[16];
    struct tp_tls_client *client = calloc(1, sizeof *client);
    if (!client) {
        tp_fail(error, ENOMEM, "TLS: cannot get memory for a client");
        return NULL;
    }
    client->users = 1;
    pthread_mutex_init(&client->lock, NULL);
    client->name = strdup(config->server_name);
    client->name_is_address = inet_pton(AF_INET, config->server_name, address) == 1 ||
                              inet_pton(AF_INET6, config->server_name, address) == 1;
    client->by_chain = config->system_authorities || config->authorities_size > 0;
    client->pin_count = config->pin_count;
    client->pins = calloc(config->pin_count + 1, sizeof *client->pins);
    if (client->name && client->pins) {
        if (config->pin_count > 0)
            memcpy(client->pins, config->pins, config->pin_count * sizeof *client->pins);
        if (prepare(client, config))
            return client;
    }
    tp_fail(error, EINVAL, "TLS: authorities cannot be used (%s)", tp_profile_error());
    tp_tls_client_free(client);
    return NULL;
}

void tp_tls_client_free(struct tp_tls_client *client)
{
    if (!client || atomic_fetch_sub_explicit(&client->users, 1, memory_order_acq_rel) > 1)
        return;
    SSL_SESSION_free(client->last);
    SSL_CTX_free(client->context);
    pthread_mutex_destroy(&client->lock);
    free(client->pins);
    free(client->name);
    free(client);
}

static bool name_it(SSL *ssl, const struct tp_tls_client *client)
{
    if (client->name_is_address)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), client->name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, client->name) == 1 && SSL_set1_host(ssl, client->name) == 1;
}

SSL *tp_tls_client_ssl(struct tp_tls_client *client)
{
    SSL *ssl = SSL_new(client->context);
    if (!ssl)
        return NULL;
    SSL_SESSION *session = take_session(client);
    bool good = name_it(ssl, client) && (!session || SSL_set_session(ssl, session) == 1);
    SSL_SESSION_free(session);
    if (!good) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_connect_state(ssl);
    atomic_fetch_add_explicit(&client->users, 1, memory_order_relaxed);
    return ssl;
}
