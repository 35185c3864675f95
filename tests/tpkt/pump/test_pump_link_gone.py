# SPDX-License-Identifier: Apache-2.0
"""The link's device vanishes under a running pump, and another one takes its place."""

from __future__ import annotations

import contextlib

import pytest

from tests.lab.netns import command
from tests.lab.wait import until
from tests.tpkt.pump.rig import Network, Rig, esp, ike
from tpkt.pump import EventKind

pytestmark = pytest.mark.root


def test_a_link_that_goes_and_comes_back(network: Network) -> None:
    with network.gateway_link() as link, Rig(network, link.namespace, "gateway") as rig:
        port, charon = rig.listen(), rig.charon()
        peer = rig.connect(port)
        peer.send(ike(100))
        flow = charon.recvfrom(200)[1]
        network.gw.ip(f"link del {link.device}")  # its other end and all routes through it go with it
        peer.send(esp(50, 1))
        down = rig.event(EventKind.LINK_DOWN)
        assert down.flow == flow[0]
        assert rig.count("stream_to_link_link_down") == 1
        assert rig.count("link_down") == 1
        peer.send(esp(50, 2), esp(51, 3))
        rig.count("stream_to_link_link_down", 3)
        assert len(rig.pump.connections()) == 1
        # The same again by hand, in the namespace that the pump's sockets are in.
        inside = link.namespace.rsplit("/", 1)[-1]
        made = f"{link.device} netns {network.gw.name} type veth peer name back netns {inside}"
        command(["ip", "link", "add", *made.split()])
        network.gw.ip(
            f"link set {link.device} up",
            f"addr add 198.18.0.1/32 dev {link.device}",
            f"route add 198.18.0.0/15 dev {link.device}",
        )
        command(["ip", "-n", inside, "link", "set", "back", "up"])
        command(["ip", "-n", inside, "route", "add", "default", "dev", "back"])

        def through() -> bool:
            peer.send(esp(50, 4))
            with contextlib.suppress(TimeoutError):
                charon.settimeout(0.2)
                return charon.recvfrom(100)[0] == esp(50, 4)
            return False

        until(through, 10, "a datagram through the new link")
        rig.event(EventKind.LINK_UP)
