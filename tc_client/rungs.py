# SPDX-License-Identifier: Apache-2.0
"""What a rung is, and the ways in which one fails: data, nothing that acts.

A rung is one transport to the gateway. The ladder knows a rung only by what is said here, so a further
transport is a further `Rung` and somebody who can open it, never a further branch in the ladder.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tc_client import config


class Transport(enum.StrEnum):
    """What carries the datagrams; whoever opens rungs is looked up by it."""

    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One transport: where it goes and how long each step on it may take."""

    name: str
    transport: Transport
    port: int
    stream: bool  # a connection that can break and be opened again while the SA lives
    preferred: bool = False  # worth a probe now and then while a rung further down carries the tunnel
    probe_seconds: float
    attempt_seconds: float
    verify_seconds: float

    @property
    def title(self) -> str:
        """Its name as people say it."""
        return f"{self.transport.upper()} {self.port}"


class Why(enum.StrEnum):
    """Why a rung does not stand."""

    SILENT = "silent"  # nothing came back
    REFUSED = "refused"  # ICMP said so, or a reset in answer to a SYN
    UNREACHABLE = "unreachable"  # no route, here or further on
    RESET = "reset"  # a connection was made and then reset
    CLOSED = "closed"  # a connection was made and then ended in order
    NOT_IKE = "not_ike"  # something answered that speaks another protocol
    IKE_SILENT = "ike_silent"  # the probe was answered and the IKE exchange was not
    IKE_REFUSED = "ike_refused"  # the gateway said no: not a matter of transport
    ESP_SILENT = "esp_silent"  # IKE works and ESP does not
    LATE = "late"  # the step did not end by its deadline
    NO_ADDRESS = "no_address"  # the gateway's name has no address
    LOCAL = "local"  # this machine: charon, link, rights


# What no other transport would mend: the round ends here instead of going through all rungs.
EVERYWHERE = frozenset({Why.IKE_REFUSED, Why.NO_ADDRESS, Why.LOCAL})


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure: its kind for programs, one sentence for people."""

    why: Why
    sentence: str

    @property
    def everywhere(self) -> bool:
        """Whether every other rung would fail for the same reason."""
        return self.why in EVERYWHERE

    def __str__(self) -> str:
        """Give the sentence."""
        return self.sentence


class RungError(Exception):
    """A step on a rung failed."""

    def __init__(self, failure: Failure) -> None:
        """Carry `failure`."""
        super().__init__(str(failure))
        self.failure = failure


def from_config(gateway: config.Gateway, times: config.Ladder) -> tuple[Rung, ...]:
    """Give the rungs of a configuration in the order of the study (clause 8.5.2.3): UDP, then TCP."""
    found = []
    if gateway.udp:
        found.append(
            Rung(
                name="udp",
                transport=Transport.UDP,
                port=4500,
                stream=False,
                preferred=True,
                probe_seconds=times.udp_probe_seconds,
                attempt_seconds=times.attempt_seconds,
                verify_seconds=times.verify_seconds,
            )
        )
    for port in gateway.tcp_ports:
        found.append(
            Rung(
                name=f"tcp-{port}",
                transport=Transport.TCP,
                port=port,
                stream=True,
                probe_seconds=times.tcp_probe_seconds,
                attempt_seconds=times.attempt_seconds,
                verify_seconds=times.verify_seconds,
            )
        )
    return tuple(found)
