# SPDX-License-Identifier: Apache-2.0
"""A daemon of the product under test: `eseg` or `tc-client` as a process of its own inside a namespace.

Started as a user would: the installed command, a TOML file, a runtime directory; asked through its admin
socket. Knows what both have in common; their configurations are in gateway and client.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tests.lab import toml
from tests.lab.netns import Namespace
from tests.lab.wait import until
from tpkt.daemon import api

START_SECONDS = 30.0
STOP_SECONDS = 15.0
LOG_LINES = 40


class DaemonEnded(AssertionError):
    """The daemon ended when it should have run; the message shows the end of its log."""


class Successor:
    """A process that somebody else has started, with an exit status unknown; stands where a Popen does."""

    def __init__(self, pid: int) -> None:
        """Hold the process."""
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Give 0 when it has ended."""
        if self.returncode is None and select.select([self._descriptor], [], [], 0)[0]:
            self.returncode = 0
            os.close(self._descriptor)
        return self.returncode

    def wait(self, seconds: float | None = None) -> int:
        """Wait for its end."""
        if self.poll() is None and not select.select([self._descriptor], [], [], seconds)[0]:
            raise subprocess.TimeoutExpired(str(self.pid), seconds or 0)
        return self.poll() or 0

    def end(self, seconds: float) -> int:
        """End it, gently first."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.poll() is None:
                signal.pidfd_send_signal(self._descriptor, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.wait(seconds)
        return self.wait(seconds)


class Daemon:
    """One program with one configuration; may be started, stopped and killed any number of times."""

    def __init__(
        self,
        program: Literal["eseg", "tc-client"],
        namespace: Namespace,
        directory: Path,
        configuration: Mapping[str, toml.Value],
    ) -> None:
        """Write the configuration below `directory`; start nothing yet."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.program = program
        self.namespace = namespace
        self.runtime = directory / "run"
        self.admin = self.runtime / "admin.sock"
        self.config = directory / f"{program}.toml"
        self.log = directory / f"{program}.log"
        self.config.write_text(toml.dumps(configuration))
        self._process: subprocess.Popen[bytes] | Successor | None = None

    @property
    def argv(self) -> list[str]:
        """The command that runs it."""
        return [str(Path(sys.executable).with_name(self.program)), "run", "--config", str(self.config)]

    def start(self) -> None:
        """Start it and wait until its admin socket answers."""
        assert self._process is None, f"{self.program} runs already"
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C belongs to whoever runs the lab, who then stops it in order.
            self._process = self.namespace.popen(["setsid", "--", *self.argv], stdout=log, stderr=log)
        try:
            until(self._answers, START_SECONDS, f"{self.program} answers on {self.admin}")
        except TimeoutError as error:
            error.add_note(self.tail())
            raise

    def _answers(self) -> bool:
        self.check_alive()
        with contextlib.suppress(api.ApiError):
            self.ask("GET /status")
            return True
        return False

    def check_alive(self) -> None:
        """Raise DaemonEnded when the process is gone."""
        if self._process is None or self._process.poll() is not None:
            status = None if self._process is None else self._process.returncode
            raise DaemonEnded(f"{self.program} ended with status {status}:\n{self.tail()}")

    def tail(self) -> str:
        """Give the last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LOG_LINES:])

    def ask(
        self, route: str, body: Mapping[str, Any] | None = None, *, seconds: float = 10.0
    ) -> dict[str, Any]:
        """Ask the admin API."""
        answer = asyncio.run(api.call(self.admin, route, body, seconds=seconds))
        assert isinstance(answer, dict), answer
        return answer

    def status(self) -> dict[str, Any]:
        """Give its status."""
        return self.ask("GET /status")

    def charon_pid(self) -> int:
        """Give the process of its charon; 0 while there is none."""
        return int(self.status()["charon"]["pid"] or 0)

    def show(self, *words: str) -> list[str]:
        """Give the command line of another command of the program on the same configuration."""
        program, *_ = self.argv
        return [program, *words, "--config", str(self.config)]

    def command(self, *words: str, seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run another command of the program against the same configuration, to its end."""
        return self.namespace.run(self.show(*words), check=False, seconds=seconds)

    @property
    def pid(self) -> int:
        """The process; it must run."""
        self.check_alive()
        assert self._process is not None
        return self._process.pid

    def follow(self, pid: int) -> None:
        """Go on with `pid`, which has replaced the process; that one must end by itself, and well."""
        assert self._process is not None
        successor = Successor(pid)
        assert self._process.wait(STOP_SECONDS) == 0, self.tail()
        self._process = successor

    def stop(self) -> int:
        """Ask it to end and give its exit status; harmless when it does not run."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        if isinstance(process, Successor):
            return process.end(STOP_SECONDS)
        return self.namespace.stop(process, STOP_SECONDS)

    def kill(self) -> None:
        """End it as a crash would: no handler runs, nothing is cleaned up."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait(STOP_SECONDS)
        self._process = None
