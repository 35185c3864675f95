# SPDX-License-Identifier: Apache-2.0
"""The life of a link, the same for both roles: claim, clear what a dead one left, make, look after, remove.

What is ours is told by aliases (role, instance, pid) and by the protocol number of routes and rules; nothing
else is ever touched. Knows no routes of either role.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tpkt.link import ends, netns, owner, remains
from tpkt.link.config import Network
from tpkt.link.errors import GONE, LinkError, explain
from tpkt.link.kernel import Device, Kernel
from tpkt.link.netns import NetworkNamespace

T = TypeVar("T")
logger = logging.getLogger(__name__)

CABLE_SECONDS = 5.0
POLL_SECONDS = 0.005
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


class Link(ABC):
    """A link of one instance. `up` and `down` may be called from any thread, one at a time."""

    role: str  # what its namespace's name begins with

    def __init__(self, instance: str, device: str, mtu: int) -> None:
        """Make nothing yet."""
        self.name = f"{self.role}-{instance}"
        self.device = device
        self._mtu = mtu
        self._alias = f"trikesec {self.name} "  # the owner's pid follows, for people
        self._host: NetworkNamespace | None = None
        self._pump: NetworkNamespace | None = None
        self._ownership = owner.Ownership(self.name)

    # What a role adds

    @abstractmethod
    def _networks(self) -> tuple[Network, ...]:
        """Give what the pump claims in its namespace."""

    @abstractmethod
    def _preconditions(self, kernel: Kernel) -> None:
        """Raise LinkError when something that is not ours stands in the way."""

    @abstractmethod
    def _dress(self, kernel: Kernel) -> None:
        """Give the device, which is up, its neighbours, routes and rules."""

    @abstractmethod
    def _undress(self, kernel: Kernel, indexes: set[int]) -> None:
        """Remove what does not go by itself with our devices, be they there still (`indexes`) or gone."""

    @abstractmethod
    def _troubles(self, kernel: Kernel, device: Device) -> Iterator[str]:
        """Give what is wrong with a link that is up, one line with its cure each."""

    # What everybody may do

    @property
    def namespace(self) -> str:
        """The path under which the pump's namespace can be opened. Raises LinkError when the link is down."""
        if self._pump is None:
            raise LinkError(f"{self.name}: the link is down; bring it up first")
        return self._pump.path

    @property
    def is_up(self) -> bool:
        """Whether this object made the link and has not removed it."""
        return self._pump is not None

    def up(self) -> None:
        """Make the link, after removing what a dead predecessor of this instance left. Raises LinkError."""
        if self.is_up:
            return
        require_privileges()
        self._host = NetworkNamespace.current()
        try:
            with netns.registry():
                self._at_home(self._claim)
                self._make()
        except BaseException as error:
            with contextlib.suppress(LinkError):  # the first failure is the one to tell
                self.down()
            if isinstance(error, OSError):
                raise explain(self.name, error) from error
            raise

    def down(self) -> None:
        """Remove what `up` made; harmless when done twice or after a part of it went by itself."""
        if self._host is None:
            return
        try:
            if self._pump is not None:  # else nothing was made, and what there is belongs to another
                self._at_home(self._remove_devices)
                if self._pump.path == str(netns.RUN / self.name):
                    netns.unname(self.name)
        except OSError as error:
            raise explain(self.name, error) from error
        finally:
            self._ownership.release()
            for namespace in (self._pump, self._host):
                if namespace is not None:
                    namespace.close()
            self._pump = self._host = None

    # From one process to the next

    @property
    def named(self) -> bool:
        """Whether the pump's namespace has its name below /run/netns."""
        return self.namespace == str(netns.RUN / self.name)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a successor needs: two namespaces and the locks. They stay ours."""
        if self._host is None or self._pump is None:
            raise LinkError(f"{self.name}: the link is down; bring it up first")
        return (self._host.descriptor, self._pump.descriptor, *self._ownership.descriptors)

    def inherit(self, descriptors: list[int], *, named: bool) -> None:
        """Instead of `up`: hold the link that another process made, whose `descriptors` these are."""
        host, pump, *locks = descriptors
        path = str(netns.RUN / self.name) if named else f"/proc/{os.getpid()}/fd/{pump}"
        self._host = NetworkNamespace(host, f"/proc/{os.getpid()}/fd/{host}")
        self._pump = NetworkNamespace(pump, path)
        self._ownership.inherit(locks)

    def sign(self) -> None:
        """Have the device say that it is this process's."""
        with contextlib.suppress(OSError):  # for people only
            self._at_home(self._sign)

    def _sign(self, kernel: Kernel) -> None:
        for device in self._ours(kernel):
            kernel.change_device(device.index, alias=f"{self._alias}{os.getpid()}")

    def let_go(self) -> None:
        """Instead of `down`: leave everything to a successor."""
        self._ownership.release()
        for namespace in (self._pump, self._host):
            if namespace is not None:
                namespace.close()
        self._pump = self._host = None

    def check(self) -> list[str]:
        """Give what is or would be wrong, one line with its cure each.

        Looks at this instance's link in the calling thread's network namespace, whichever process made it;
        where there is none, at what would keep one from being made.
        """
        try:
            with Kernel() as kernel:
                device = next(iter(self._ours(kernel)), None)
                if device is not None:
                    return [*self._common_troubles(device), *self._troubles(kernel, device)]
                require_privileges()
                remains.require_name_free(self.name, self._alias)
                self._require_device_free(kernel)
                self._preconditions(kernel)
        except LinkError as error:
            return [str(error)]
        except OSError as error:
            return [str(explain(self.name, error))]
        return []

    def __enter__(self) -> Self:
        """Bring the link up."""
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it down."""
        self.down()

    # How

    def _at_home(self, function: Callable[[Kernel], T]) -> T:
        """Run `function` in the network namespace in which `up` was called."""
        if self._host is None:
            raise LinkError(f"{self.name}: the link is down; bring it up first")

        def inside() -> T:
            with Kernel() as kernel:
                return function(kernel)

        return self._host.run(inside)

    def _ours(self, kernel: Kernel) -> list[Device]:
        return [device for device in kernel.devices() if device.alias.startswith(self._alias)]

    def _claim(self, kernel: Kernel) -> None:
        """Become the owner, clear what a dead one left, and look whether the way is free."""
        before = self._ours(kernel)
        pid = before[0].alias.removeprefix(self._alias) if before else ""
        self._ownership.claim(int(pid) if pid.isdecimal() else 0)
        remains.require_name_free(self.name, self._alias)
        for device in before:
            logger.info("%s: removing %s, left by process %s", self.name, device.name, pid)
        self._remove_devices(kernel)
        remains.clear_name(self.name)
        self._require_device_free(kernel)
        self._preconditions(kernel)

    def _require_device_free(self, kernel: Kernel) -> None:
        device = kernel.device(self.device)
        if device is not None:
            whose = f" ({device.alias.strip()})" if device.alias else ""
            raise LinkError(f"device {self.device}: exists{whose}; remove it, or choose another device name")

    def _remove_devices(self, kernel: Kernel) -> None:
        indexes = {device.index for device in self._ours(kernel)}
        self._undress(kernel, indexes)
        for index in indexes:
            try:
                kernel.delete_device(index)
            except OSError as error:
                if error.errno not in GONE:
                    raise

    def _make(self) -> None:
        alias = f"{self._alias}{os.getpid()}"
        self._pump = pump = ends.make_namespace(alias)
        try:
            self._ownership.keep(pump.name(self.name))
        except OSError as error:
            logger.warning("%s: no name below %s (%s): going on without", self.name, netns.RUN, error)
        self._ownership.hold(pump.descriptor)
        networks = self._networks()
        ipv6 = any(network.version == 6 for network in networks)
        self._at_home(lambda _: ends.make_near_end(self.device, self._mtu, pump.descriptor, alias, ipv6=ipv6))
        pump.run(lambda: ends.make_far_end(networks))
        self._at_home(self._dress)
        self._at_home(self._await_cable)

    def _await_cable(self, kernel: Kernel) -> None:
        """Return when packets pass: charon would repeat a lost first message only after seconds."""
        index = kernel.index(self.device)
        end = time.monotonic() + CABLE_SECONDS
        while not kernel.transmits(index):
            if time.monotonic() > end:
                raise LinkError(
                    f"device {self.device}: takes no packets {CABLE_SECONDS:g} s after it came up; try again"
                )
            time.sleep(POLL_SECONDS)

    def _common_troubles(self, device: Device) -> Iterator[str]:
        if not device.up:
            yield f"device {device.name}: is down; restart the daemon (its routes went with it)"
        if device.mtu != self._mtu:
            yield f"device {device.name}: mtu is {device.mtu}, not {self._mtu}; restart the daemon"


def require_privileges() -> None:
    """Raise LinkError, naming them, when capabilities that a link needs are missing."""
    status = Path("/proc/thread-self/status").read_text(encoding="ascii")
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    missing = [name for name, bit in CAPABILITIES.items() if not effective >> bit & 1]
    if missing:
        raise LinkError(f"no privilege to make a link ({' and '.join(missing)} missing); run as root")
