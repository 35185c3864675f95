# SPDX-License-Identifier: Apache-2.0
"""A call in progress: tests.lab.voice as a process inside a namespace, with an ear of its own.

A process, because the one that runs the lab is busy with other things and would be late at every packet.
"""

from __future__ import annotations

import os
import select
import subprocess
from typing import Self

import msgspec

from tests.lab import voice
from tests.lab.netns import Namespace

SPARE_SECONDS = 15.0  # for Python to start and the last packets to arrive


class Call:
    """One call, begun on construction; a context manager that hangs up."""

    def __init__(self, namespace: Namespace, target: str, seconds: float, *, source: str) -> None:
        """Call `target` from the address `source` for `seconds`."""
        self._namespace, self._seconds = namespace, seconds
        argv = voice.command(target, seconds, source=source)
        self._process = namespace.popen(argv, stdout=subprocess.PIPE, cwd=voice.REPOSITORY)

    def until_up(self) -> None:
        """Return when the first packet has come back. Raises TimeoutError when none does."""
        stdout = self._process.stdout
        assert stdout is not None
        readable, _, _ = select.select([stdout], [], [], min(self._seconds, SPARE_SECONDS))
        # Past the buffer of `stdout`, which would keep the beginning of the report from communicate().
        if not readable or os.read(stdout.fileno(), 3) != b"up\n":
            raise TimeoutError("no packet of the call came back")

    def hang_up(self) -> voice.Report:
        """End the call now and give its report."""
        self._process.terminate()
        return self.report()

    def report(self) -> voice.Report:
        """Wait for the end of the call and give its report."""
        output, _ = self._process.communicate(timeout=self._seconds + SPARE_SECONDS)
        last = output.decode().splitlines()[-1] if output else ""
        return msgspec.json.decode(last, type=voice.Report)

    def __enter__(self) -> Self:
        """Give the running call."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up, if it has not ended by itself."""
        self._namespace.stop(self._process)
