# SPDX-License-Identifier: Apache-2.0
"""Growing pauses with jitter, so that a thousand clients do not come back in the same second."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Pauses that double from `first` up to `longest`; each is shortened by up to half at random."""

    def __init__(self, first: float, longest: float, random: Callable[[], float]) -> None:
        """`random` gives numbers from 0 up to 1, as `random.random` does."""
        self._first, self._longest, self._random = first, longest, random
        self._next = first

    def pause(self) -> float:
        """Give the next pause in seconds."""
        pause = self._next * (1 - self._random() / 2)
        self._next = min(self._next * 2, self._longest)
        return pause

    def longest(self) -> float:
        """Give a pause for what haste would not mend, and may harm: an account is locked after some tries."""
        self._next = self._longest
        return self.pause()

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self._next = self._first
