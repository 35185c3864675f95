# SPDX-License-Identifier: Apache-2.0
"""One charon-systemd as an operating system process: started, found again, verified as ours, ended.

A charon is ours when /proc says that it runs charon-systemd with our strongswan.conf in its environment: that
survives the death of whoever started it and cannot be confused by a process id used again. It is started in a
session of its own, so that neither Ctrl-C nor the end of its parent ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from charon.errors import CharonCannotRun

PROGRAM: Final = "charon-systemd"
# charon tells every peer good-bye on SIGTERM, and waits for none of them.
TERM_SECONDS: Final = 5.0
KILL_SECONDS: Final = 5.0


class Process:
    """A running charon, whether this process started it or found it; `pid` stays its own while it is held."""

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        """Hold the process `pid`; ProcessLookupError when it is gone already."""
        self.pid = pid
        self._child = child
        self._pidfd = os.pidfd_open(pid)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._pidfd >= 0 and not select.select([self._pidfd], [], [], 0)[0]

    async def ended(self) -> None:
        """Wait until it has ended."""
        if not self.running:
            return
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        # A descriptor of its own: several may wait, and the process may be released meanwhile.
        descriptor = os.dup(self._pidfd)
        try:
            loop.add_reader(descriptor, done.set)
            await done.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def end(self) -> None:
        """Ask it to end, make it end, and release it."""
        for number, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended(), seconds)
            if not self.running:
                break
        self.release()

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def release(self) -> int | None:
        """Let go of an ended process; give its exit status if it was our child."""
        status = None
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._child.wait(KILL_SECONDS)
            self._child = None
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        return status


def start(program: Path, conf: Path, output: Path, netns: Path | None) -> Process:
    """Start charon with `conf`; what it prints before its log is open goes to `output`."""
    environment = {"STRONGSWAN_CONF": str(conf), "PATH": os.environ.get("PATH", os.defpath)}
    argv = [str(program)]
    if netns is not None:
        argv = ["nsenter", f"--net={netns}", "--", *argv]
    with output.open("ab") as out:
        try:
            # Left running on purpose: its end is awaited through its pidfd.
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise CharonCannotRun(f"cannot be started: {error.strerror}", where=str(program)) from None
    return Process(child.pid, child)


def find(conf: Path) -> Process | None:
    """Find the running charon that was started with `conf`, if there is one."""
    for pid in _pids():
        if is_ours(pid, conf):
            with contextlib.suppress(ProcessLookupError):
                process = Process(pid)
                if is_ours(pid, conf):  # still: the descriptor was opened for the very process looked at
                    return process
                process.release()
    return None


def is_ours(pid: int, conf: Path) -> bool:
    """Whether `pid` is a charon-systemd that was started with our `conf`."""
    base = Path("/proc", str(pid))
    try:
        if (base / "comm").read_text().strip() != PROGRAM:
            return False
        return f"STRONGSWAN_CONF={conf}".encode() in (base / "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it has ended, or is none of our business


def _pids() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            yield int(entry.name)
