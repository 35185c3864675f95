# SPDX-License-Identifier: Apache-2.0
"""What the ladder is told and what it answers: events in, actions out, as frozen data.

An action that starts something carries an `effort`, a number that comes back with its outcome. The ladder
has one effort at a time, and at most one more in the background; the outcome of any other is stale.
"""

from __future__ import annotations

from dataclasses import dataclass

from tc_client.rungs import Failure, Rung

# Events


@dataclass(frozen=True, slots=True)
class Start:
    """The tunnel is wanted; `first` names a rung to begin with, because it worked here before."""

    first: str | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """The tunnel is wanted no longer."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """An effort reached its end; `note` says what was seen."""

    effort: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """An effort failed."""

    effort: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class SaLost:
    """The IKE_SA is gone: deleted by the gateway, or lost with its charon."""

    reason: str


@dataclass(frozen=True, slots=True)
class PathLost:
    """The standing rung carries ESP no longer, though nothing broke visibly."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class StreamLost:
    """The connection of the rung called `rung` broke."""

    rung: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """The way to the gateway is another one: route, address, or none at all until now."""

    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing happened but time."""


Event = Start | Stop | Succeeded | Failed | SaLost | PathLost | StreamLost | NetworkChanged | Tick

# Actions


@dataclass(frozen=True, slots=True)
class Resolve:
    """Find the gateway's addresses within `seconds`, and be ready for them; there is no SA."""

    effort: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask whether anything that speaks IKE answers over `rung`; what carries the tunnel is left alone."""

    effort: int
    rung: Rung
    background: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """Make an IKE_SA and a CHILD_SA over `rung`, whose probe was answered."""

    effort: int
    rung: Rung


@dataclass(frozen=True, slots=True)
class Move:
    """Bring the living SA to `rung` and have the gateway follow. What carried it before stays open."""

    effort: int
    rung: Rung


@dataclass(frozen=True, slots=True)
class Verify:
    """See ESP in both directions over `rung`, which carries the SA."""

    effort: int
    rung: Rung


@dataclass(frozen=True, slots=True)
class Repair:
    """Open the broken connection of `rung` again under the living SA and have the gateway follow."""

    effort: int
    rung: Rung


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop an effort; its outcome interests nobody any more."""

    effort: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Close what `rung` holds open: it carries nothing any more."""

    rung: Rung


@dataclass(frozen=True, slots=True)
class Abandon:
    """Forget the IKE_SA without asking the gateway, which does not know it any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stand:
    """`rung` carries the tunnel: watch it."""

    rung: Rung


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No rung stands; `reason` is what the user reads. A Wait follows."""

    reason: str


@dataclass(frozen=True, slots=True)
class Clear:
    """Take everything down: delete the IKE_SA politely, close every rung."""


Action = (
    Resolve
    | Probe
    | Attempt
    | Move
    | Verify
    | Repair
    | Cancel
    | Leave
    | Abandon
    | Stand
    | Wait
    | GiveUp
    | Clear
)
