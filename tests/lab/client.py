# SPDX-License-Identifier: Apache-2.0
"""The lab's client: `tc-client` in a UE's namespace, as somebody whom the lab's gateway knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
from tests.lab.wait import until

UP_SECONDS = 30.0
# How the client's words for a rung's fate read in a report of what a firewall did.
STANDING = ("stands", "stood")
BLOCKED = ("silent", "refused", "unreachable", "esp_silent", "ike_silent", "late")
Auth = Literal["pubkey", "psk", "eap"]


class Tried(NamedTuple):
    """One rung that was tried: what became of it and how long that took; None when it stood and was lost."""

    rung: str
    port: int | None  # of a TCP rung
    result: str  # "established", "blocked", or the client's word for another failure
    seconds: float | None


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

    def rung(self) -> str | None:
        """Give the transport that carries the tunnel, `udp` or `tcp`; None while nothing does."""
        standing = self.status()["rung"]
        return standing["transport"] if standing else None

    def until_up(self, transport: str, seconds: float = UP_SECONDS) -> None:
        """Wait until `transport` carries the tunnel."""
        try:
            until(lambda: self.rung() == transport, seconds, f"the tunnel stands on {transport}")
        except TimeoutError as error:
            error.add_note(f"{json.dumps(self.status(), indent=1)}\n{self.tail()}")
            raise

    def rungs_tried(self) -> list[Tried]:
        """Give the rungs that were tried, in the order of the ladder."""
        return [
            Tried(
                rung=rung["transport"],
                port=rung["port"] if rung["transport"] == "tcp" else None,
                result=_result(rung),
                seconds=rung["seconds"],
            )
            for rung in self.status()["rungs"]
            if rung["result"] != "untried"
        ]

    def tried(self, transport: str) -> Tried | None:
        """Give what became of `transport`; None before it was tried to its end."""
        return next((tried for tried in self.rungs_tried() if tried.rung == transport), None)

    def inner_address(self) -> str:
        """Give the address inside the tunnel; empty while there is none."""
        addresses = self.status()["inner_addresses"]
        return addresses[0] if addresses else ""

    def ike(self) -> dict[str, Any]:
        """Give the IKE_SA; empty while there is none."""
        return dict(self.status()["ike_sa"] or {})

    def spis(self) -> str:
        """Give both SPIs of the IKE_SA, as charon's log writes them; empty while there is none."""
        sa = self.ike()
        return f"{sa['spi_i']}_i {sa['spi_r']}_r" if sa else ""

    def packets_in(self) -> int:
        """Give how many inner packets the CHILD_SA in use has received."""
        return int((self.status()["child_sa"] or {}).get("packets_in", 0))

    def until_heard(self, packets: int) -> None:
        """Wait until so many more packets have come through the tunnel as it stands now."""
        enough = self.packets_in() + packets
        until(lambda: self.packets_in() >= enough, UP_SECONDS, f"{packets} packets come through")

    def esp_frames(self) -> tuple[int, int]:
        """Give the ESP packets that the connection in use has carried, up and down."""
        connection = self.status()["connection"] or {}
        return connection.get("link_to_stream_esp_frames", 0), connection.get("stream_to_link_esp_frames", 0)

    def esp(self) -> str:
        """Tell who does ESP, `kernel` or `userspace`."""
        return "kernel" if self.status()["charon"]["esp"] == "kernel" else "userspace"

    def problem(self) -> str:
        """Give the reason for which the last round over all rungs was given up; empty if it was not."""
        status = self.status()
        return status["why"] if status["state"] == "waiting" else ""


def _result(rung: Mapping[str, Any]) -> str:
    if rung["result"] in STANDING:
        return "established"
    return "blocked" if rung["why"] in BLOCKED else str(rung["why"])
