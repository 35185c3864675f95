# SPDX-License-Identifier: Apache-2.0
"""What the host makes of a guest's run, also of one that ended badly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vm import machine, report, selection
from tests.vm.conftest import GuestRun

PASSED = {"test": "file::test_a[1]", "when": "call", "outcome": "passed", "seconds": 0.1, "text": ""}


def test_a_report_is_read_up_to_where_the_guest_died(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    path.write_text(json.dumps(PASSED) + "\n" + json.dumps(PASSED)[:20])
    assert [phase.test for phase in report.read(path)] == ["file::test_a[1]"]


def test_without_a_report_nothing_was_done(tmp_path: Path) -> None:
    assert list(report.read(tmp_path / "report.jsonl")) == []


def test_a_test_has_the_phases_of_all_its_parameters_and_of_no_other(tmp_path: Path) -> None:
    names = ("file::test_a", "file::test_a[1]", "file::test_ab")
    lines = [json.dumps(PASSED | {"test": name}) for name in names]
    (tmp_path / "report.jsonl").write_text("\n".join(lines))
    run = GuestRun(machine.Ended(0, tmp_path))
    assert [phase.test for phase in run.of("file::test_a")] == ["file::test_a", "file::test_a[1]"]


@pytest.mark.parametrize(
    ("status", "words"), [(None, "the time limit ended the guest"), (3, "the guest ended with status 3")]
)
def test_a_missing_result_is_explained_once_with_the_end_of_the_logs(
    tmp_path: Path, status: int | None, words: str
) -> None:
    (tmp_path / "guest.log").write_text("so far\nand no further\n")
    run = GuestRun(machine.Ended(status, tmp_path))
    told = run.why_missing()
    assert words in told
    assert "and no further" in told
    assert "and no further" not in run.why_missing()


def test_every_selected_file_has_tests_and_no_name_twice() -> None:
    names = selection.tests()
    assert len(set(names)) == len(names)
    assert {name.split("::")[0] for name in names} == set(selection.files())


def test_a_word_with_a_blank_is_refused_before_anything_boots(tmp_path: Path) -> None:
    with pytest.raises(machine.MachineError, match="has a blank"):
        machine.run(["echo", "two words"], share=tmp_path, seconds=1)


def test_without_a_kernel_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "KERNEL", tmp_path)
    with pytest.raises(machine.MachineError, match="make test-kernel"):
        machine.run(["true"], share=tmp_path, seconds=1)
