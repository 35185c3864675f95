# SPDX-License-Identifier: Apache-2.0
"""The command-line options that both daemons' commands have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def config(default: Path, help_text: str) -> Callable[[Command], Command]:
    """`--config PATH`, given to the command as `path`."""
    return click.option(
        "--config",
        "path",
        type=click.Path(path_type=Path),
        default=default,
        show_default=True,
        help=help_text,
    )


def as_json(command: Command) -> Command:
    """`--json`, given to the command as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="For programs: JSON on standard output.")(
        command
    )
