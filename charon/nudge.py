# SPDX-License-Identifier: Apache-2.0
"""Makes a client's charon send an authenticated message now, so that its peer follows a moved path.

A charon follows the source of any authenticated message when MOBIKE was not negotiated (`mobike = no` on
either side). The cheapest such message is an empty INFORMATIONAL, which charon sends when its routes change
and `check_current_path` is on; a routing rule that matches nothing is such a change (`process_rules`). Where
charon does not react (those settings are missing) its CHILD_SAs are rekeyed: dearer, and it moves the peer as
well. An IKE_SA rekey is not used: it collides with what userspace ESP does on the other side.

With MOBIKE negotiated a nudge is two exchanges, and works only when there was one before the move (charon
compares what NAT detection saw then and now): nudge once after establishment.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from charon.errors import CharonRefused, CharonTimeout
from charon.sas import IkeSa

# Charon waits 100 ms for further changes before it acts on one.
REACTION_SECONDS: Final = 0.5
POLL_SECONDS: Final = 0.03
COMMAND_SECONDS: Final = 5.0
# Matches no packet, and says who made it should it ever be left behind.
RULE: Final = "pref 32700 fwmark 0x54724b53 lookup main"


class Method(StrEnum):
    """How a nudge was done."""

    CHECK = "check"  # an empty INFORMATIONAL
    WAITING = "waiting"  # a request was outstanding already: its retransmission does the same
    REKEY = "rekey"  # CREATE_CHILD_SA


@dataclass(frozen=True, slots=True)
class Nudge:
    """What a nudge did."""

    method: Method
    answered: bool  # the peer has answered since: it is reachable, and follows


@dataclass(frozen=True, slots=True)
class _Traffic:
    requests: int
    responses: int


class Nudgeable(Protocol):
    """What a nudge needs of a charon."""

    socket_path: Path

    @property
    def pid(self) -> int:
        """Its process, 0 when unknown."""

    async def list_sas(self, *, ike: str | int | None = None) -> list[IkeSa]:
        """List its IKE_SAs."""

    async def counters(self, connection: str | None = None) -> dict[str, int]:
        """Give its message counters."""

    async def rekey(self, *, child: str | int | None = None) -> int:
        """Rekey a CHILD_SA."""


async def nudge(charon: Nudgeable, ike: str | int, seconds: float) -> Nudge:
    """Make `charon` send a message on the IKE_SA `ike` (name or unique id), and wait for the answer."""
    sas = await charon.list_sas(ike=ike)
    if not sas:
        raise CharonRefused(f"there is no IKE_SA {ike!r} to nudge", where=str(charon.socket_path))
    sa = sas[-1]
    end = asyncio.get_running_loop().time() + seconds
    before = await _traffic(charon, sa)
    method = Method.REKEY
    if before is not None:
        method = Method.WAITING if _awaits_answer(sa) else await _check(charon, sa, before)
    if method is Method.REKEY:
        for child in sa.children:
            await charon.rekey(child=child.unique_id)
    while asyncio.get_running_loop().time() < end:
        if await _answered(charon, sa, before):
            return Nudge(method, answered=True)
        await asyncio.sleep(POLL_SECONDS)
    return Nudge(method, answered=False)


async def _check(charon: Nudgeable, sa: IkeSa, before: _Traffic) -> Method:
    """Change a routing rule; REKEY when charon did not care."""
    await _change_a_rule(charon)
    end = asyncio.get_running_loop().time() + REACTION_SECONDS
    while asyncio.get_running_loop().time() < end:
        now = await _traffic(charon, sa)
        if now is not None and now.requests > before.requests:
            return Method.CHECK
        await asyncio.sleep(POLL_SECONDS)
    return Method.REKEY


async def _change_a_rule(charon: Nudgeable) -> None:
    """Add and remove a rule where charon lives, which may be another network namespace than ours."""
    argv = ["ip", "-batch", "-"]
    if charon.pid:
        argv = ["nsenter", f"--net=/proc/{charon.pid}/ns/net", "--", *argv]
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stderr=pipe)
    except FileNotFoundError:
        cure = "apt install iproute2 util-linux"
        raise CharonRefused(f"{argv[0]} is not installed", where="nudge", cure=cure) from None
    try:
        batch = f"rule add {RULE}\nrule del {RULE}\n".encode()
        _, errors = await asyncio.wait_for(process.communicate(batch), COMMAND_SECONDS)
    except TimeoutError:
        process.kill()
        raise CharonTimeout(f"{argv[0]} does not end", where="nudge") from None
    if process.returncode != 0:
        raise CharonRefused(
            f"the routing rule is refused: {errors.decode(errors='replace').strip()}",
            where="nudge",
            cure="It needs root in charon's network namespace",
        )


async def _traffic(charon: Nudgeable, sa: IkeSa) -> _Traffic | None:
    """Count requests sent and answers got; None when charon has no plugin that counts."""
    try:
        counters = await charon.counters(sa.name)
    except CharonRefused:
        return None
    kinds = ("info", "create-child")
    return _Traffic(
        requests=sum(counters.get(f"{kind}-out-req", 0) for kind in kinds),
        responses=sum(counters.get(f"{kind}-in-resp", 0) for kind in kinds),
    )


async def _answered(charon: Nudgeable, sa: IkeSa, before: _Traffic | None) -> bool:
    if before is not None:
        now = await _traffic(charon, sa)
        return now is not None and now.responses > before.responses
    known = {child.unique_id for child in sa.children}
    fresh = {child.unique_id for other in await charon.list_sas(ike=sa.unique_id) for child in other.children}
    return not fresh <= known


def _awaits_answer(sa: IkeSa) -> bool:
    return bool(sa.tasks_active)
