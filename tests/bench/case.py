# SPDX-License-Identifier: Apache-2.0
"""What a case of the bench is: variants that are measured in turn, and what is compared with what.

A case knows how to build its lab and how to measure one variant once; nothing of rounds, medians or tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

Metrics = Mapping[str, float]
Direction = Literal["at least", "at most"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long and how big: one for all cases. The defaults are those of a run that is published."""

    rounds: int = 3
    seconds: float = 4.0  # of one measurement
    max_bytes: int = 32 << 30  # of one measurement, whatever comes first
    pings: int = 100
    connections: int = 20_000


# For trying whether it works at all; its figures mean nothing.
QUICK = Settings(rounds=1, seconds=0.5, max_bytes=1 << 30, pings=10, connections=500)


@dataclass(frozen=True, slots=True)
class Variant:
    """One thing that is measured, and how: `measure` does it once and gives its figures by name."""

    name: str
    measure: Callable[[], Metrics]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One row of the table: a metric of `ours`, divided by that of `against` where there is one.

    `goal` bounds the ratio, or the median itself where there is none; None where nothing was promised.
    """

    metric: str
    unit: str
    ours: str
    against: str | None = None
    goal: float | None = None
    direction: Direction = "at least"

    def reached(self, value: float) -> bool | None:
        """Whether `value` meets the goal; None without one."""
        if self.goal is None:
            return None
        return value >= self.goal if self.direction == "at least" else value <= self.goal


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: `lab` builds what it needs, gives the variants, and removes everything."""

    name: str
    title: str
    lab: Callable[[Settings], AbstractContextManager[Sequence[Variant]]]
    comparisons: Sequence[Comparison]
