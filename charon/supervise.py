# SPDX-License-Identifier: Apache-2.0
"""Keeps a charon of our own running: restarts it when it ends or hangs, at growing intervals.

A restart ends every SA, so a hung charon gets time to recover; a failure to start is logged and tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from charon.errors import CharonError
from charon.process import Process

logger = logging.getLogger(__name__)

ASK_SECONDS: Final = 5.0
HUNG_SECONDS: Final = 20.0
BACK_OFF_SECONDS: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
# Having run for so long, the next end is a new trouble and not the old one again.
STABLE_SECONDS: Final = 60.0


class Supervised(Protocol):
    """What supervision needs of a charon of our own."""

    process: Process | None
    restarts: int

    @property
    def log_path(self) -> Path:
        """Where it says what troubles it."""

    async def start(self, adopt: bool = True) -> None:
        """Start it."""

    async def reload(self) -> None:
        """Load again what was loaded."""

    async def answers(self) -> bool:
        """Whether it answers a question."""

    def ended(self) -> int | None:
        """Note that its process has ended."""

    def trim_logs(self) -> None:
        """Keep its logs small."""


async def supervise(managed: Supervised, on_restart: Callable[[], None] | None) -> None:
    """Restart `managed` whenever it is needed, load again what was loaded, and tell; never returns."""
    loop = asyncio.get_running_loop()
    failures = 0
    while True:
        since = loop.time()
        why = await _until_broken(managed)
        if loop.time() - since > STABLE_SECONDS:
            failures = 0
        pause = BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS) - 1)]
        failures += 1
        logger.error("charon %s; starting it again in %g s; see %s", why, pause, managed.log_path)
        await asyncio.sleep(pause)
        try:
            await managed.start(adopt=False)
            await managed.reload()
        except CharonError as error:
            logger.error("charon does not run as it should: %s", error)
            continue
        managed.restarts += 1
        if on_restart is not None:
            on_restart()


async def _until_broken(managed: Supervised) -> str:
    """Wait until it has ended or hangs, and say which; meanwhile keep its logs small."""
    silent = 0.0
    while (process := managed.process) is not None and process.running:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.ended(), ASK_SECONDS)
            break
        await asyncio.to_thread(managed.trim_logs)
        silent = 0.0 if await managed.answers() else silent + ASK_SECONDS
        if silent >= HUNG_SECONDS:
            process.kill()
            managed.ended()
            return f"has not answered for {HUNG_SECONDS:g} s and was killed"
    status = managed.ended()
    return "does not run" if status is None else f"has ended with status {status}"
