# SPDX-License-Identifier: Apache-2.0
"""ocserv on the gateway, openconnect in a UE: TLS on TCP 443 alone (no DTLS), AES-128-GCM."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.bench.tunnel import Tunnel
from tests.bench.vpn import inner_address, started
from tests.lab.netns import Namespace, command
from tests.lab.pki import Authority
from tests.lab.topology import GW

NAME = "ocserv over TLS"
USER, PASSWORD = "user", "a word to pass"
SERVER = """\
auth = "plain[passwd={directory}/passwd]"
listen-host = {gateway}
tcp-port = 443
run-as-user = root
run-as-group = root
socket-file = {directory}/ocserv.sock
pid-file = {directory}/ocserv.pid
server-cert = {cert}
server-key = {key}
tls-priorities = "NORMAL:-CIPHER-ALL:+AES-128-GCM"
isolate-workers = false
max-clients = 4
max-same-clients = 4
keepalive = 3600
dpd = 3600
mobile-dpd = 3600
compression = false
cisco-client-compat = true
device = ocs
ipv4-network = 10.68.0.0/24
route = 10.9.0.0/24
log-level = 1
"""
# In place of the distribution's script, which would write the machine's own /etc/resolv.conf.
SCRIPT = """\
#!/bin/sh
[ "$reason" = connect ] || exit 0
ip link set dev "$TUNDEV" up mtu "$INTERNAL_IP4_MTU"
ip addr add "$INTERNAL_IP4_ADDRESS/32" dev "$TUNDEV"
ip route add 10.9.0.0/24 dev "$TUNDEV"
"""


@contextlib.contextmanager
def ocserv(gw: Namespace, ue: Namespace, directory: Path, authority: Authority) -> Iterator[Tunnel]:
    """Bring it up between `gw` and `ue`, and take it down."""
    directory.mkdir()
    identity = authority.gateway("ocserv.example", [GW])
    server, script = directory / "server.conf", directory / "script.sh"
    server.write_text(SERVER.format(directory=directory, gateway=GW, cert=identity.cert, key=identity.key))
    script.write_text(SCRIPT)
    script.chmod(0o755)
    command(["ocpasswd", "-c", f"{directory}/passwd", USER], stdin=f"{PASSWORD}\n{PASSWORD}\n")
    client = ["openconnect", "--protocol=anyconnect", "--no-dtls", "--non-inter", "--passwd-on-stdin"]
    client += [f"--user={USER}", f"--cafile={authority.cert}", f"--script={script}", "--interface=occ", GW]
    with (
        started(gw, ["ocserv", "--foreground", f"--config={server}"], directory / "server.log", listens=443),
        started(ue, client, directory / "client.log", stdin=f"{PASSWORD}\n"),
    ):
        yield Tunnel(NAME, ue, inner_address(ue, "occ", directory / "client.log"))
