# SPDX-License-Identifier: Apache-2.0
"""What a running gateway and its successor say to each other, over a socket that the one leaves to the other.

    old                                   new: the same command, started by the old one
    offer, with locks and sockets    ──►  reads its configuration, prepares, takes charon as it is
                                     ◄──  ready, or failed and why
    freezes; the pump's state        ──►  takes it
                                     ◄──  taken: from here on the gateway is the new one, for good
Until `taken` the old one has everything and goes on when anything fails. Nothing is ever served by both.
"""

from __future__ import annotations

import os
import socket
from typing import Any, Self

import msgspec

from eseg.config import Config
from eseg.front import pools_of
from tpkt.pump import HandOverError
from tpkt.pump.moving import receive_some

VARIABLE = "ESEG_SUCCESSION"  # the number of the inherited socket's descriptor
PROTOCOL = 1
READY_SECONDS = 60.0  # for the successor to start; the old one serves all the time
TAKE_SECONDS = 10.0  # for taking over what is frozen; far more than it takes
MESSAGE_BYTES = 1 << 16
MOST_DESCRIPTORS = 32


class UpgradeError(Exception):
    """A gateway that was not replaced; one line with its cure."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What the old gateway is; its locks and sockets come beside it, in the order of `descriptors`."""

    protocol: int = PROTOCOL
    pid: int
    fixed: dict[str, Any]
    workers: int
    link_named: bool
    deadlines: dict[str, int]
    listeners: tuple[tuple[str, int], ...]
    metrics: str | None
    descriptors: tuple[str, ...]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the successor says: `failed` is the sentence why it is none."""

    stage: str
    failed: str = ""


def fixed_of(config: Config) -> dict[str, Any]:
    """Give what a successor must have the same: it goes with sockets, locks and charon that stay."""
    gateway = config.gateway
    return {
        "gateway.instance": gateway.instance,
        "gateway.runtime": str(gateway.directory),
        "gateway.admin": str(gateway.socket),
        "link.device": config.link.device,
        "link.mtu": config.link.mtu,
        "link pools": [str(pool) for pool in pools_of(config)],
        "charon": msgspec.json.decode(msgspec.json.encode(config.charon)),
    }


def pair() -> tuple[socket.socket, socket.socket]:
    """Give the two ends, ours with a timeout."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(TAKE_SECONDS)
    return ours, theirs


def say(sock: socket.socket, message: Offer | Answer, descriptors: tuple[int, ...] = ()) -> None:
    """Send one message. Raises OSError."""
    socket.send_fds(sock, [msgspec.json.encode(message)], list(descriptors))


class Succession:
    """The successor's side: what it was offered, and what it answers. Descriptors are given away once."""

    def __init__(self, sock: socket.socket, offer: Offer, descriptors: list[int]) -> None:
        """Use what has come over `sock`."""
        self.sock, self.offer = sock, offer
        self._descriptors = dict(zip(offer.descriptors, descriptors, strict=True))

    @classmethod
    def find(cls) -> Self | None:
        """Give what this process was started for; None when it succeeds nobody. Raises HandOverError."""
        number = os.environ.pop(VARIABLE, "")  # nobody that we start is one
        if not number.isdecimal():
            return None
        sock = socket.socket(fileno=int(number))
        sock.set_inheritable(False)
        sock.settimeout(TAKE_SECONDS)
        data, descriptors = receive_some(sock, MESSAGE_BYTES, MOST_DESCRIPTORS)
        try:
            offer = msgspec.json.decode(data, type=Offer)
        except msgspec.DecodeError as error:
            raise HandOverError(f"the running gateway offers something else ({error})") from error
        if offer.protocol != PROTOCOL or len(offer.descriptors) != len(descriptors):
            raise HandOverError("the running gateway is of a version that cannot be taken over")
        return cls(sock, offer, descriptors)

    def require_same(self, config: Config) -> None:
        """Raise UpgradeError when the configuration asks for what cannot be taken over."""
        ours = fixed_of(config)
        changed = [name for name, value in self.offer.fixed.items() if name in ours and ours[name] != value]
        if config.gateway.workers not in (0, self.offer.workers):
            changed.append("gateway.workers")
        if changed:
            raise UpgradeError(f"{', '.join(changed)} changed; restart the gateway to apply this")

    def take(self, name: str) -> int:
        """Give the descriptor that was offered as `name`, for the caller to own. Raises HandOverError."""
        if name not in self._descriptors:
            raise HandOverError(f"the running gateway does not offer its {name}")
        return self._descriptors.pop(name)

    def take_all(self, prefix: str) -> list[int]:
        """Give those whose name begins so, in order."""
        return [self.take(name) for name in self.offer.descriptors if name.startswith(prefix)]

    def tell(self, stage: str) -> None:
        """Tell the old one how far this has come. Raises HandOverError when it is gone."""
        try:
            say(self.sock, Answer(stage=stage))
        except OSError as error:
            raise HandOverError(f"the running gateway is gone ({error.strerror})") from error

    def fail(self, error: BaseException) -> None:
        """Tell the old one why this is no successor; it may know already."""
        try:
            say(self.sock, Answer(stage="failed", failed=" ".join(str(error).split())))
        except OSError:
            return
