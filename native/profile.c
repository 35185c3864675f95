// SPDX-License-Identifier: Apache-2.0
#include "profile.h"

#include <openssl/err.h>

#include "api.h"

static const char tls13[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char tls12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                            "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                            "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char groups[] = "X25519:P-256:P-384";
static const char signatures[] = "ECDSA+SHA256:ECDSA+SHA384:ed25519:RSA-PSS+SHA256:RSA-PSS+SHA384:"
                                 "RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512";

enum { SECURITY_LEVEL = 2 /* 112 bits: RSA from 2048 bits on, no SHA-1 */ };

static bool apply(SSL_CTX *context, int minimum, bool ktls)
{
    uint64_t options = SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                       SSL_OP_PRIORITIZE_CHACHA;
    if (ktls)
        options |= SSL_OP_ENABLE_KTLS;
    SSL_CTX_clear_options(context, ~(uint64_t)0); /* what openssl.cnf may have put there */
    SSL_CTX_set_options(context, options);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_security_level(context, SECURITY_LEVEL);
    SSL_CTX_set_read_ahead(context, 0); /* so that SSL_pending tells all that epoll does not */
    return SSL_CTX_set_min_proto_version(context, minimum) == 1 &&
           SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_ciphersuites(context, tls13) == 1 && SSL_CTX_set_cipher_list(context, tls12) == 1 &&
           SSL_CTX_set1_groups_list(context, groups) == 1 &&
           SSL_CTX_set1_sigalgs_list(context, signatures) == 1 &&
           SSL_CTX_set_max_early_data(context, 0) == 1 && SSL_CTX_set_recv_max_early_data(context, 0) == 1;
}

SSL_CTX *tp_profile_context(bool server, int minimum, bool ktls)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (!context || apply(context, minimum, ktls))
        return context;
    SSL_CTX_free(context);
    return NULL;
}

int tp_ktls_built(void)
{
#ifdef OPENSSL_NO_KTLS
    return 0;
#else
    return 1;
#endif
}

const char *tp_profile_error(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return reason ? reason : "no reason given";
}
