# SPDX-License-Identifier: Apache-2.0
"""`TlsClient`: whom to believe at the other end of TLS, and the session that the next connection resumes.

One for each gateway, given to `Pump.adopt` with every connection to it; its connections may outlive it.
"""

from __future__ import annotations

from typing import Any

from tpkt.pump import native
from tpkt.pump.tls import TlsTrust


class TlsClient:
    """The client's side of TLS to one gateway. Raises PumpError when `trust` cannot be used."""

    def __init__(self, trust: TlsTrust) -> None:
        """Nothing is connected by this."""
        self.trust = trust
        self.handle: Any = native.tls_client(trust)  # for the pump alone
