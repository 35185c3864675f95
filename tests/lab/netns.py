# SPDX-License-Identifier: Apache-2.0
"""Network namespaces as a test-bed: made under names of their own, every command logged, always removed.

A name is `<prefix>-<role>`, and the prefix of a run is `tk<pid>x<n>`: whoever finds a namespace whose pid
is dead may remove it (`sweep`). Processes are started with `nsenter`, which leaves the mount namespace
alone, so that a namespace made *inside* (the pump's) can be seen from outside. Knows no topology.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import logging
import os
import re
import shlex
import signal
import socket as sockets
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from tests.lab.wait import until

T = TypeVar("T")
logger = logging.getLogger(__name__)

RUN = Path("/run/netns")
CLONE_NEWNET = 0x40000000
COMMAND_SECONDS = 30.0
TERM_SECONDS = 5.0
_libc = ctypes.CDLL(None, use_errno=True)
_runs = itertools.count(1)
_OWNER = re.compile(r"(?:^|-)tk(\d+)x\d+(?:-|$)")


def unique_prefix() -> str:
    """Give a prefix that no other run and no other lab of this process has."""
    return f"tk{os.getpid()}x{next(_runs)}"


def setns(descriptor: int) -> None:
    """Move the calling thread into the network namespace behind `descriptor`."""
    if _libc.setns(descriptor, CLONE_NEWNET) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def command(
    argv: Sequence[str], *, check: bool = True, stdin: str | None = None, seconds: float = COMMAND_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run `argv` to its end, logged; a failure raises CalledProcessError with its standard error noted."""
    logger.debug("$ %s", shlex.join(argv))
    done = subprocess.run(argv, check=False, capture_output=True, text=True, input=stdin, timeout=seconds)
    if check and done.returncode != 0:
        error = subprocess.CalledProcessError(done.returncode, list(argv), done.stdout, done.stderr)
        error.add_note(f"{done.stdout}{done.stderr}".strip())
        raise error
    return done


class Namespace:
    """One network namespace, its processes and its sockets; made on construction, gone after `delete`."""

    def __init__(self, name: str) -> None:
        """Make the namespace `name` with loopback up; FileExistsError when there is one already."""
        if (RUN / name).exists():
            raise FileExistsError(f"network namespace {name} exists")
        self.name = name
        self._processes: list[subprocess.Popen[Any]] = []
        command(["ip", "netns", "add", name])
        self.ip("link set lo up")
        # Addresses are usable at once, and nothing is sent that no test asked for.
        self.sysctl("net.ipv6.conf.default.accept_dad", 0)
        self.sysctl("net.ipv6.conf.default.accept_ra", 0)
        self.sysctl("net.ipv6.conf.default.router_solicitations", 0)

    @property
    def path(self) -> Path:
        """The file that names it, for `nsenter` and for whoever calls setns."""
        return RUN / self.name

    def _argv(self, argv: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        stdin: str | None = None,
        seconds: float = COMMAND_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` inside to its end, output as text."""
        return command(self._argv(argv), check=check, stdin=stdin, seconds=seconds)

    def ip(self, *lines: str) -> None:
        """Run `ip` inside, once for all `lines` (each without the word `ip`)."""
        logger.debug("[%s] ip %s", self.name, "; ip ".join(lines))
        command(["ip", "-n", self.name, "-batch", "-"], stdin="\n".join(lines) + "\n")

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `argv` inside; its pid is the program's own. `delete` ends it if nobody did before."""
        logger.debug("[%s] $ %s &", self.name, shlex.join(argv))
        process = subprocess.Popen(
            self._argv(argv), stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd
        )
        self._processes.append(process)
        return process

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Put the calling thread inside for a `with` block. Never `await` in that block: use `call`."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                setns(here)
        finally:
            os.close(here)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Give what `function(*args)` gives on a thread that lives inside and ends with the call."""
        outcome: list[T] = []
        failure: list[BaseException] = []

        def inside() -> None:
            try:
                with self.enter():
                    outcome.append(function(*args))
            except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread, whole
                failure.append(error)

        thread = threading.Thread(target=inside, name=f"in-{self.name}")
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return outcome[0]

    def socket(
        self, family: int = sockets.AF_INET, kind: int = sockets.SOCK_STREAM, protocol: int = 0
    ) -> sockets.socket:
        """Make a socket that belongs to this namespace for its whole life; use it from anywhere."""
        return self.call(functools.partial(sockets.socket, family, kind, protocol))

    def sysctl(self, key: str, value: object = None) -> str:
        """Give the value of `key` inside, after setting it when `value` is given."""
        file = Path("/proc/sys") / key.replace(".", "/")
        if value is not None:
            logger.debug("[%s] sysctl -w %s=%s", self.name, key, value)
            self.call(file.write_text, str(value))
        return self.call(file.read_text).strip()

    def congestion(self, algorithm: str) -> None:
        """Make `algorithm` the default of new TCP sockets inside.

        A namespace may only choose what the host allows to everybody; what is missing there is added.
        """
        allowed = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
        if algorithm not in allowed.read_text().split():
            logger.debug("sysctl -w net.ipv4.tcp_allowed_congestion_control+=%s", algorithm)
            allowed.write_text(f"{allowed.read_text().strip()} {algorithm}")
        self.sysctl("net.ipv4.tcp_congestion_control", algorithm)

    def pids(self) -> list[int]:
        """Give the processes inside, whoever started them, without this one."""
        return pids(self.name)

    def stop(self, process: subprocess.Popen[bytes], seconds: float = TERM_SECONDS) -> int:
        """End a process of `popen`, gently first; give its exit status."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(seconds)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        return process.returncode

    def delete(self) -> None:
        """End every process inside and remove the namespace; harmless when done twice."""
        if not self.path.exists():
            return
        for process in reversed(self._processes):
            self.stop(process)
        self._processes.clear()
        remove(self.name)


def pids(name: str) -> list[int]:
    """Give the processes in the namespace `name`, without this one."""
    listed = command(["ip", "netns", "pids", name], check=False).stdout.split()
    return [pid for pid in map(int, listed) if pid != os.getpid()]


def remove(name: str) -> None:
    """Kill what still runs in the namespace `name`, wait for its end, and remove the name."""
    for pid in pids(name):
        logger.debug("kill -9 %d (left in %s)", pid, name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not pids(name), TERM_SECONDS, f"the processes in {name} end")
    command(["ip", "netns", "del", name], check=False)


def remove_all(prefix: str) -> None:
    """Remove every namespace whose name carries `prefix`, the ones daemons made inside a lab included."""
    for name in names():
        if f"-{prefix}-" in f"-{name}-":
            remove(name)


def names() -> list[str]:
    """Give the names of all namespaces of this machine."""
    return sorted(entry.name for entry in RUN.iterdir()) if RUN.is_dir() else []


def sweep() -> None:
    """Remove what runs that are dead by now have left."""
    for name in names():
        owner = _OWNER.search(name)
        if owner and not Path("/proc", owner[1]).exists():
            remove(name)


def veth(a: Namespace, a_device: str, b: Namespace, b_device: str, mtu: int = 1500) -> None:
    """Join two namespaces by a cable, both ends up."""
    made = f"{a_device} netns {a.name} mtu {mtu} type veth peer name {b_device} netns {b.name} mtu {mtu}"
    command(["ip", "link", "add", *made.split()])
    a.ip(f"link set {a_device} up")
    b.ip(f"link set {b_device} up")
