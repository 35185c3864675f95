// SPDX-License-Identifier: Apache-2.0
// Whom a client believes, inside TLS: authorities and a name, pinned keys, or both; and the session it resumes.
//
// One for all connections to one gateway, from any thread; it lives until its owner and the last connection
// made from it have let go. A pinned key is the SHA-256 of the certificate's SubjectPublicKeyInfo; where only
// keys are pinned, the key alone decides: dates, names and issuers of the certificate mean nothing then.
#ifndef TP_TLS_CLIENT_H
#define TP_TLS_CLIENT_H

#include <openssl/ssl.h>

#include "api.h"

/* An SSL with everything set that this client wants, one more user; NULL when memory is short. */
SSL *tp_tls_client_ssl(struct tp_tls_client *client);

#endif
