# SPDX-License-Identifier: Apache-2.0
"""Waiting by condition, never by guess: `until` and its asyncio twin poll until something holds."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.02
# How much longer everything may take than on a machine of its own: an emulated one is some ten times slower.
PATIENCE = float(os.environ.get("TRIKESEC_PATIENCE", "1"))


def until(predicate: Callable[[], T | None], seconds: float, what: str) -> T:
    """Poll `predicate` until it gives something true, and give that. Raises TimeoutError naming `what`."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds * PATIENCE:g} s: {what}")
        time.sleep(POLL_SECONDS)


async def until_async(
    predicate: Callable[[], Awaitable[T | None] | T | None], seconds: float, what: str
) -> T:
    """Poll `predicate`, which may be a coroutine function, as `until` does."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        value = predicate()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds * PATIENCE:g} s: {what}")
        await asyncio.sleep(POLL_SECONDS)
