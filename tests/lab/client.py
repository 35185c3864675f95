# SPDX-License-Identifier: Apache-2.0
"""The lab's client: `tc-client` in a UE's namespace, as somebody whom the lab's gateway knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tests.lab.daemons import Daemon
from tests.lab.gateway import (
    CORE_NETWORK,
    EAP_PASSWORD,
    EAP_USER,
    ESP_PROPOSALS,
    ID,
    PROPOSALS,
    PSK,
    PSK_ID,
    esp_engine,
)
from tests.lab.netns import Namespace
from tests.lab.pki import Authority, Identity
from tests.lab.toml import Value
from tests.lab.topology import CORE, GW

Auth = Literal["pubkey", "psk", "eap"]


def identity_table(
    auth: Auth, authority: Authority, identity: Identity | None, name: str
) -> dict[str, Value]:
    """Give the `[identity]` of the configuration; `identity` replaces the certificate that would be made."""
    if auth == "psk":
        return {"auth": "psk", "id": PSK_ID, "secret": PSK}
    if auth == "eap":
        return {"auth": "eap-md5", "eap_id": EAP_USER, "secret": EAP_PASSWORD, "ca": authority.cert}
    own = identity or authority.client(name)
    return {"auth": "pubkey", "id": own.id, "cert": own.cert, "key": own.key, "ca": authority.cert}


class Client(Daemon):
    """`tc-client run`, configured for the lab."""

    def __init__(
        self,
        namespace: Namespace,
        directory: Path,
        authority: Authority,
        *,
        instance: str,
        gateway: str = GW,
        auth: Auth = "pubkey",
        identity: Identity | None = None,
        udp: bool = True,
        **ladder: Value,
    ) -> None:
        """Write the configuration; `ladder` are keys of its table of that name. Start nothing yet.

        Without `udp` TCP is the only way that it tries.
        """
        tables: Mapping[str, Value] = {
            "client": {"instance": instance, "runtime": directory / "run"},
            "gateway": {"address": gateway, "id": ID, "udp": udp, "tcp_ports": [80]},
            "charon": {"esp": esp_engine()},
            "identity": identity_table(auth, authority, identity, f"{instance}@example"),
            "tunnel": {
                "remote_ts": [CORE_NETWORK],
                "proposals": PROPOSALS,
                "esp_proposals": ESP_PROPOSALS,
                "probe_address": CORE,
            },
            "ladder": ladder,
        }
        super().__init__("tc-client", namespace, directory, tables)
        self.config.chmod(0o600)  # there may be secrets in it
