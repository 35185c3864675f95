# SPDX-License-Identifier: Apache-2.0
"""What the guest's pytest tells the host: one JSON line per phase of a test, written the moment it is known.

Both ends of that file: the pytest plugin in the guest (`-p tests.vm.report`) and the reader on the host.
Lines rather than a report at the end, because a guest that hangs or dies must still say how far it came.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FILE_VARIABLE = "TRIKESEC_VM_REPORT"


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of one test as the guest saw it. `when` is `started` before anything ran."""

    test: str
    when: str
    outcome: str = ""
    seconds: float = 0.0
    text: str = ""


def _write(phase: Phase) -> None:
    path = os.environ.get(FILE_VARIABLE)
    if path is None:
        return
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({name: getattr(phase, name) for name in Phase.__slots__}) + "\n")


def pytest_runtest_logstart(nodeid: str) -> None:
    """Say which test begins, so that a guest that hangs names it."""
    _write(Phase(nodeid, "started"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say how a phase ended, with everything pytest would have printed of it."""
    sections = "".join(f"\n--- {name} ---\n{content}" for name, content in report.sections)
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    _write(Phase(report.nodeid, report.when or "?", report.outcome, report.duration, f"{reason}{sections}"))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot be imported has no tests that could say so."""
    if report.failed:
        _write(Phase(report.nodeid, "collect", report.outcome, 0.0, report.longreprtext))


def read(path: Path) -> Iterator[Phase]:
    """Every whole line of the report; the last may be cut where a guest died."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            fields: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            continue
        yield Phase(**fields)
