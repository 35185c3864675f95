# SPDX-License-Identifier: Apache-2.0
"""The lab's gateway: `eseg` in the namespace `gw`, which takes every kind of client that the product knows.

Three connections stand side by side: clients with certificates, clients with a shared secret, users with an
EAP password. All get inner addresses of 10.66.0.0/16 and reach the core network.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab.daemons import Daemon
from tests.lab.netns import Namespace
from tests.lab.pki import Authority
from tests.lab.toml import Value
from tests.lab.topology import CORE, GW, GW_V6

ID = "gw.example"
INNER_POOL = "10.66.0.0/16"
CORE_NETWORK = "10.9.0.0/24"
P_CSCF = "10.9.0.2"
PSK_ID, PSK = "shared@example", "a secret of two"
EAP_USER, EAP_PASSWORD = "user@example", "a word to pass"
PROPOSALS = ["aes128gcm16-prfsha256-x25519"]
ESP_PROPOSALS = ["aes128gcm16"]


def esp_engine() -> str:
    """Give which ESP the charons are to use; a virtual machine with a whole kernel says `kernel`."""
    return os.environ.get("TRIKESEC_ESP", "auto")


class Gateway(Daemon):
    """`eseg run`, configured for the lab."""

    def __init__(
        self,
        namespace: Namespace,
        directory: Path,
        authority: Authority,
        *,
        instance: str,
        port: int = 80,
        limits: Mapping[str, Value] | None = None,
        tls: str | None = None,
    ) -> None:
        """Write its certificate and its configuration; start nothing yet."""
        identity = authority.gateway(ID, [GW, GW_V6])
        by_certificate: Mapping[str, Value] = {
            "auth": "pubkey",
            "id": ID,
            "cert": identity.cert,
            "key": identity.key,
        }
        children: Sequence[Mapping[str, Value]] = [
            {"name": "core", "local_ts": [CORE_NETWORK], "esp_proposals": ESP_PROPOSALS}
        ]

        def connection(name: str, local: Mapping[str, Value], remote: Mapping[str, Value]) -> Value:
            return {
                "name": name,
                "local_addrs": [GW, GW_V6],
                "local": local,
                "remote": remote,
                "proposals": PROPOSALS,
                "pools": ["inner"],
                "children": children,
            }

        inside_tls: list[Value] = []
        served: dict[str, Mapping[str, Value]] = {}
        if tls is not None:
            own = authority.gateway(tls)
            inside_tls = [{"address": GW, "port": 443}]
            served = {"tls": {"certificate": [{"cert": own.cert, "key": own.key}]}}
        super().__init__(
            "eseg",
            namespace,
            directory,
            {
                "listen": [{"address": GW, "port": port}, {"address": GW_V6, "port": port}, *inside_tls],
                **served,
                "connection": [
                    connection("certificates", by_certificate, {"auth": "pubkey", "ca": authority.cert}),
                    connection(
                        "shared", {"auth": "psk", "id": ID}, {"auth": "psk", "id": PSK_ID, "secret": PSK}
                    ),
                    connection("users", by_certificate, {"auth": "eap-md5", "eap_id": "%any"}),
                ],
                "pool": [{"name": "inner", "addrs": INNER_POOL, "dns": [CORE], "p_cscf": [P_CSCF]}],
                "user": [{"id": EAP_USER, "secret": EAP_PASSWORD}],
                "gateway": {"instance": instance, "runtime": directory / "run", "workers": 2},
                "charon": {"esp": esp_engine()},
                "limits": limits or {},
            },
        )
        self.config.chmod(0o600)  # there are secrets in it

    def sessions(self) -> list[dict[str, Any]]:
        """Give its sessions."""
        sessions = self.ask("GET /sessions")["sessions"]
        assert isinstance(sessions, list)
        return sessions

    def closed(self) -> Counter[str]:
        """Give how many connections were closed, by reason."""
        return Counter(self.status()["pump"]["closed"])
