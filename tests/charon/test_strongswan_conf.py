# SPDX-License-Identifier: Apache-2.0
"""The pieces in strongswan-conf/, as an operator uses them: with the distribution's own files, by swanctl.

Two charons as Debian configures them, plus our pieces, bring a tunnel up; and what the pieces say is what the
daemons' own charons get.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from charon import Charon, CharonGone, IkeSa, Method
from charon.conf import Role, Settings, strongswan_conf
from charon.probe import kernel_esp
from tests.charon.conftest import eventually
from tests.lab.netns import Namespace
from tests.lab.pki import Authority
from tests.lab.topology import GW, Topology
from tests.lab.wait import until_async

PIECES = Path(__file__).parents[2] / "strongswan-conf"
DEBIAN = Path("/etc/strongswan.d/charon")


@dataclass
class System:
    """One machine of an operator: the distribution's charon and its swanctl directory."""

    namespace: Namespace
    directory: Path
    charon: Charon

    async def listens(self) -> bool:
        """Whether charon could be connected to."""
        with contextlib.suppress(CharonGone):
            await self.charon.connect()
        return self.charon.connected

    def swanctl(self, *arguments: str) -> str:
        uri = f"unix://{self.directory / 'charon.vici'}"
        return self.namespace.run(["swanctl", *arguments, "--uri", uri]).stdout


@pytest.fixture
async def operators(lab: Topology, tmp_path: Path) -> AsyncIterator[tuple[System, System]]:
    """A gateway and a client with certificates of one authority, charons running, nothing loaded."""
    authority = Authority(tmp_path / "pki")
    identities = {
        "gateway": authority.gateway("gw.example.org"),
        "client": authority.client("ue.example.org"),
    }
    systems = []
    processes: list[tuple[Namespace, subprocess.Popen[bytes]]] = []
    try:
        for role, namespace in (("gateway", lab.gw), ("client", lab.ue)):
            directory = tmp_path / role
            shutil.copytree(PIECES / role / "swanctl", directory)
            (directory / "swanctl.conf").write_text("include conf.d/*.conf\n")  # as Debian has it
            for name in ("x509", "x509ca", "private"):
                (directory / name).mkdir()
            shutil.copy(identities[role].cert, directory / "x509" / f"{role}.pem")
            shutil.copy(identities[role].key, directory / "private" / f"{role}.key")
            shutil.copy(authority.cert, directory / "x509ca" / "ca.pem")
            conf = directory / "strongswan.conf"
            conf.write_text(debian_with(role, directory))
            environment = {**os.environ, "STRONGSWAN_CONF": str(conf)}
            with (directory / "out").open("wb") as out:
                started = namespace.popen(["charon-systemd"], env=environment, stdout=out, stderr=out)
            processes.append((namespace, started))
            systems.append(System(namespace, directory, Charon(directory / "charon.vici")))
        for system in systems:
            await eventually(system.listens, 30, "charon listens")
        yield systems[0], systems[1]
    finally:
        for system in systems:
            await system.charon.close()
        for namespace, started in processes:
            namespace.stop(started)


def debian_with(role: str, directory: Path) -> str:
    """Write /etc/strongswan.conf as Debian has it, our piece, and what keeps a test inside its directory."""
    userspace = "" if kernel_esp().available else f"include {PIECES}/userspace-esp.conf"
    return f"""
        charon {{
          load_modular = yes
          plugins {{ include {DEBIAN}/*.conf }}
        }}
        include {PIECES}/{role}/strongswan.d/*.conf
        {userspace}
        charon {{
          plugins {{
            vici {{ socket = unix://{directory}/charon.vici }}
            resolve {{ file = {directory}/resolv.conf }}
          }}
          filelog {{ test {{ path = {directory}/log }} }}
        }}
    """


@pytest.mark.root
@pytest.mark.charon
async def test_the_pieces_bring_a_tunnel_up_that_follows_a_nudge(operators: tuple[System, System]) -> None:
    gateway, client = operators
    for system in (gateway, client):
        loaded = system.swanctl("--load-all", "--file", str(system.directory / "swanctl.conf"))
        assert "successfully loaded 1 connections, 0 unloaded" in loaded
    await client.charon.initiate("tunnel", "trikesec")

    async def installed() -> IkeSa | None:
        sas = [sa for sa in await client.charon.list_sas() if sa.established and sa.children]
        return sas[0] if sas else None

    sa: IkeSa = await until_async(installed, 15, "the CHILD_SA is installed")
    assert sa.remote_host == GW
    assert sa.remote_port == sa.local_port == 4500
    assert sa.nat_any  # encap = yes
    assert sa.local_vips == ("10.66.0.1",)
    ping = ["ping", "-q", "-c", "2", "-i", "0.1", "-W", "2", "10.9.0.2"]
    assert (await asyncio.to_thread(client.namespace.run, ping, check=False)).returncode == 0
    assert "10.9.0.53" in (client.directory / "resolv.conf").read_text()

    nudge = await client.charon.nudge("trikesec")
    assert nudge.answered
    assert nudge.method is Method.CHECK


@pytest.mark.parametrize("role", ["gateway", "client"])
def test_the_pieces_say_what_our_own_charons_get(role: Role) -> None:
    device = ("tric0",) if role == "client" else ()
    ours = Settings(directory=Path("/run/x"), role=role, esp="kernel", ignore_interfaces=device)
    generated = settings(strongswan_conf(ours, lambda _: True))
    # Of one process, and not of what ours needs from charon:
    for name in ("load", "port", "port_nat_t", "path", "socket", "time_format", "ike_name", "flush_line"):
        generated.pop(name)
    generated.pop("default")
    generated.pop("dns_handler", None)  # an operator's charon leaves DNS to its `resolve` plugin
    assert settings((PIECES / role / "strongswan.d" / "trikesec.conf").read_text()) == generated


@pytest.mark.parametrize(
    "piece", sorted(PIECES.glob("**/*.conf")), ids=lambda piece: str(piece.relative_to(PIECES))
)
def test_every_piece_opens_with_its_licence_and_where_it_goes(piece: Path) -> None:
    first, *rest = piece.read_text().splitlines()
    assert first == "# SPDX-License-Identifier: Apache-2.0"
    assert "oes to /etc/" in "".join(rest[:4])


def settings(text: str) -> dict[str, str]:
    """Read `name = value` lines of a strongswan.conf, wherever they are nested."""
    bare = re.sub(r"#.*", "", text).replace("{", "{\n").replace("}", "\n}")
    return dict(re.findall(r"^\s*([\w-]+)\s*=\s*(.*?)\s*$", bare, re.MULTILINE))
