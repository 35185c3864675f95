# SPDX-License-Identifier: Apache-2.0
"""From samples to rows: medians, ratios, goals reached or missed; a table for people, JSON for programs.

A goal that was missed stands there like one that was reached. Measures nothing.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.table import Table

from charon.probe import kernel_esp
from tests.bench.case import Case, Comparison, Settings
from tests.bench.measure import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison with its figures; `ratio` is of medians."""

    case: str
    metric: str
    unit: str
    ours: str
    ours_median: float
    against: str | None
    against_median: float | None
    ratio: float | None
    goal: float | None
    direction: str
    reached: bool | None


def rows(case: Case, samples: Samples) -> list[Row]:
    """Give the rows of `case`, in the order of its comparisons."""
    return [_row(case.name, comparison, samples) for comparison in case.comparisons]


def _row(case: str, comparison: Comparison, samples: Samples) -> Row:
    ours = median(samples[comparison.ours][comparison.metric])
    against = ratio = None
    if comparison.against is not None:
        against = median(samples[comparison.against][comparison.metric])
        ratio = ours / against
    return Row(
        case=case,
        metric=comparison.metric,
        unit=comparison.unit,
        ours=comparison.ours,
        ours_median=ours,
        against=comparison.against,
        against_median=against,
        ratio=ratio,
        goal=comparison.goal,
        direction=comparison.direction,
        reached=comparison.reached(ours if ratio is None else ratio),
    )


def document(
    settings: Settings, results: Sequence[tuple[Case, Samples]], failed: Mapping[str, str]
) -> dict[str, Any]:
    """Give everything as one document: where it ran, how, every sample, every row, and what failed why."""
    return {
        "machine": {
            "kernel": platform.release(),
            "cores": os.cpu_count(),
            "load_of_15_minutes": round(os.getloadavg()[2], 2),
            "congestion_of_the_machine": _sysctl("net/ipv4/tcp_congestion_control"),
            "esp": "kernel" if kernel_esp().available else "userspace",
        },
        "settings": asdict(settings),
        "samples": {case.name: samples for case, samples in results},
        "rows": [asdict(row) for case, samples in results for row in rows(case, samples)],
        "failed": dict(failed),
    }


def _sysctl(key: str) -> str:
    return Path("/proc/sys", key).read_text(encoding="ascii").strip()


def tables(results: Sequence[tuple[Case, Samples]]) -> list[Table]:
    """Give the tables that the bench prints, one a case."""
    return [_table(case, rows(case, samples)) for case, samples in results]


def _table(case: Case, shown: Sequence[Row]) -> Table:
    table = Table(title=case.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in ("", "median", "against", "median", "ratio", "goal", ""):
        table.add_column(
            name, no_wrap=True, justify="right" if name in {"median", "ratio", "goal"} else "left"
        )
    for row in shown:
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> list[str]:
    verdict = {None: "", True: "[green]reached[/]", False: "[red]missed[/]"}[row.reached]
    sign = "≥" if row.direction == "at least" else "≤"
    return [
        f"{row.ours}: {row.metric}",
        _figure(row.ours_median, row.unit),
        row.against or "",
        "" if row.against_median is None else _figure(row.against_median, row.unit),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.goal is None else f"{sign} {row.goal:,.10g}",
        verdict,
    ]


def _figure(value: float, unit: str) -> str:
    return (f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}").rstrip()
