# SPDX-License-Identifier: Apache-2.0
"""OpenVPN over TCP in the lab: a server on the gateway, a client in a UE; AES-128-GCM.

What its manual recommends for TCP is switched on (TCP_NODELAY); everything else is as it comes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.bench.tunnel import Tunnel
from tests.bench.vpn import inner_address, started
from tests.lab.netns import Namespace
from tests.lab.pki import Authority, Identity
from tests.lab.topology import GW

NAME = "OpenVPN over TCP"
PORT = 1194
COMMON = """\
dev-type tun
topology subnet
data-ciphers AES-128-GCM
auth SHA256
allow-compression no
verb 3
ca {ca}
cert {cert}
key {key}
"""
SERVER = """\
dev ovpns
mode server
tls-server
proto tcp-server
local {gateway}
port {port}
server 10.67.0.0 255.255.255.0
push "route 10.9.0.0 255.255.255.0"
dh none
tcp-nodelay
"""
CLIENT = """\
dev ovpnc
client
proto tcp-client
remote {gateway} {port}
nobind
remote-cert-eku "TLS Web Server Authentication"
"""


@contextlib.contextmanager
def openvpn(gw: Namespace, ue: Namespace, directory: Path, authority: Authority) -> Iterator[Tunnel]:
    """Bring it up between `gw` and `ue`, and take it down."""
    directory.mkdir()
    server, client = directory / "server.conf", directory / "client.conf"
    server.write_text(_filled(SERVER, authority, authority.gateway("vpn.example", [GW])))
    client.write_text(_filled(CLIENT, authority, authority.client("openvpn@example")))
    with (
        started(gw, ["openvpn", "--config", str(server)], directory / "server.log"),
        started(ue, ["openvpn", "--config", str(client)], directory / "client.log"),
    ):
        yield Tunnel(NAME, ue, inner_address(ue, "ovpnc", directory / "client.log"))


def _filled(text: str, authority: Authority, identity: Identity) -> str:
    return (COMMON + text).format(
        ca=authority.cert, cert=identity.cert, key=identity.key, gateway=GW, port=PORT
    )
