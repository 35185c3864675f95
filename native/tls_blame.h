// SPDX-License-Identifier: Apache-2.0
// Why TLS ended: OpenSSL's many errors become a few reasons that an operator can act on.
#ifndef TP_TLS_BLAME_H
#define TP_TLS_BLAME_H

#include <openssl/ssl.h>

#include "reason.h"

/* Reads this thread's error queue and errno, right after the call that failed; both were empty before it. */
enum tp_reason tp_tls_blame(const SSL *ssl);

#endif
