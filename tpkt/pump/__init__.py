# SPDX-License-Identifier: Apache-2.0
"""The pump: framed streams on one side, the link to charon on the other, moved by threads of its own.

`Pump` is the typed face of the compiled data plane; only this package imports `tpkt._native`.
"""

from tpkt.pump.config import Banning, Limits, PumpConfig, WebBackend
from tpkt.pump.errors import HandOverError, PumpError
from tpkt.pump.events import Ban, ConnectionInfo, ConnectionState, EventKind, PumpEvent
from tpkt.pump.face import Pump
from tpkt.pump.native import ktls_built
from tpkt.pump.tls import TlsCertificate, TlsInfo, TlsServer, TlsTrust
from tpkt.pump.tlsclient import TlsClient

__all__ = [
    "Ban",
    "Banning",
    "ConnectionInfo",
    "ConnectionState",
    "EventKind",
    "HandOverError",
    "Limits",
    "Pump",
    "PumpConfig",
    "PumpError",
    "PumpEvent",
    "TlsCertificate",
    "TlsClient",
    "TlsInfo",
    "TlsServer",
    "TlsTrust",
    "WebBackend",
    "ktls_built",
]
