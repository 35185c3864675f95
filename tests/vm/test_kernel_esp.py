# SPDX-License-Identifier: Apache-2.0
"""Every test that ran on kernel ESP inside the virtual machine, as a test here: same verdict, same words."""

from __future__ import annotations

import pytest

from tests.vm import selection
from tests.vm.conftest import GUEST_SECONDS, GuestRun

pytestmark = [pytest.mark.root, pytest.mark.timeout(GUEST_SECONDS + 60)]


@pytest.mark.parametrize("test", selection.tests())
def test_in_the_guest(guest_run: GuestRun, test: str) -> None:
    phases = guest_run.of(test)
    ended = [phase for phase in phases if phase.when == "teardown"]
    if not ended:
        pytest.fail(f"{test} did not finish in the guest: {guest_run.why_missing()}", pytrace=False)
    failed = [phase for phase in phases if phase.outcome == "failed"]
    if failed:
        words = "\n".join(f"{phase.test}, {phase.when}:\n{phase.text}" for phase in failed)
        pytest.fail(f"{words}\n{guest_run.ended.log_tail()}", pytrace=False)
    skipped = [phase for phase in phases if phase.outcome == "skipped"]
    if skipped:
        pytest.skip(skipped[0].text)
