# SPDX-License-Identifier: Apache-2.0
"""Whose fault it was, and why a connection ended.

Two kinds of error leave the protocol core and nothing else does: `MisuseError` is ours and means a bug in
the caller, `PeerError` is the other end's and carries the reason under which the connection is closed and
counted.

`CloseReason` is one enum in two languages: `enum tp_reason` in the compiled pump has the same names in the
same order, so that its integer is `list(CloseReason)`'s index. Append at the end; never reorder. It must
not know who closes connections or how they are counted.
"""

from __future__ import annotations

import enum


class CloseReason(enum.StrEnum):
    """Why a connection ended. `sentence` is what an operator reads beside the name."""

    sentence: str

    def __new__(cls, value: str, sentence: str) -> CloseReason:
        """Keep the sentence beside the name: the two can then not drift apart."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member

    NONE = "none", "it is open"
    FIN = "fin", "the peer closed it between two frames"
    RESET = "reset", "the peer or a box on the way reset it"
    IO_ERROR = "io_error", "the system reported an error on the socket"
    BAD_VERSION = "bad_version", "the first byte of a TPKT' header was not 1: the stream is lost"
    BAD_RESERVED = "bad_reserved", "the reserved byte of a TPKT' header was not 0: the stream is lost"
    BAD_LENGTH = "bad_length", "a length was smaller than its own header: the stream is lost"
    FIN_IN_FRAME = "fin_in_frame", "the peer closed it in the middle of a frame; the part was dropped"
    FIRST_BYTES_TIMEOUT = "first_bytes_timeout", "the peer did not send enough to tell its protocol in time"
    FRAME_TIMEOUT = "frame_timeout", "the peer began a frame and did not finish it in time"
    IKE_TIMEOUT = "ike_timeout", "no IKE message was exchanged in time"
    UNKNOWN_PROTOCOL = "unknown_protocol", "the first bytes belong to no protocol served here"
    TLS_NOT_CONFIGURED = "tls_not_configured", "the peer began TLS, which is not configured on this port"
    HTTP = "http", "an HTTP client: answered 404"
    BAD_IKE = "bad_ike", "too many IKE messages with a broken header"
    LIMIT_CONNECTIONS = "limit_connections", "as many connections as the limit allows were open"
    LIMIT_SOURCE = "limit_source", "too many connections of this source had not yet told their protocol"
    LIMIT_RATE = "limit_rate", "this source opened connections faster than the limit allows"
    NO_FLOW_ADDRESS = "no_flow_address", "every flow address of the pool was taken"
    NO_DESCRIPTORS = "no_descriptors", "the process had no file descriptor left"
    OUT_OF_MEMORY = "out_of_memory", "memory for the connection could not be had"
    CONTROL = "control", "the daemon closed it on request"
    SHUTDOWN = "shutdown", "the daemon stopped"
    REPLACED = "replaced", "a newer connection took over its flow"


class TpktError(Exception):
    """Anything that can go wrong in the protocol core."""


class MisuseError(TpktError, ValueError):
    """The caller broke this module's contract: a bug on our side, never the peer's doing."""


class PeerError(TpktError):
    """The other end broke a rule. From a decoder: the stream is lost, no later byte of it means anything."""

    def __init__(self, reason: CloseReason, detail: str) -> None:
        """`reason` is counted; `detail` says what was found where."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
