# SPDX-License-Identifier: Apache-2.0
"""The one way to start a background task: named, kept alive, and its failure never lost.

asyncio holds tasks by weak references and reports a failure only when a task is collected; a daemon
needs both the reference and the report at once. Also here: work on a
thread that is never left half done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
logger = logging.getLogger(__name__)
_running: set[asyncio.Task[Any]] = set()


def create_task(
    coroutine: Coroutine[Any, Any, T],
    *,
    name: str,
    on_failure: Callable[[BaseException], None] | None = None,
) -> asyncio.Task[T]:
    """Run `coroutine` in the background under `name`.

    A failure is logged with its traceback and handed to `on_failure`, by which a daemon decides
    whether it can go on; a cancelled task is no failure.
    """
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _running.add(task)

    def ended(done: asyncio.Task[T]) -> None:
        _running.discard(done)
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            logger.error("task %s failed: %s", name, error, exc_info=error)
            if on_failure is not None:
                on_failure(error)

    task.add_done_callback(ended)
    return task


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks` and wait until each has ended; their own failures were reported by then."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def whole(function: Callable[[], T]) -> T:
    """Run `function` on a thread to its end, also when this task is cancelled meanwhile: no half a link."""
    running = asyncio.get_running_loop().run_in_executor(None, function)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
