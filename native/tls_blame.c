// SPDX-License-Identifier: Apache-2.0
#include "tls_blame.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>

/* RFC 8446 6.2: what the peer said when it ended the connection. */
static enum tp_reason alert(int description)
{
    switch (description) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
        return TP_REASON_TLS_CERTIFICATE_REFUSED;
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_PROTOCOL_VERSION:
    case SSL_AD_INSUFFICIENT_SECURITY:
    case SSL_AD_INAPPROPRIATE_FALLBACK:
    case SSL_AD_NO_APPLICATION_PROTOCOL:
        return TP_REASON_TLS_NOTHING_SHARED;
    default:
        return TP_REASON_TLS_ALERT;
    }
}

static enum tp_reason own_finding(int reason)
{
    switch (reason) {
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SHARED_GROUPS:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SUITABLE_GROUPS:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_CIPHERS_AVAILABLE:
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_INAPPROPRIATE_FALLBACK:
        return TP_REASON_TLS_NOTHING_SHARED;
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_ENCRYPTED_LENGTH_TOO_LONG:
    case SSL_R_DATA_LENGTH_TOO_LONG:
    case SSL_R_RECORD_LENGTH_MISMATCH:
    case SSL_R_BAD_RECORD_TYPE:
        return TP_REASON_TLS_GARBAGE;
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return TP_REASON_TLS_TRUNCATED;
    default:
        return TP_REASON_TLS_PROTOCOL;
    }
}

/* Why we do not believe the peer's certificate. */
static enum tp_reason distrust(long verdict)
{
    switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return TP_REASON_TLS_EXPIRED;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return TP_REASON_TLS_WRONG_NAME;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_UNTRUSTED:
        return TP_REASON_TLS_UNKNOWN_CA;
    case X509_V_ERR_APPLICATION_VERIFICATION:
        return TP_REASON_TLS_PIN_MISMATCH;
    default:
        return TP_REASON_TLS_BAD_CERTIFICATE;
    }
}

enum tp_reason tp_tls_blame(const SSL *ssl)
{
    int number = errno;
    unsigned long error = ERR_peek_error();
    if (error == 0) {
        if (number == ECONNRESET || number == EPIPE)
            return TP_REASON_RESET;
        return number == 0 ? TP_REASON_TLS_TRUNCATED : TP_REASON_IO_ERROR;
    }
    int reason = ERR_GET_REASON(error);
    if (ERR_GET_LIB(error) == ERR_LIB_SYS)
        return reason == ECONNRESET || reason == EPIPE ? TP_REASON_RESET : TP_REASON_IO_ERROR;
    if (ERR_GET_LIB(error) != ERR_LIB_SSL)
        return reason == ERR_R_MALLOC_FAILURE ? TP_REASON_OUT_OF_MEMORY : TP_REASON_TLS_PROTOCOL;
    if (reason > SSL_AD_REASON_OFFSET)
        return alert(reason - SSL_AD_REASON_OFFSET);
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return distrust(SSL_get_verify_result(ssl));
    return own_finding(reason);
}
