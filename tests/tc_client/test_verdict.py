# SPDX-License-Identifier: Apache-2.0
"""From which ways pass to what kind of firewall it is, and what to do."""

from __future__ import annotations

import pytest

from tc_client import verdict
from tc_client.rungs import Failure, Why
from tc_client.verdict import Check, Verdict, judge

S, R, U = Why.SILENT, Why.REFUSED, Why.UNREACHABLE


def udp(why: Why | None, port: int = 4500) -> Check:
    return _check("udp", port, why, connects=False)


def tcp(why: Why | None, *, connects: bool = False) -> Check:
    return _check("tcp", 80, why, connects=connects)


def _check(protocol: str, port: int, why: Why | None, *, connects: bool) -> Check:
    if why is None:
        return Check(f"{protocol} {port}", protocol, port, rtt=0.01, answer="COOKIE", connects=connects)
    return Check(f"{protocol} {port}", protocol, port, failure=Failure(why, "x"), connects=connects)


@pytest.mark.parametrize(
    ("sentence", "checks", "expected"),
    [
        ("everything passes", [udp(None), udp(None, 500), tcp(None)], verdict.OPEN),
        ("TCP is blocked, who cares", [udp(None), tcp(S)], verdict.OPEN),
        ("UDP is dropped", [udp(S), udp(S, 500), tcp(None)], verdict.TCP_ONLY),
        ("UDP is refused", [udp(R), udp(R, 500), tcp(None)], verdict.TCP_ONLY),
        ("UDP 500 alone is no way", [udp(S), udp(None, 500), tcp(S)], verdict.CLOSED),
        ("no route", [udp(U), udp(U, 500), tcp(U)], verdict.NO_NETWORK),
        ("a login page", [udp(S), tcp(Why.NOT_IKE, connects=True)], verdict.PORTAL),
        ("a box that swallows", [udp(S), tcp(S, connects=True)], verdict.INSPECTED),
        ("a box that resets", [udp(S), tcp(Why.RESET, connects=True)], verdict.INSPECTED),
        ("nobody listens", [udp(R), udp(R, 500), tcp(R)], verdict.NO_SERVICE),
        ("nothing comes back", [udp(S), udp(S, 500), tcp(S)], verdict.CLOSED),
        ("some refuse, some drop", [udp(R), tcp(S)], verdict.CLOSED),
    ],
)
def test_each_pattern_has_its_verdict(sentence: str, checks: list[Check], expected: Verdict) -> None:
    assert judge(checks) == expected, sentence


def test_a_verdict_is_usable_exactly_when_the_client_has_a_way() -> None:
    verdicts = [value for value in vars(verdict).values() if isinstance(value, Verdict)]
    assert {one.firewall for one in verdicts if one.usable} == {
        verdict.OPEN.firewall,
        verdict.TCP_ONLY.firewall,
    }
