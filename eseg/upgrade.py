# SPDX-License-Identifier: Apache-2.0
"""The old gateway's side of a hand-over: it starts its successor and gives it everything, or goes on.

Runs on a thread of its own, for the event loop serves until the last moment and after a failure. Knows the
parts it gives away; what they are for is theirs.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import msgspec

from eseg import succession
from eseg.succession import Answer, Offer, UpgradeError
from tpkt.pump import HandOverError, Pump, PumpError
from tpkt.pump.moving import receive_some

logger = logging.getLogger(__name__)
END_SECONDS = 5.0


@dataclass(frozen=True)
class Replaced:
    """A successor that has taken over: its process, and how long nothing was moved."""

    pid: int
    frozen_seconds: float


def hand_over(offer: Offer, descriptors: tuple[int, ...], pump: Pump) -> Replaced:
    """Have a successor take everything over. Raises UpgradeError, and then everything is as before."""
    ours, theirs = succession.pair()
    with ours:
        with theirs:
            child = _start(theirs)
        try:
            return _converse(ours, child, offer, descriptors, pump)
        except (UpgradeError, PumpError, OSError) as error:
            _end(child)
            raise UpgradeError(f"not replaced, the running gateway goes on: {error}") from error


def _start(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """Start the command that started us, as it is installed now."""
    number = theirs.fileno()
    try:
        return subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            stdin=subprocess.DEVNULL,
            env={**os.environ, succession.VARIABLE: str(number)},
            pass_fds=[number],
        )
    except OSError as error:
        raise UpgradeError(f"the successor cannot be started ({error.strerror}); see the log") from error


def _converse(
    ours: socket.socket,
    child: subprocess.Popen[bytes],
    offer: Offer,
    descriptors: tuple[int, ...],
    pump: Pump,
) -> Replaced:
    succession.say(ours, offer, descriptors)
    ours.settimeout(succession.READY_SECONDS)
    _expect(ours, child, "ready")
    ours.settimeout(succession.TAKE_SECONDS)
    began = time.monotonic()
    try:
        pump.hand_over(ours)
        _expect(ours, child, "taken")
    except BaseException:
        _end(child)  # before we go on: two processes must never read the same streams
        pump.thaw()
        raise
    return Replaced(child.pid, time.monotonic() - began)


def _expect(ours: socket.socket, child: subprocess.Popen[bytes], stage: str) -> None:
    try:
        data, stray = receive_some(ours, succession.MESSAGE_BYTES, 1)
    except HandOverError as error:
        if child.poll() is not None or "ended" in error.what:
            raise UpgradeError(f"the successor ended with status {_status(child)}; see the log") from error
        raise UpgradeError(f"the successor was not {stage} in time; see the log") from error
    for descriptor in stray:
        os.close(descriptor)
    try:
        answer = msgspec.json.decode(data, type=Answer)
    except msgspec.DecodeError as error:
        raise UpgradeError(f"the successor says something else than {stage}; see the log") from error
    if answer.failed:
        raise UpgradeError(answer.failed)
    if answer.stage != stage:
        raise UpgradeError(f"the successor is {answer.stage} and not {stage}; see the log")


def _status(child: subprocess.Popen[bytes]) -> int | str:
    try:
        return child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        return "unknown"


def _end(child: subprocess.Popen[bytes]) -> None:
    """Have it gone when this returns, gently where it is about to end by itself."""
    try:
        child.wait(0.5 if child.poll() is None else 0)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(END_SECONDS)
