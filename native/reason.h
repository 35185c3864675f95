// SPDX-License-Identifier: Apache-2.0
// Why a connection ended and what it spoke: the two enums that C and Python share by order.
//
// tpkt.errors.CloseReason and tpkt.sniff.Protocol have the same names in the same order; append at the end,
// never reorder. A framer's or recogniser's error is the negative of a reason. This file is read by the C
// compiler and, without its preprocessor lines, by cffi: declarations only, no macros.
#ifndef TP_REASON_H
#define TP_REASON_H

enum tp_reason {
    TP_REASON_NONE,
    TP_REASON_FIN,
    TP_REASON_RESET,
    TP_REASON_IO_ERROR,
    TP_REASON_BAD_VERSION,
    TP_REASON_BAD_RESERVED,
    TP_REASON_BAD_LENGTH,
    TP_REASON_FIN_IN_FRAME,
    TP_REASON_FIRST_BYTES_TIMEOUT,
    TP_REASON_FRAME_TIMEOUT,
    TP_REASON_IKE_TIMEOUT,
    TP_REASON_UNKNOWN_PROTOCOL,
    TP_REASON_TLS_NOT_CONFIGURED,
    TP_REASON_HTTP,
    TP_REASON_BAD_IKE,
    TP_REASON_LIMIT_CONNECTIONS,
    TP_REASON_LIMIT_SOURCE,
    TP_REASON_LIMIT_RATE,
    TP_REASON_NO_FLOW_ADDRESS,
    TP_REASON_NO_DESCRIPTORS,
    TP_REASON_OUT_OF_MEMORY,
    TP_REASON_CONTROL,
    TP_REASON_SHUTDOWN,
    TP_REASON_REPLACED,
    TP_REASON_NO_PROXY_HEADER,
    TP_REASON_BAD_PROXY_HEADER,
    TP_REASON_TLS_TIMEOUT,
    TP_REASON_TLS_NOTHING_SHARED,
    TP_REASON_TLS_CERTIFICATE_REFUSED,
    TP_REASON_TLS_ALERT,
    TP_REASON_TLS_GARBAGE,
    TP_REASON_TLS_PROTOCOL,
    TP_REASON_TLS_TRUNCATED,
    TP_REASON_BANNED,
    TP_REASON_DENIED,
    TP_REASON_LIMIT_IKE,
    TP_REASON_HTTP_RELAYED,
    TP_REASON_HTTP_IDLE,
    TP_REASON_HTTP_BACKEND,
    TP_REASON_HTTP_FULL,
    TP_REASON_TLS_EXPIRED,
    TP_REASON_TLS_WRONG_NAME,
    TP_REASON_TLS_UNKNOWN_CA,
    TP_REASON_TLS_PIN_MISMATCH,
    TP_REASON_TLS_BAD_CERTIFICATE,
    TP_REASON_COUNT
};

enum tp_protocol {
    TP_PROTOCOL_UNKNOWN,
    TP_PROTOCOL_TPKT,
    TP_PROTOCOL_RFC9329,
    TP_PROTOCOL_TLS,
    TP_PROTOCOL_HTTP,
    TP_PROTOCOL_FTT,
    TP_PROTOCOL_EFTF,
    TP_PROTOCOL_COUNT
};

/* The lower-case name, or "?" for a number that is none. */
const char *tp_reason_name(unsigned reason);
const char *tp_protocol_name(unsigned protocol);

#endif
