# SPDX-License-Identifier: Apache-2.0
"""Tells a story as it happens: a moving line while something is done, a lasting one when it is done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar


class _TimeBar(ProgressColumn):
    """Fills with the time that passes; swings where nobody knows how long it takes."""

    def render(self, task: Task) -> ProgressBar:
        """Draw the bar of `task`."""
        return ProgressBar(
            total=task.total, completed=task.elapsed or 0.0, width=30, pulse=task.total is None
        )


class Narrator:
    """Speaks on one console; where that is no terminal only the lasting lines appear."""

    def __init__(self, console: Console) -> None:
        """Begin to count the time."""
        self.console = console
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the story has lasted."""
        return time.monotonic() - self._begin

    def say(self, text: str) -> None:
        """Write a line under the time at which it is true."""
        self.console.print(f"[dim]{self.seconds:5.1f} s[/]  {text}", highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def doing(self, text: str, *, seconds: float | None = None) -> Iterator[list[str]]:
        """Show `text` for as long as the block lasts, `seconds` where that is known.

        The block puts what it found into the list; a failure is told and goes on its way.
        """
        found: list[str] = []
        columns = (SpinnerColumn(), TextColumn("{task.description}"), _TimeBar(), TimeElapsedColumn())
        progress = Progress(*columns, console=self.console, transient=True)
        progress.add_task(text, total=seconds)
        try:
            # Elsewhere than on a terminal a moving line would become an empty one.
            with progress if self.console.is_terminal else contextlib.nullcontext():
                yield found
        except BaseException:
            self.say(f"[red]✗[/] {text}")
            raise
        self.say(f"[green]✓[/] {text}" + (f": {', '.join(found)}" if found else ""))
