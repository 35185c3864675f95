# SPDX-License-Identifier: Apache-2.0
"""A network namespace as a descriptor: entered by a thread of its own, named below /run/netns where possible.

The descriptor is what counts; the name is for people (`ip netns exec`) and for the next start after a crash.
Where nothing may be mounted it stays nameless, and its path leads to the descriptor. Knows no links.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self, TypeVar

from tpkt.link.errors import LinkError

T = TypeVar("T")
logger = logging.getLogger(__name__)

RUN = Path("/run/netns")
MARKER = b"trikesec link\n"  # what the file below the mount says: it is what remains when the mount is gone
CLONE_NEWNET = 0x40000000
MS_BIND, MS_REC, MS_SHARED = 0x1000, 0x4000, 0x100000
MNT_DETACH = 2
REGISTRY_SECONDS = 5.0
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, flags: int) -> None:
    _checked(_libc.mount(source.encode(), target.encode(), b"none", flags, None), f"mount {target}")


class NetworkNamespace:
    """A namespace that lives at least as long as this object is open."""

    def __init__(self, descriptor: int, path: str) -> None:
        """Own `descriptor`; `path` is where others may open the same namespace."""
        self.descriptor = descriptor
        self.path = path

    @classmethod
    def current(cls) -> Self:
        """Give the one the calling thread is in."""
        descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        return cls(descriptor, f"/proc/{os.getpid()}/fd/{descriptor}")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Give the one that `path` names. Raises OSError when it names none."""
        return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC), str(path))

    @classmethod
    def create(cls, prepare: Callable[[], None]) -> Self:
        """Make one without a name; `prepare` runs inside before anybody can see it."""

        def make() -> int:
            _checked(_libc.unshare(CLONE_NEWNET), "unshare network namespace")
            prepare()
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        descriptor = _on_thread(make)
        return cls(descriptor, f"/proc/{os.getpid()}/fd/{descriptor}")

    def name(self, name: str) -> int:
        """Name it /run/netns/`name`; give the descriptor of the file below the mount, for the caller to keep.

        Raises OSError, with nothing left behind, when /run/netns cannot be had or the name is taken.
        """
        _prepare_run()
        path = RUN / name
        below = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            os.write(below, MARKER)
            _mount(f"/proc/self/fd/{self.descriptor}", str(path), MS_BIND)
        except OSError:
            path.unlink()
            os.close(below)
            raise
        self.path = str(path)
        return below

    def run(self, function: Callable[[], T]) -> T:
        """Give what `function` gives on a thread that lives inside and ends with the call."""

        def inside() -> T:
            _checked(_libc.setns(self.descriptor, CLONE_NEWNET), f"enter {self.path}")
            return function()

        return _on_thread(inside)

    def close(self) -> None:
        """Let go of it; harmless when done twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _on_thread(function: Callable[[], T]) -> T:
    """Run `function` on a thread of its own, so that no other thread ever changes its namespace."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            outcome.append(function())
        except BaseException as error:  # noqa: BLE001 - carried over to the calling thread, whole
            failure.append(error)

    thread = threading.Thread(target=body, name="tpkt-link")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _prepare_run() -> None:
    """Make /run/netns as iproute2 does: a mount of its own that passes on what is mounted below."""
    RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        _mount("", str(RUN), MS_SHARED | MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: not a mount point yet
            raise
        _mount(str(RUN), str(RUN), MS_BIND | MS_REC)
        _mount("", str(RUN), MS_SHARED | MS_REC)


def unname(name: str) -> None:
    """Remove the name; the namespace goes when nobody holds it any more. Harmless when there is none."""
    path = RUN / name
    result = _libc.umount2(str(path).encode(), MNT_DETACH)
    if result == -1 and ctypes.get_errno() not in {errno.EINVAL, errno.ENOENT}:  # not mounted, not there
        _checked(result, f"unmount {path}")
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def registry() -> Iterator[None]:
    """Keep other links of this machine from making or removing names meanwhile."""
    try:
        descriptor = os.open(RUN, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:  # nobody has made a name yet; the abstract socket of the owner still guards us
        yield
        return
    try:
        try:
            lock(descriptor, REGISTRY_SECONDS)
        except BlockingIOError:
            raise LinkError(
                f"{RUN}: locked for {REGISTRY_SECONDS:g} s; end the `ip netns` that hangs"
            ) from None
        yield
    finally:
        os.close(descriptor)


def lock(descriptor: int, seconds: float) -> None:
    """Lock an open file for this process alone. Raises BlockingIOError when another has it all the time."""
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
