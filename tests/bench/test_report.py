# SPDX-License-Identifier: Apache-2.0
"""The bench's arithmetic and honesty: medians, ratios, goals; and that the cases without charons run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.bench import measure, report
from tests.bench.__main__ import main
from tests.bench.case import Case, Comparison, Direction, Settings, Variant


def case(*comparisons: Comparison, order: list[str] | None = None) -> Case:
    taken = [] if order is None else order
    figures = {"ours": iter([1.0, 9.0, 3.0]), "theirs": iter([2.0, 2.0, 2.0])}

    def variant(name: str) -> Variant:
        def one() -> dict[str, float]:
            taken.append(name)
            return {"speed": next(figures[name])}

        return Variant(name, one)

    @contextlib.contextmanager
    def lab(settings: Settings) -> Iterator[Sequence[Variant]]:
        yield [variant("ours"), variant("theirs")]

    return Case(name="case", title="a case", lab=lab, comparisons=comparisons)


def run(tried: Case) -> list[report.Row]:
    return report.rows(tried, measure.run(tried, Settings(rounds=3), lambda _: None))


@pytest.mark.parametrize(
    ("goal", "direction", "reached"),
    [(1.5, "at least", True), (1.6, "at least", False), (1.5, "at most", True), (1.4, "at most", False)],
)
def test_the_ratio_of_the_medians_is_held_against_the_goal(
    goal: float, direction: Direction, reached: bool
) -> None:
    compared = Comparison(
        metric="speed", unit="", ours="ours", against="theirs", goal=goal, direction=direction
    )
    (row,) = run(case(compared))
    assert (row.ours_median, row.against_median, row.ratio) == (3.0, 2.0, 1.5)
    assert row.reached is reached


def test_where_there_is_no_other_the_median_itself_is_held_against_the_goal() -> None:
    (row,) = run(case(Comparison(metric="speed", unit="", ours="ours", goal=3.0, direction="at most")))
    assert (row.ratio, row.reached) == (None, True)


def test_where_nothing_was_promised_nothing_is_missed() -> None:
    (row,) = run(case(Comparison(metric="speed", unit="", ours="ours", against="theirs")))
    assert row.reached is None


def test_variants_take_turns_and_every_other_round_is_backwards() -> None:
    order: list[str] = []
    run(case(order=order))
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]


@pytest.mark.root
def test_the_cases_about_the_pump_run_and_leave_a_report(tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    done = CliRunner().invoke(main, ["--quick", "--cases", "pump,connections", "--output", str(output)])
    assert done.exit_code == 0, (done.output, done.exception)
    written = json.loads(output.read_text())
    assert {row["case"] for row in written["rows"]} == {"pump", "connections"}
    assert all(row["ours_median"] > 0 for row in written["rows"])


def test_an_unknown_case_is_refused_by_name() -> None:
    done = CliRunner().invoke(main, ["--cases", "pump,nonsense"])
    assert done.exit_code == 2
    assert "no such case: nonsense" in done.output
