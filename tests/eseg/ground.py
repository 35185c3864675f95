# SPDX-License-Identifier: Apache-2.0
"""Where the gateway's own tests stand: a gateway and a host beside it, on one cable.

    host ──────────────── gw
    198.51.100.9          198.51.100.2, 2001:db8:2::2       eseg runs here
    a charon, if asked    10.9.0.1 on lo: the core network

Clients come over plain UDP here: what TCP carries is the whole path's business (tests/e2e).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from charon import Auth, Certificate, Child, Connection, IkeSa, ManagedCharon, PrivateKey, State
from tests.lab import netns
from tests.lab.gateway import CORE_NETWORK, ESP_PROPOSALS, ID, PROPOSALS, Gateway
from tests.lab.netns import Namespace, unique_prefix, veth
from tests.lab.pki import Authority
from tests.lab.toml import Value
from tests.lab.topology import GW, GW_CORE, GW_V6
from tests.lab.wait import until, until_async

T = TypeVar("T")
HOST = "198.51.100.9"


class Ground:
    """Two namespaces and a gateway that is configured and does not run yet; a context manager."""

    def __init__(self, directory: Path, limits: Mapping[str, Value] | None = None) -> None:
        """Build it; what goes wrong meanwhile leaves nothing."""
        self.directory = directory
        self.prefix = unique_prefix()
        self.authority = Authority(directory / "pki")
        try:
            self.gw, self.host = Namespace(f"{self.prefix}-gw"), Namespace(f"{self.prefix}-host")
            veth(self.host, "eth0", self.gw, "eth0")
            self.gw.ip(
                f"addr add {GW}/24 dev eth0", f"addr add {GW_V6}/64 dev eth0", f"addr add {GW_CORE}/32 dev lo"
            )
            self.host.ip(f"addr add {HOST}/24 dev eth0", f"route add default via {GW}")
        except BaseException:
            self.close()
            raise
        self.gateway = Gateway(self.gw, directory / "gw", self.authority, instance=self.prefix, limits=limits)

    def configure(self, *changes: tuple[str, str]) -> None:
        """Replace texts in the configuration, each of which must be there."""
        text = self.gateway.config.read_text()
        for old, new in changes:
            assert old in text, f"{old} is not in {text}"
            text = text.replace(old, new)
        self.gateway.config.write_text(text)

    def refused(self, *words: str) -> str:
        """Expect `eseg run` to end with status 2; give the last line that it said."""
        done = self.gateway.command(*(words or ("run",)))
        assert done.returncode == 2, done
        assert "Traceback" not in done.stderr
        return done.stderr.strip().splitlines()[-1]

    def json(self, *words: str) -> Any:
        """Run a command with --json and give what it printed."""
        return json.loads(self.gateway.command(*words, "--json").stdout)

    def traces(self) -> list[str]:
        """Give what a gateway leaves in the system while it runs: links, routes, sockets, processes."""
        found = [name for name in netns.names() if name == f"eseg-{self.prefix}"]
        links = self.gw.run(["ip", "-br", "link"]).stdout
        found += [name for name in ("eseg0", "ipsec0") if name in links]
        found += [line for line in self.gw.run(["ss", "-Hlntup"]).stdout.splitlines() if line.strip()]
        found += [f"pid {pid}" for pid in self.gw.pids()]
        return found + [str(path) for path in self.gateway.runtime.rglob("*") if path.is_socket()]

    def until_clean(self) -> None:
        """Expect that nothing is left."""
        try:
            until(lambda: not self.traces(), 5, "nothing is left")
        except TimeoutError:
            assert self.traces() == []

    @contextlib.contextmanager
    def charon(self, namespace: Namespace, role: Literal["client", "gateway"]) -> Iterator[Sync]:
        """Run a charon of the test's own in `namespace`."""
        directory = self.directory / f"{role}-{namespace.name}"
        with asyncio.Runner() as runner:
            charon = ManagedCharon(directory, role, netns=namespace.path)
            try:
                runner.run(charon.start())
                yield Sync(charon, runner)
            finally:
                runner.run(charon.stop())

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """Give a client over plain UDP: a charon of its own in `host`."""
        with self.charon(self.host, "client") as charon:
            yield Client(self, charon)

    def close(self) -> None:
        """Remove everything."""
        if hasattr(self, "gateway"):
            self.gateway.stop()
        netns.remove_all(self.prefix)

    def __enter__(self) -> Self:
        """Give the ground."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


class Sync:
    """A charon and the event loop it lives in, for tests that wait for processes as well."""

    def __init__(self, managed: ManagedCharon, runner: asyncio.Runner) -> None:
        """Use `managed`, which runs."""
        self.managed, self._runner = managed, runner

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Do it, and give what it gives."""
        return self._runner.run(coroutine)


class Client:
    """A client with a certificate, over UDP 4500."""

    def __init__(self, ground: Ground, charon: Sync) -> None:
        """Use `charon`."""
        self._ground, self._charon = ground, charon

    def state(self) -> State:
        """Give what the client's charon is told."""
        own = self._ground.authority.client("ue@example")
        ca = self._ground.authority.cert.read_bytes()
        connection = Connection(
            name="home",
            local=Auth(kind="pubkey", id=own.id, certs=(own.cert.read_bytes(),)),
            remote=Auth(kind="pubkey", id=ID, cacerts=(ca,)),
            remote_addrs=(GW,),
            local_port=4500,
            remote_port=4500,
            vips=("0.0.0.0",),
            proposals=tuple(PROPOSALS),
            children=(Child(name="core", remote_ts=(CORE_NETWORK,), esp_proposals=tuple(ESP_PROPOSALS)),),
        )
        return State(
            connections=(connection,),
            keys=(PrivateKey(data=own.key.read_bytes()),),
            certificates=(Certificate(data=ca),),
        )

    def connect(self) -> IkeSa:
        """Establish the tunnel."""
        self._charon.run(self._charon.managed.load(self.state()))
        return self._charon.run(self._established())

    async def _established(self) -> IkeSa:
        """Ask for it until it stands: a gateway that has just come up may refuse the first time."""
        charon = self._charon.managed.charon

        async def up() -> IkeSa | None:
            sas = await charon.list_sas()
            if not sas:
                await charon.initiate("core", "home")
            return next((sa for sa in sas if sa.established and sa.children), None)

        return await until_async(up, 15, "the client's tunnel stands")

    def reaches_core(self) -> bool:
        """Tell whether the core network answers through the tunnel."""
        argv = ["ping", "-q", "-c", "3", "-i", "0.1", "-W", "2", GW_CORE]
        return self._ground.host.run(argv, check=False).returncode == 0


def until_status(ground: Ground, holds: Callable[[dict[str, Any]], bool], seconds: float, what: str) -> None:
    """Wait until the gateway's status is as wanted."""
    until(lambda: holds(ground.gateway.status()), seconds, what)
