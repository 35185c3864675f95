// SPDX-License-Identifier: Apache-2.0
// The names of reasons and protocols: the values of the Python enums, and parts of counter names.
#include "reason.h"

static const char *const reasons[TP_REASON_COUNT] = {
    [TP_REASON_NONE] = "none",
    [TP_REASON_FIN] = "fin",
    [TP_REASON_RESET] = "reset",
    [TP_REASON_IO_ERROR] = "io_error",
    [TP_REASON_BAD_VERSION] = "bad_version",
    [TP_REASON_BAD_RESERVED] = "bad_reserved",
    [TP_REASON_BAD_LENGTH] = "bad_length",
    [TP_REASON_FIN_IN_FRAME] = "fin_in_frame",
    [TP_REASON_FIRST_BYTES_TIMEOUT] = "first_bytes_timeout",
    [TP_REASON_FRAME_TIMEOUT] = "frame_timeout",
    [TP_REASON_IKE_TIMEOUT] = "ike_timeout",
    [TP_REASON_UNKNOWN_PROTOCOL] = "unknown_protocol",
    [TP_REASON_TLS_NOT_CONFIGURED] = "tls_not_configured",
    [TP_REASON_HTTP] = "http",
    [TP_REASON_BAD_IKE] = "bad_ike",
    [TP_REASON_LIMIT_CONNECTIONS] = "limit_connections",
    [TP_REASON_LIMIT_SOURCE] = "limit_source",
    [TP_REASON_LIMIT_RATE] = "limit_rate",
    [TP_REASON_NO_FLOW_ADDRESS] = "no_flow_address",
    [TP_REASON_NO_DESCRIPTORS] = "no_descriptors",
    [TP_REASON_OUT_OF_MEMORY] = "out_of_memory",
    [TP_REASON_CONTROL] = "control",
    [TP_REASON_SHUTDOWN] = "shutdown",
    [TP_REASON_REPLACED] = "replaced",
    [TP_REASON_NO_PROXY_HEADER] = "no_proxy_header",
    [TP_REASON_BAD_PROXY_HEADER] = "bad_proxy_header",
    [TP_REASON_TLS_TIMEOUT] = "tls_timeout",
    [TP_REASON_TLS_NOTHING_SHARED] = "tls_nothing_shared",
    [TP_REASON_TLS_CERTIFICATE_REFUSED] = "tls_certificate_refused",
    [TP_REASON_TLS_ALERT] = "tls_alert",
    [TP_REASON_TLS_GARBAGE] = "tls_garbage",
    [TP_REASON_TLS_PROTOCOL] = "tls_protocol",
    [TP_REASON_TLS_TRUNCATED] = "tls_truncated",
    [TP_REASON_BANNED] = "banned",
    [TP_REASON_DENIED] = "denied",
    [TP_REASON_LIMIT_IKE] = "limit_ike",
    [TP_REASON_HTTP_RELAYED] = "http_relayed",
    [TP_REASON_HTTP_IDLE] = "http_idle",
    [TP_REASON_HTTP_BACKEND] = "http_backend",
    [TP_REASON_HTTP_FULL] = "http_full",
    [TP_REASON_TLS_EXPIRED] = "tls_expired",
    [TP_REASON_TLS_WRONG_NAME] = "tls_wrong_name",
    [TP_REASON_TLS_UNKNOWN_CA] = "tls_unknown_ca",
    [TP_REASON_TLS_PIN_MISMATCH] = "tls_pin_mismatch",
    [TP_REASON_TLS_BAD_CERTIFICATE] = "tls_bad_certificate",
};

static const char *const protocols[TP_PROTOCOL_COUNT] = {
    [TP_PROTOCOL_UNKNOWN] = "unknown", [TP_PROTOCOL_TPKT] = "tpkt", [TP_PROTOCOL_RFC9329] = "rfc9329",
    [TP_PROTOCOL_TLS] = "tls",         [TP_PROTOCOL_HTTP] = "http", [TP_PROTOCOL_FTT] = "ftt",
    [TP_PROTOCOL_EFTF] = "eftf",
};

const char *tp_reason_name(unsigned reason)
{
    return reason < TP_REASON_COUNT ? reasons[reason] : "?";
}

const char *tp_protocol_name(unsigned protocol)
{
    return protocol < TP_PROTOCOL_COUNT ? protocols[protocol] : "?";
}
