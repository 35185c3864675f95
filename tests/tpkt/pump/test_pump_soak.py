# SPDX-License-Identifier: Apache-2.0
"""The short form of `make soak`, and that it would notice what it looks for."""

from __future__ import annotations

import pytest

from tests.tpkt.pump.soak import MAY_GROW, Outcome, Sample, soak

SECONDS = 20


@pytest.mark.root
def test_coming_and_going_leaves_nothing_behind() -> None:
    outcome = soak(SECONDS)
    outcome.check()
    assert outcome.connections > 500
    assert outcome.datagrams > 1000


def test_a_soak_notices_what_grows() -> None:
    steady = Sample(50 << 20, 40, (3, 4))
    Outcome(samples=[steady] * 40).check()
    leaking = [Sample((50 << 20) + number * MAY_GROW // 10, 40, (3, 4)) for number in range(40)]
    for samples in (
        leaking,
        [*[steady] * 39, steady._replace(descriptors=41)],
        [*[steady] * 39, steady._replace(objects=(3, 5))],
        [steady] * 3,
    ):
        with pytest.raises(AssertionError):
            Outcome(samples=samples).check()
