# SPDX-License-Identifier: Apache-2.0
"""One instance, one owner: locks that die with the process that holds them, however it dies.

Two things can be disputed and each has its lock. The devices, routes and rules of a network namespace: an
abstract Unix socket, a name inside exactly that namespace. The name below /run/netns, which processes of
several network namespaces may share: flock on what the name shows, which is the namespace, or the plain file
below it where the mount belongs to another mount namespace. Neither can be left behind by `kill -9`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
from pathlib import Path

from tpkt.link import netns
from tpkt.link.errors import LinkError

ASKER_SECONDS = 1.0  # somebody who asks whether we live holds the lock for less than a millisecond


class Ownership:
    """What this process holds of the instance `name` ("eseg-default"); `release` lets go of all of it."""

    def __init__(self, name: str) -> None:
        """Hold nothing yet."""
        self._name = name
        self._socket: socket.socket | None = None
        self._descriptors: list[int] = []

    def claim(self, holder: int) -> None:
        """Become the owner in the network namespace of the calling thread.

        Raises LinkError when another is; `holder` is its pid where it is known, else 0.
        """
        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            held.bind(f"\0trikesec/link/{self._name}")
        except OSError as error:
            held.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise taken(self._name, holder) from error
        self._socket = held

    def hold(self, descriptor: int) -> None:
        """Lock `descriptor`, what the name shows; it stays the caller's to close."""
        netns.lock(descriptor, ASKER_SECONDS)

    def keep(self, descriptor: int) -> None:
        """Lock `descriptor` and keep it until `release`."""
        self._descriptors.append(descriptor)
        self.hold(descriptor)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The locks, which another process that gets these holds as well."""
        return (*(() if self._socket is None else (self._socket.fileno(),)), *self._descriptors)

    def inherit(self, descriptors: list[int]) -> None:
        """Own what another process has given away."""
        self._socket = socket.socket(fileno=descriptors[0])
        self._descriptors = list(descriptors[1:])

    def release(self) -> None:
        """Let go of everything; harmless when done twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        while self._descriptors:
            os.close(self._descriptors.pop())


def living(name: str) -> int | None:
    """Tell who owns /run/netns/`name`: None for nobody alive, else a pid, or 0 when that is out of sight."""
    try:
        descriptor = os.open(netns.RUN / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: askers do not see each other
    except BlockingIOError:
        return _holder(os.fstat(descriptor).st_ino)
    finally:
        os.close(descriptor)
    return None


def taken(name: str, pid: int) -> LinkError:
    """Say that the instance is somebody's."""
    who = "this process" if pid == os.getpid() else f"process {pid}" if pid else "a running process"
    return LinkError(f"{netns.RUN / name}: belongs to {who}; stop it, or choose another instance name")


def _holder(inode: int) -> int:
    lock = re.compile(rf"FLOCK\s+ADVISORY\s+WRITE\s+(\d+)\s+[0-9a-f]+:[0-9a-f]+:{inode}\s")
    found = lock.search(Path("/proc/locks").read_text(encoding="ascii"))
    return int(found[1]) if found else 0
