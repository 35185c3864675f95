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
    """Why a connection ended; the value is the name in lower case."""

    NONE = enum.auto()
    FIN = enum.auto()
    RESET = enum.auto()
    IO_ERROR = enum.auto()
    BAD_VERSION = enum.auto()
    BAD_RESERVED = enum.auto()
    BAD_LENGTH = enum.auto()
    FIN_IN_FRAME = enum.auto()
    FIRST_BYTES_TIMEOUT = enum.auto()
    FRAME_TIMEOUT = enum.auto()
    IKE_TIMEOUT = enum.auto()
    UNKNOWN_PROTOCOL = enum.auto()
    TLS_NOT_CONFIGURED = enum.auto()
    HTTP = enum.auto()
    BAD_IKE = enum.auto()
    LIMIT_CONNECTIONS = enum.auto()
    LIMIT_SOURCE = enum.auto()
    LIMIT_RATE = enum.auto()
    NO_FLOW_ADDRESS = enum.auto()
    NO_DESCRIPTORS = enum.auto()
    OUT_OF_MEMORY = enum.auto()
    CONTROL = enum.auto()
    SHUTDOWN = enum.auto()
    REPLACED = enum.auto()
    NO_PROXY_HEADER = enum.auto()
    BAD_PROXY_HEADER = enum.auto()
    TLS_TIMEOUT = enum.auto()
    TLS_NOTHING_SHARED = enum.auto()
    TLS_CERTIFICATE_REFUSED = enum.auto()
    TLS_ALERT = enum.auto()
    TLS_GARBAGE = enum.auto()
    TLS_PROTOCOL = enum.auto()
    TLS_TRUNCATED = enum.auto()
    BANNED = enum.auto()
    DENIED = enum.auto()
    LIMIT_IKE = enum.auto()
    HTTP_RELAYED = enum.auto()
    HTTP_IDLE = enum.auto()
    HTTP_BACKEND = enum.auto()
    HTTP_FULL = enum.auto()
    TLS_EXPIRED = enum.auto()
    TLS_WRONG_NAME = enum.auto()
    TLS_UNKNOWN_CA = enum.auto()
    TLS_PIN_MISMATCH = enum.auto()
    TLS_BAD_CERTIFICATE = enum.auto()

    @property
    def sentence(self) -> str:
        """What an operator reads beside the name."""
        return _SENTENCES[self]


_SENTENCES = {
    CloseReason.NONE: "it is open",
    CloseReason.FIN: "the peer closed it between two frames",
    CloseReason.RESET: "the peer or a box on the way reset it",
    CloseReason.IO_ERROR: "the system reported an error on the socket",
    CloseReason.BAD_VERSION: "the first byte of a TPKT' header was not 1: the stream is lost",
    CloseReason.BAD_RESERVED: "the reserved byte of a TPKT' header was not 0: the stream is lost",
    CloseReason.BAD_LENGTH: "a length was smaller than its own header: the stream is lost",
    CloseReason.FIN_IN_FRAME: "the peer closed it in the middle of a frame; the part was dropped",
    CloseReason.FIRST_BYTES_TIMEOUT: "the peer did not send enough to tell its protocol in time",
    CloseReason.FRAME_TIMEOUT: "the peer began a frame and did not finish it in time",
    CloseReason.IKE_TIMEOUT: "no IKE message was exchanged in time",
    CloseReason.UNKNOWN_PROTOCOL: "the first bytes belong to no protocol served here",
    CloseReason.TLS_NOT_CONFIGURED: "the peer began TLS, which is not configured on this port",
    CloseReason.HTTP: "an HTTP client: answered 404",
    CloseReason.BAD_IKE: "too many IKE messages with a broken header",
    CloseReason.LIMIT_CONNECTIONS: "too many connections were open, or had not yet told their protocol",
    CloseReason.LIMIT_SOURCE: "too many connections of this source had not proven anything yet",
    CloseReason.LIMIT_RATE: "this source opened connections faster than the limit allows",
    CloseReason.NO_FLOW_ADDRESS: "every flow address of the pool was taken",
    CloseReason.NO_DESCRIPTORS: "the process had no file descriptor left",
    CloseReason.OUT_OF_MEMORY: "memory for the connection could not be had",
    CloseReason.CONTROL: "the daemon closed it on request",
    CloseReason.SHUTDOWN: "the daemon stopped",
    CloseReason.REPLACED: "a newer connection took over its flow",
    CloseReason.NO_PROXY_HEADER: "a load balancer sent no PROXY header before its client's bytes",
    CloseReason.BAD_PROXY_HEADER: "a load balancer's PROXY header was broken or unfinished",
    CloseReason.TLS_TIMEOUT: "the TLS handshake was not finished in time",
    CloseReason.TLS_NOTHING_SHARED: "no TLS version, cipher, group or application protocol suits both ends",
    CloseReason.TLS_CERTIFICATE_REFUSED: "the peer refused our certificate",
    CloseReason.TLS_ALERT: "the peer ended TLS with an alert",
    CloseReason.TLS_GARBAGE: "bytes that are no TLS came where TLS was begun",
    CloseReason.TLS_PROTOCOL: "the peer broke the rules of TLS",
    CloseReason.TLS_TRUNCATED: "the peer closed the connection without the good-bye of TLS",
    CloseReason.BANNED: "its source is banned for a while, for what it did before or by the operator",
    CloseReason.DENIED: "its address is in a denied prefix",
    CloseReason.LIMIT_IKE: "too many connections waited for charon's first answer",
    CloseReason.HTTP_RELAYED: "an HTTP client: served by the web backend",
    CloseReason.HTTP_IDLE: "an HTTP client: neither it nor the web backend sent anything in time",
    CloseReason.HTTP_BACKEND: "an HTTP client: the web backend could not be reached, or broke off",
    CloseReason.HTTP_FULL: "an HTTP client: as many were relayed as may be, answered 503",
    CloseReason.TLS_EXPIRED: "the server's certificate is not valid today (or this clock is wrong)",
    CloseReason.TLS_WRONG_NAME: "the server's certificate is for another name",
    CloseReason.TLS_UNKNOWN_CA: "the server's certificate was not issued by an authority that we trust",
    CloseReason.TLS_PIN_MISMATCH: "the server's key is not the one that was pinned",
    CloseReason.TLS_BAD_CERTIFICATE: "the server's certificate cannot be used for this",
}


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
