# SPDX-License-Identifier: Apache-2.0
"""How a command speaks: tables for eyes, JSON for programs, one line for an error, exit status as agreed.

Exit status: 0 it holds; 1 it does not hold (something is down); 2 it could not be asked or done.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import msgspec
from rich.console import Console
from rich.table import Table

EXIT_DOWN = 1
EXIT_ERROR = 2
PIPE_WIDTH = 160  # of tables that go into a file or a pipe, where nobody said how wide it is


def print_json(value: object) -> None:
    """Write `value` (msgspec types and dataclasses included) as indented JSON to standard output."""
    json.dump(msgspec.to_builtins(value), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> None:
    """Write `rows` as a table; a None cell is shown as a dash."""
    table = Table(title=title, title_justify="left", highlight=False)
    for column in columns:
        table.add_column(column, overflow="fold")  # an address cut off with an ellipsis is no use
    for row in rows:
        table.add_row(*("–" if cell is None else str(cell) for cell in row))
    terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    Console(width=None if terminal else PIPE_WIDTH).print(table)


def fail(message: object, status: int = EXIT_ERROR) -> NoReturn:
    """Write one line to standard error and end the process with `status`."""
    sys.stderr.write(f"error: {' '.join(str(message).split())}\n")
    raise SystemExit(status)


def human_bytes(count: int) -> str:
    """Give `count` bytes in the largest unit that keeps at least one digit before the point."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def human_seconds(seconds: float) -> str:
    """Give a duration as the two largest of days, hours, minutes and seconds."""
    whole = int(seconds)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if whole >= size or (unit == "s" and not parts):
            parts.append(f"{whole // size} {unit}")
            whole %= size
    return " ".join(parts[:2])


def pick(document: dict[str, Any], *keys: str) -> list[Any]:
    """Take `keys` out of a JSON object in order, as a table row wants them; missing ones are None."""
    return [document.get(key) for key in keys]
