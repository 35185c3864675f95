# SPDX-License-Identifier: Apache-2.0
"""The pump: framed streams on one side, the link to charon on the other, moved by threads of its own.

`Pump` is the typed face of the compiled data plane and the only importer of `tpkt._native`.
"""

from tpkt.pump.config import Limits, PumpConfig
from tpkt.pump.events import ConnectionInfo, ConnectionState, EventKind, PumpEvent

__all__ = ["ConnectionInfo", "ConnectionState", "EventKind", "Limits", "PumpConfig", "PumpEvent"]
