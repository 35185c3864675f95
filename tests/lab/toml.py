# SPDX-License-Identifier: Apache-2.0
"""Writes a configuration as TOML; the standard library only reads it. Knows no particular configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

Value = str | int | float | bool | Path | Sequence["Value"] | Mapping[str, "Value"]


def dumps(document: Mapping[str, Value]) -> str:
    """Give `document` as TOML: a line for each plain key, a section for each table, tables inside inline."""
    plain = [f"{key} = {_inline(value)}" for key, value in document.items() if not isinstance(value, Mapping)]
    sections = [
        "\n".join([f"\n[{name}]", *(f"{key} = {_inline(value)}" for key, value in table.items())])
        for name, table in document.items()
        if isinstance(table, Mapping)
    ]
    return "\n".join([*plain, *sections]) + "\n"


def _inline(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        # JSON's escapes are TOML's, but for DEL, which no configuration of ours has.
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_inline(inner)}" for key, inner in value.items()) + "}"
    return "[" + ", ".join(_inline(inner) for inner in value) + "]"
