# SPDX-License-Identifier: Apache-2.0
"""Conversations with a ladder: what it is told, second by second, and what it must answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from tc_client.backoff import Backoff
from tc_client.ladder import Ladder
from tc_client.moves import Action, Event, Failed, Succeeded
from tc_client.rungs import Failure, Rung, Transport, Why

UDP = Rung(
    name="udp",
    transport=Transport.UDP,
    port=4500,
    stream=False,
    preferred=True,
    probe_seconds=2.0,
    attempt_seconds=6.0,
    verify_seconds=3.0,
)
TCP = Rung(
    name="tcp-80",
    transport=Transport.TCP,
    port=80,
    stream=True,
    probe_seconds=3.0,
    attempt_seconds=6.0,
    verify_seconds=3.0,
)
# A rung as a later transport would be: known by nothing but its data.
LATER = Rung(
    name="connect-443",
    transport=Transport.TCP,
    port=443,
    stream=True,
    probe_seconds=3.0,
    attempt_seconds=6.0,
    verify_seconds=3.0,
)
SILENT = Failure(Why.SILENT, "no answer")
NO_ESP = Failure(Why.ESP_SILENT, "IKE works and ESP does not")
RESET = Failure(Why.RESET, "it was reset")
REFUSED = Failure(Why.IKE_REFUSED, "AUTHENTICATION_FAILED")


def never_shorter() -> float:
    """A source of chance that leaves every pause as long as it can be."""
    return 0.0


class Play:
    """A ladder and a clock; every step says what is told and what is answered."""

    def __init__(self, *rungs: Rung, random: Callable[[], float] = never_shorter) -> None:
        self.ladder = Ladder(
            rungs or (UDP, TCP),
            rounds=Backoff(1.0, 60.0, random),
            repairs=Backoff(1.0, 60.0, random),
            reprobe=Backoff(30.0, 600.0, random),
        )
        self.now = 1000.0
        self.actions: list[Action] = []

    def after(self, seconds: float) -> Self:
        self.now += seconds
        return self

    def tell(self, event: Event, *answers: str) -> Self:
        """Tell the ladder `event`; its actions must read like `answers`: "probe udp", "cancel", …"""
        self.actions = self.ladder.handle(event, self.now)
        assert [read(action) for action in self.actions] == list(answers)
        return self

    def succeeds(self, *answers: str, note: str = "") -> Self:
        return self.tell(Succeeded(self.effort, note), *answers)

    def fails(self, failure: Failure, *answers: str) -> Self:
        return self.tell(Failed(self.effort, failure), *answers)

    @property
    def effort(self) -> int:
        """The effort that was begun last and not cancelled since."""
        begun = [n for n in (getattr(a, "effort", 0) for a in self.actions) if n]
        return begun[-1]


def read(action: Action) -> str:
    """An action in two words."""
    words = [type(action).__name__.lower()]
    rung = getattr(action, "rung", None)
    if rung is not None:
        words.append(rung.name)
    if getattr(action, "background", False):
        words.insert(1, "behind")
    return " ".join(words)
