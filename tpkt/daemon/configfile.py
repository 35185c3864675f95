# SPDX-License-Identifier: Apache-2.0
"""Reads a TOML file into a frozen msgspec type; every refusal names file, key and cure on one line.

Knows no particular configuration: the types say what is allowed, ConfigError lets their own checks speak
in the same form.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


class ConfigError(Exception):
    """A configuration that cannot be used. The message is one line: file, key, what is wrong, cure."""

    def __init__(self, path: Path | str, key: str, problem: str, cure: str) -> None:
        """Say that `key` in the file at `path` has `problem` and what mends it."""
        self.path, self.key, self.problem, self.cure = str(path), key, problem, cure
        where = f"{path}: {key}" if key else f"{path}"
        super().__init__(f"{where}: {problem}; {cure}")


def load(path: Path | str, kind: type[T]) -> T:
    """Read the TOML file at `path` as `kind`, a msgspec type that forbids unknown fields.

    Raises ConfigError for a file that cannot be read, is not TOML, or does not fit `kind`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            path, "", f"cannot be read ({error.strerror})", "name a readable file with --config"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, "", f"is not UTF-8 ({error.reason})", "save it as UTF-8") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, "", f"is not TOML: {error}", "mend that line") from error
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        problem, _, at = str(error).partition(" - at `")
        key = at.rstrip("`").removeprefix("$").lstrip(".")
        raise ConfigError(path, key, problem, "see the configuration chapter of docs/") from error
