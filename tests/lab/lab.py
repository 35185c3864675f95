# SPDX-License-Identifier: Apache-2.0
"""The whole lab: the network, its firewall, a PKI, a core network that offers something, and a gateway.

    with Lab() as lab:
        lab.firewall.drop_udp()
        ue = lab.client()
        ue.start()

Everything it makes lies in one temporary directory and in namespaces of one prefix; leaving the `with`
removes both. Knows how to put the pieces together and none of their insides.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from tests.lab.client import Client
from tests.lab.firewall import Firewall
from tests.lab.gateway import Gateway
from tests.lab.netns import Namespace, remove_all, veth
from tests.lab.pki import Authority
from tests.lab.services import Services
from tests.lab.toml import Value
from tests.lab.topology import CORE, FW_WAN, Topology

LOG_LINES = 60
WIRE_LOG = "wire.log"  # every byte of every IKE message: nothing that anybody would read
LASTING_PREFIX = "tkdemo"  # removed by name later: nobody else calls anything so
LASTING_DIRECTORY = Path("/run/trikesec-demo")


class Lab:
    """A context manager; inside it the gateway runs, and clients start when a test says so."""

    def __init__(
        self, *, limits: Mapping[str, Value] | None = None, lasting: bool = False, tls: str | None = None
    ) -> None:
        """Build the network; `limits` are the gateway's; it serves TLS on 443 under the name `tls`.

        A `lasting` lab may be kept up after this process: its names are fixed, and it replaces the one
        that was kept before.
        """
        self._exit = contextlib.ExitStack()
        self._numbers = itertools.count(1)
        with self._undone_on_failure():
            self.directory = self._make_directory(lasting)
            self.topology = self._exit.enter_context(Topology(LASTING_PREFIX if lasting else None))
            self.firewall = Firewall(self.topology.fw)
            self.authority = Authority(self.directory / "pki")
            self.services = Services(self.topology.core, CORE, lasting=lasting)
            self._exit.callback(self.services.stop)
            self.gateway = Gateway(
                self.topology.gw,
                self.directory / "gw",
                self.authority,
                instance=self.topology.prefix,
                limits=limits,
                tls=tls,
            )
            self._exit.callback(self.gateway.stop)
            self._guests = contextlib.ExitStack()
            self._exit.callback(self._guests.close)

    def _make_directory(self, lasting: bool) -> Path:
        if lasting:
            remove_lasting()
            LASTING_DIRECTORY.mkdir(mode=0o700)
            directory = LASTING_DIRECTORY
        else:
            # Short, because sockets lie below it: TMPDIR is respected, pytest's long paths are not asked for.
            directory = Path(tempfile.mkdtemp(prefix="tk"))
        self._exit.callback(shutil.rmtree, directory, ignore_errors=True)
        return directory

    def keep(self) -> None:
        """Leave everything up, this process or not."""
        self.topology.keep()
        self._guests.pop_all()
        self._exit.pop_all()

    @contextlib.contextmanager
    def _undone_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._exit.close()
            raise

    def __enter__(self) -> Self:
        """Start the gateway."""
        with self._undone_on_failure():
            self.gateway.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop clients and gateway in order, then remove everything."""
        self._exit.close()

    def dismiss(self) -> None:
        """Stop all clients and remove their neighbourhoods; network and gateway stay as they are."""
        self._guests.close()

    def client(self, **options: Any) -> Client:
        """Make a client, in `ue` unless `namespace` is given; Client explains the options."""
        number = next(self._numbers)
        namespace = options.pop("namespace", self.topology.ue)
        client = Client(
            namespace,
            self.directory / f"ue{number}",
            self.authority,
            instance=f"{self.topology.prefix}-{number}",
            **options,
        )
        self._guests.callback(client.stop)
        return client

    def neighbour(self) -> Namespace:
        """Give another UE behind the same firewall, in a network of its own."""
        number = next(self._numbers)
        ue, fw = Namespace(f"{self.topology.prefix}-ue{number}"), self.topology.fw
        self._guests.callback(ue.delete)
        network = f"172.16.{number}"
        veth(ue, "eth0", fw, f"ue{number}")
        ue.ip(f"addr add {network}.2/24 dev eth0", f"route add default via {network}.1")
        fw.ip(f"addr add {network}.1/24 dev ue{number}")
        self.topology.internet.ip(f"route add {network}.0/24 via {FW_WAN}")
        return ue

    def logs(self, *, lines: int = LOG_LINES) -> dict[str, str]:
        """Give the last `lines` of all logs, the charons' included, by file name."""
        return {
            str(path.relative_to(self.directory)): "\n".join(
                path.read_text(errors="replace").splitlines()[-lines:]
            )
            for path in sorted(self.directory.rglob("*.log"))
            if path.name != WIRE_LOG
        }


def remove_lasting() -> None:
    """Remove a lab that was kept: its namespaces and whatever runs in them, then its files."""
    remove_all(LASTING_PREFIX)
    shutil.rmtree(LASTING_DIRECTORY, ignore_errors=True)
