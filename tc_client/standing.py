# SPDX-License-Identifier: Apache-2.0
"""What the ladder does under a rung that stands: repair its stream, doubt its path, look for a better one.

Handlers of the table in `tc_client.ladder`. No clock, socket or log.
"""

from __future__ import annotations

from tc_client.moves import Cancel, Failed, NetworkChanged, PathLost, StreamLost, Succeeded, Tick
from tc_client.record import What
from tc_client.rounds import STABLE_SECONDS, Rounds
from tc_client.rungs import Failure, Why

REPAIR_TRIES = 3  # before the other rungs are asked


class Standing(Rounds):
    """Rounds, and what happens between them."""

    def _background_answered(self, _: Succeeded) -> None:
        """Move up; the rung that stands stays open until the better one has proved itself."""
        target = self._preferred()
        self._background, self._background_due = 0, None
        if target is not None:
            self._back, self._at = self._at, target
            self.record.begin(self.rung, self._now)
            self._move()

    def _background_failed(self, event: Failed) -> None:
        target = self._preferred()
        self._background = 0
        if target is not None:
            self.record.failed(self.rungs[target], event.failure, self._now)
        self._schedule()

    def _path_lost(self, event: PathLost) -> None:
        self._unsettle()
        self.record.lost(self.rung, event.failure, self._now)
        if self.rung.stream:
            self._repair_now()
        else:
            self._leave()
            self._begin(last=[self._at])

    def _stream_lost(self, event: StreamLost) -> None:
        if event.rung == self.rung.name:
            self._unsettle()
            self.record.lost(self.rung, event.failure, self._now)
            self._repair_now()

    def _stream_lost_midway(self, event: StreamLost) -> None:
        if event.rung == self.rung.name:
            self._lose(event.failure)

    def _network_changed(self, event: NetworkChanged) -> None:
        self._unsettle()
        self.record.note(self.rung.name, What.LOST, event.reason, self._now)
        if self._reprobe is not None:
            self._reprobe.reset()
        if self.rung.stream:
            self._repair_now()
        else:
            self.record.begin(self.rung, self._now)
            self._move()

    def _repair_now(self, _: NetworkChanged | None = None) -> None:
        self._tries = 1
        self._patience.reset()
        self._repair()

    def _unsettle(self) -> None:
        """The rung is in doubt."""
        if self.record.since is not None and self._now - self.record.since >= STABLE_SECONDS:
            self._backoff.reset()
            if self._reprobe is not None and self.rung.preferred:
                self._reprobe.reset()
        self._forget_background()

    def _repair_failed(self, event: Failed) -> None:
        self._effort = 0
        self.record.failed(self.rung, event.failure, self._now)
        if self._tries < REPAIR_TRIES:
            self._tries += 1
            self._deadline = self._now + self._patience.pause()
        else:
            self._leave()
            self._begin(last=[self._at])

    def _background_time(self, _: Tick) -> None:
        if self._background_due is None or self._now < self._background_due:
            return
        if self._background:
            late = Failure(Why.LATE, "the probe in the background did not end in time")
            self._out.append(Cancel(self._background))
            self._background_failed(Failed(self._background, late))
        else:
            self._probe_in_background()
