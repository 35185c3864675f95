# SPDX-License-Identifier: Apache-2.0
"""What `eseg doctor` finds, and what it is given to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from eseg.config import Config


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    `fail` keeps the gateway from working; `warn` makes it worse than it could be. Both come with a cure.
    """

    name: str
    result: Literal["ok", "warn", "fail"]
    found: str
    cure: str = ""

    @classmethod
    def ok(cls, name: str, found: str) -> Self:
        """It is well."""
        return cls(name, "ok", found)

    @classmethod
    def warn(cls, name: str, found: str, cure: str) -> Self:
        """It works, and could be better."""
        return cls(name, "warn", found, cure)

    @classmethod
    def fail(cls, name: str, found: str, cure: str) -> Self:
        """It does not work."""
        return cls(name, "fail", found, cure)


@dataclass
class Machine:
    """This machine, its configuration if that can be read, and what a running gateway says of itself."""

    path: Path
    config: Config | None
    status: dict[str, Any] | None
