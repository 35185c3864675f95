# SPDX-License-Identifier: Apache-2.0
"""Clients of RFC 9329 get the same gateway: a charon whose packets an independent client carries over TCP.

ue ─────────────── host ─────────────── gw
charon             tests.lab.rfc9329    eseg
172.31.0.2         takes UDP for the    198.51.100.2
                   gateway's address
                   in a namespace of its own (box)
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from charon import IkeSa
from tests.eseg.ground import HOST, Client, Ground, Sync
from tests.lab.netns import Namespace, veth
from tests.lab.ping import ping
from tests.lab.rfc9329 import IKE_PORT, NAT_PORT, PREFIX, Carrier, framed
from tests.lab.topology import GW, GW_CORE
from tests.lab.wait import until

pytestmark = [pytest.mark.root, pytest.mark.charon, pytest.mark.timeout(120)]
UE, BOX = "172.31.0.2", "172.31.0.1"
ESP = b"\xc0\xff\xee\x01" + bytes(40)


class Place:
    """The UE's side: its namespace, and the one where its packets to the gateway are taken."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.ue = Namespace(f"{ground.prefix}-ue")
        self.box = Namespace(f"{ground.prefix}-box")
        veth(self.ue, "eth0", self.box, "eth0")
        self.ue.ip(f"addr add {UE}/24 dev eth0", f"route add default via {BOX}")
        self.box.ip(f"addr add {BOX}/24 dev eth0", f"addr add {GW}/32 dev lo")

    def connected(self, port: int) -> socket.socket:
        tcp = self.ground.host.socket()
        tcp.settimeout(10)
        tcp.connect((GW, port))
        return tcp

    def carrier(self, port: int, opening: Sequence[bytes] = (PREFIX,)) -> Carrier:
        udp = []
        for number in (IKE_PORT, NAT_PORT):
            udp.append(self.box.socket(socket.AF_INET, socket.SOCK_DGRAM))
            udp[-1].bind((GW, number))
        return Carrier(udp, self.connected(port), opening)

    @contextlib.contextmanager
    def charon(self) -> Iterator[Sync]:
        with self.ground.charon(self.ue, "client") as charon:
            yield charon


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Ground(tmp_path_factory.mktemp("rfc9329")) as ground:
        ground.configure(("listen = [", f'listen = [{{ address = "{GW}", port = 4500 }}, '))
        ground.gateway.start()
        yield Place(ground)


def session(place: Place) -> dict[str, Any]:
    """The one session by RFC 9329 that has an IKE_SA, once there is one."""

    def found() -> dict[str, Any] | None:
        mine = [one for one in place.ground.gateway.sessions() if one["protocol"] == "rfc9329" and one["ike"]]
        return mine[0] if len(mine) == 1 else None

    return until(found, 10, "one session by RFC 9329")


def reaches_core(place: Place, sa: IkeSa, *, count: int = 5) -> bool:
    return ping(place.ue, GW_CORE, source=sa.local_vips[0], count=count).received > 0


@pytest.mark.parametrize("port", [80, 4500])
@pytest.mark.parametrize(
    "opening",
    [(PREFIX,), (b"I", b"KET", b"CP"), (PREFIX + framed(b"\xff") + framed(b""),)],
    ids=["at once", "in pieces", "with a keep-alive and an empty frame behind it"],
)
def test_a_tunnel_stands_and_carries(place: Place, port: int, opening: tuple[bytes, ...]) -> None:
    with place.charon() as charon, place.carrier(port, opening) as carrier:
        sa = Client(place.ground, charon).connect()
        assert sa.established
        assert reaches_core(place, sa)
        shown = session(place)
        assert (shown["client"], shown["connection"]["listener_port"]) == (HOST, port)
        assert shown["connection"]["stream_to_link_esp_frames"] > 0
        assert carrier.kinds_up == carrier.kinds_down == {"ike", "esp"}, "both on one stream"


def test_frames_cut_at_every_byte_are_the_same_frames(place: Place) -> None:
    with place.charon() as charon, place.carrier(80, [PREFIX[at : at + 1] for at in range(6)]) as carrier:
        carrier.step = 1
        sa = Client(place.ground, charon).connect()
        assert reaches_core(place, sa)


def test_what_the_rfc_ignores_is_ignored_in_the_middle_of_a_tunnel(place: Place) -> None:
    with place.charon() as charon, place.carrier(80) as carrier:
        sa = Client(place.ground, charon).connect()
        number = session(place)["connection"]["id"]
        for _ in range(50):
            carrier.say(framed(b"\xff") + framed(b""))
        assert reaches_core(place, sa)
        assert session(place)["connection"]["id"] == number
        assert not carrier.ended.is_set()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_connection_that_is_opened_again_keeps_the_ike_sa(place: Place, reset: bool) -> None:
    with place.charon() as charon, place.carrier(80) as carrier:
        sa = Client(place.ground, charon).connect()
        assert reaches_core(place, sa)
        before = session(place)
        carrier.replace(place.connected(4500), reset=reset)
        charon.run(charon.managed.charon.rekey(child="core"))  # an IKE message goes first (RFC 9329 6.1)
        assert until(lambda: reaches_core(place, sa, count=1), 20, "the tunnel carries again")
        after = session(place)
        assert after["connection"]["id"] != before["connection"]["id"]
        assert after["connection"]["listener_port"] == 4500
        for key in ("unique_id", "spi_i", "spi_r"):
            assert after["ike"][key] == before["ike"][key]


@pytest.mark.parametrize("length", [0, 1])
def test_a_length_of_0_or_1_ends_the_connection_and_not_the_ike_sa(place: Place, length: int) -> None:
    with place.charon() as charon, place.carrier(80) as carrier:
        sa = Client(place.ground, charon).connect()
        before, counted = session(place), place.ground.gateway.closed()
        carrier.say(bytes([0, length]))
        assert carrier.ended.wait(10)
        until(
            lambda: place.ground.gateway.closed()["bad_length"] == counted["bad_length"] + 1,
            5,
            "it is counted",
        )
        carrier.replace(place.connected(80))
        charon.run(charon.managed.charon.rekey(child="core"))
        assert until(lambda: reaches_core(place, sa, count=1), 20, "the tunnel carries again")
        assert session(place)["ike"]["spi_r"] == before["ike"]["spi_r"]


def test_a_prefix_that_never_comes_whole_is_not_waited_for(tmp_path: Path) -> None:
    with Ground(tmp_path, {"first_bytes_seconds": 0.5}) as ground:
        ground.gateway.start()
        with ground.host.socket() as tcp:
            tcp.settimeout(10)
            tcp.connect((GW, 80))
            tcp.sendall(PREFIX[:5])
            assert tcp.recv(1) == b""
        until(lambda: ground.gateway.closed()["first_bytes_timeout"] == 1, 5, "it is counted")
