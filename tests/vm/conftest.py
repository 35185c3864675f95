# SPDX-License-Identifier: Apache-2.0
"""One boot of the guest for the whole session, and what became of each test in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm import machine, report, selection

# Hard limits, generous because emulation on a busy machine is slow: the usual run takes a fraction of it.
GUEST_SECONDS = 540
TEST_SECONDS = 240


class GuestRun:
    """The finished run: phases by test, and the log for whoever failed."""

    def __init__(self, ended: machine.Ended) -> None:
        self.ended = ended
        self.phases = list(report.read(ended.share / "report.jsonl"))
        self._told = False

    def of(self, test: str) -> list[report.Phase]:
        """Every phase of `test`, over all its parameters."""
        return [phase for phase in self.phases if phase.test == test or phase.test.startswith(f"{test}[")]

    def why_missing(self) -> str:
        """Why a test has no result. All such tests share one reason: it is told in full once."""
        if self._told:
            return "for the reason that the first such test gives"
        self._told = True
        status = self.ended.status
        end = "the time limit ended the guest" if status is None else f"the guest ended with status {status}"
        broken = [f"{phase.test}:\n{phase.text}" for phase in self.phases if phase.when == "collect"]
        return "\n".join([end, *broken, self.ended.log_tail()])


@pytest.fixture(scope="session")
def guest_run(tmp_path_factory: pytest.TempPathFactory) -> GuestRun:
    """Boot once and run every selected test."""
    share: Path = tmp_path_factory.mktemp("guest")
    command = [f"{report.FILE_VARIABLE}={share}/report.jsonl", "python", "-m", "pytest"]
    # Both plugins want to write beside the tests, and nothing is kept from one guest to the next.
    command += ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    command += ["-p", "tests.vm.report", "-v", f"--timeout={TEST_SECONDS}"]
    try:
        return GuestRun(machine.run([*command, *selection.files()], share=share, seconds=GUEST_SECONDS))
    except machine.MachineError as error:
        pytest.fail(str(error), pytrace=False)
