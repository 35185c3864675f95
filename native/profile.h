// SPDX-License-Identifier: Apache-2.0
// What TLS may be here: the versions, ciphers, groups and signatures of both roles.
//
// 3GPP's profile (TS 33.310 annex E, since release 15 TS 33.210 6.2) without what it only tolerates: ephemeral
// ECDH and AEAD ciphers alone, no renegotiation, no compression, no early data. Everything is set explicitly,
// so that the system's openssl.cnf neither weakens nor narrows it. Must not know certificates.
#ifndef TP_PROFILE_H
#define TP_PROFILE_H

#include <openssl/ssl.h>
#include <stdbool.h>

/* The one protocol name that says TPKT' inside. */
#define TP_ALPN_TRIKESEC "trikesec/1"
#define TP_ALPN_HTTP     "http/1.1"

/* A context of that profile, or NULL. `minimum` is TLS1_2_VERSION or TLS1_3_VERSION. */
SSL_CTX *tp_profile_context(bool server, int minimum, bool ktls);

/* The first error OpenSSL has noted on this thread, in its words; they are all forgotten then. */
const char *tp_profile_error(void);

#endif
