# SPDX-License-Identifier: Apache-2.0
"""Two real charons in the lab's network, ue and gw, and what to load into them.

The charons are `ManagedCharon`s that live in the namespaces; between them stands `fw`, whose address
translation is stateless, so that a test moves the client to another source address between two packets.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from charon import Auth, Child, Connection, IkeSa, ManagedCharon, Pool, Secret, State
from tests.lab.topology import GW, UE, WAN_DEVICE, Topology
from tests.lab.wait import until_async

IKE_PROPOSAL = "aes128gcm16-prfsha256-x25519"
ESP_PROPOSAL = "aes128gcm16"
SECRET = b"a secret that stays one"
PSK_CLIENT = Auth(kind="psk", id="ue.example")
PSK_GATEWAY = Auth(kind="psk", id="gw.example")
FIRST_ADDRESS, SECOND_ADDRESS = "203.0.113.50", "203.0.113.51"


@pytest.fixture(scope="session")
def lab() -> Iterator[Topology]:
    with Topology() as topology:
        yield topology


@dataclasses.dataclass
class Ends:
    """Both ends of a tunnel to be."""

    lab: Topology
    ue: ManagedCharon
    gw: ManagedCharon

    async def establish(self, client: State, gateway: State) -> IkeSa:
        """Load both ends, bring the client's first child up, and give the client's IKE_SA."""
        await self.ue.load(client)
        await self.gw.load(gateway)
        connection = client.connections[0]
        await self.ue.charon.initiate(connection.children[0].name, connection.name)
        return await until_async(self.installed, 8, "the CHILD_SA is installed")

    async def installed(self) -> IkeSa | None:
        """Give the client's IKE_SA once it carries a CHILD_SA."""
        for sa in await self.ue.charon.list_sas():
            if sa.established and any(child.state == "INSTALLED" for child in sa.children):
                return sa
        return None

    async def gateway_sees(self) -> str:
        """Give the client's address as the gateway's charon knows it."""
        return (await self.gw.charon.list_sas())[-1].remote_host

    def pings(self, count: int = 3) -> bool:
        """Whether the core answers through the tunnel, and not beside it."""
        argv = ["ping", "-q", "-c", str(count), "-i", "0.1", "-W", "2", "10.9.0.2"]
        return self.lab.ue.run(argv, check=False).returncode == 0


@contextlib.asynccontextmanager
async def running(lab: Topology, directory: Path, *, client_settings: str = "") -> AsyncIterator[Ends]:
    """Run both charons, empty; `client_settings` are lines for the client's strongswan.conf."""
    ue = ManagedCharon(
        directory / "ue", "client", netns=lab.ue.path, p_cscf=True, extra_settings=client_settings
    )
    gw = ManagedCharon(directory / "gw", "gateway", netns=lab.gw.path)
    try:
        await ue.start()
        await gw.start()
        yield Ends(lab, ue, gw)
    finally:
        await ue.stop()
        await gw.stop()
        appear_as(lab, None)


@pytest.fixture
async def ends(lab: Topology, tmp_path: Path) -> AsyncIterator[Ends]:
    """Both charons, running and empty."""
    async with running(lab, tmp_path) as both:
        yield both


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    """Wait until `holds` says yes."""

    async def answer() -> bool | None:
        return await holds() or None

    yes: bool = await until_async(answer, seconds, what)
    assert yes


def client_state(local: Auth = PSK_CLIENT, remote: Auth = PSK_GATEWAY, *, mobike: bool = False) -> State:
    """Give what a client loads; the secret is in it whether it is used or not."""
    child = Child(name="net", remote_ts=("10.9.0.0/24",), esp_proposals=(ESP_PROPOSAL,))
    connection = Connection(
        name="gateway",
        local=local,
        remote=remote,
        children=(child,),
        remote_addrs=(GW,),
        local_port=4500,
        remote_port=4500,
        vips=("0.0.0.0",),
        proposals=(IKE_PROPOSAL,),
        encap=True,
        mobike=mobike,
    )
    return State(connections=(connection,), secrets=(_secret(local, remote),))


def gateway_state(local: Auth = PSK_GATEWAY, remote: Auth = PSK_CLIENT, *, mobike: bool = False) -> State:
    """Give what the gateway loads for that client."""
    child = Child(name="net", local_ts=("10.9.0.0/24",), esp_proposals=(ESP_PROPOSAL,))
    connection = Connection(
        name="clients",
        local=local,
        remote=remote,
        children=(child,),
        local_addrs=(GW,),
        pools=("inner",),
        proposals=(IKE_PROPOSAL,),
        mobike=mobike,
    )
    pool = Pool(name="inner", addrs="10.66.0.0/24", dns=("10.9.0.53",), p_cscf=("10.9.0.5", "2001:db8:9::5"))
    return State(connections=(connection,), pools=(pool,), secrets=(_secret(local, remote),))


def _secret(local: Auth, remote: Auth) -> Secret:
    eap = any(side.kind.startswith("eap") for side in (local, remote))
    ids = tuple(side.eap_id or side.id for side in (local, remote) if not eap or side.kind != "pubkey")
    ids = tuple(name for name in ids if name and name != "%any") or ("ue.example",)
    return Secret(name="shared", kind="eap" if eap else "psk", ids=ids, data=SECRET)


def appear_as(lab: Topology, address: str | None) -> None:
    """Make the client's packets come from `address` from now on, and answers to it reach the client."""
    ruleset = "flush ruleset\n"
    if address is not None:
        lab.fw.ip(f"address replace {address}/24 dev {WAN_DEVICE}")
        ruleset += f"""
            table ip moved {{
              chain out {{ type filter hook postrouting priority 0;
                ip saddr {UE} oifname {WAN_DEVICE} ip saddr set {address}
              }}
              chain back {{ type filter hook prerouting priority -350;
                iifname {WAN_DEVICE} ip daddr {address} ip daddr set {UE}
              }}
            }}
        """
    lab.fw.run(["nft", "-f", "-"], stdin=ruleset)


def cut(lab: Topology) -> None:
    """Let nothing through any more, until the client appears as somebody again."""
    chain = "type filter hook forward priority 0; policy drop;"
    lab.fw.run(["nft", "-f", "-"], stdin=f"table ip cut {{\n chain nothing {{\n {chain}\n }}\n}}\n")
