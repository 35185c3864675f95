# SPDX-License-Identifier: Apache-2.0
"""What kind of firewall was met, judged from which ways to the gateway carry IKE; and what to do about it.

The numbers are the types of the study (3GPP, clause 4.1): 1-4 NATs that let UDP through, 5 only ports 80 and
443, 6 TCP only, 7 TCP 443 only, 8 an HTTP proxy only, 9 one that looks into what it passes. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tc_client.rungs import Failure, Why


@dataclass(frozen=True, slots=True)
class Check:
    """One way that was asked: an answer after `rtt` seconds, or a failure."""

    name: str
    protocol: str  # udp, tcp
    port: int
    rtt: float | None = None
    answer: str | None = None
    failure: Failure | None = None
    connects: bool = False  # a TCP connection opened, whatever came of it

    @property
    def passes(self) -> bool:
        """Whether IKE was answered this way."""
        return self.failure is None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What it looks like, and what to do; `usable` when a rung of the client passes."""

    usable: bool
    firewall: str
    advice: str


OPEN = Verdict(True, "none, or a NAT that lets UDP through (types 1-4)", "nothing: the client uses UDP 4500")
TCP_ONLY = Verdict(
    True,
    "UDP is blocked, TCP passes (type 5 or 6)",
    "nothing: the client uses TCP; it returns to UDP by itself once UDP passes",
)
NO_NETWORK = Verdict(False, "no network", "connect this machine: it has no route to the gateway")
PORTAL = Verdict(
    False,
    "a captive portal or web proxy answers in place of the gateway (type 8, or a hotel's login page)",
    "log in with a browser and try again; if there is no login page, only a proxy leads out of this network",
)
INSPECTED = Verdict(
    False,
    "something lets connections to TCP 80 open and stops what is not HTTP (type 9)",
    "ask whoever runs this network to let UDP 4500 or TCP 80 to the gateway pass",
)
NO_SERVICE = Verdict(
    False,
    "none seen: what answers says that no gateway is there",
    "check the gateway's address and ports, and on it `eseg status` and `eseg doctor`",
)
CLOSED = Verdict(
    False,
    "nothing passes: TCP 443 or a proxy only (type 7 or 8), or the gateway is down",
    "try from another network; if it works there, ask whoever runs this one to let UDP 4500 or TCP 80 pass",
)


Checks = Sequence[Check]


def _udp_4500(checks: Checks) -> bool:
    return any(check.passes and (check.protocol, check.port) == ("udp", 4500) for check in checks)


def _tcp(checks: Checks) -> bool:
    return any(check.passes and check.protocol == "tcp" for check in checks)


def _no_route(checks: Checks) -> bool:
    return all(check.failure and check.failure.why is Why.UNREACHABLE for check in checks)


def _stranger_on_tcp(checks: Checks) -> bool:
    return any(
        check.failure and check.failure.why is Why.NOT_IKE and check.protocol == "tcp" for check in checks
    )


def _connects_in_vain(checks: Checks) -> bool:
    return any(check.failure and check.connects for check in checks)


def _refused(checks: Checks) -> bool:
    return all(check.failure and check.failure.why in (Why.REFUSED, Why.RESET) for check in checks)


# The first that holds.
RULES: tuple[tuple[Callable[[Checks], bool], Verdict], ...] = (
    (_udp_4500, OPEN),
    (_tcp, TCP_ONLY),
    (_no_route, NO_NETWORK),
    (_stranger_on_tcp, PORTAL),
    (_connects_in_vain, INSPECTED),
    (_refused, NO_SERVICE),
)


def judge(checks: Checks) -> Verdict:
    """Judge the checks of one gateway."""
    return next((verdict for holds, verdict in RULES if holds(checks)), CLOSED)
