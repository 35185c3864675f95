# SPDX-License-Identifier: Apache-2.0
"""How a pump's state crosses to another process: a Unix socket, a memory file, and descriptors in batches.

    one message with sizes and the memory file, then as many as are needed with up to BATCH descriptors each

Knows neither what is in the state nor what the descriptors are.
"""

from __future__ import annotations

import array
import contextlib
import mmap
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from tpkt.pump.errors import HandOverError

BATCH = 253  # SCM_MAX_FD: the kernel passes no more at once
MOST = 1 << 25  # descriptors: more than any process may have
_HEAD = struct.Struct("=QI")  # bytes of state, descriptors


def send(sock: socket.socket, state: Any, descriptors: Sequence[int]) -> None:
    """Send the bytes of `state`, and copies of `descriptors`, which stay the caller's."""
    memory = os.memfd_create("trikesec-state", os.MFD_CLOEXEC)
    try:
        rest = memoryview(state)
        while rest:
            rest = rest[os.write(memory, rest) :]
        _send_some(sock, _HEAD.pack(len(state), len(descriptors)), [memory])
        for at in range(0, len(descriptors), BATCH):
            _send_some(sock, b"d", descriptors[at : at + BATCH])
    finally:
        os.close(memory)


@contextlib.contextmanager
def receive(sock: socket.socket) -> Iterator[tuple[mmap.mmap, list[int]]]:
    """Give the state and the descriptors; those still in the list in the end are closed."""
    descriptors: list[int] = []
    try:
        head, memory = receive_some(sock, _HEAD.size, 1)
        if len(head) != _HEAD.size or len(memory) != 1:
            _close(memory)
            raise HandOverError("the running gateway sent something else than its state")
        try:
            size, count = _HEAD.unpack(head)
            if not 0 < size <= os.fstat(memory[0]).st_size or count > MOST:
                raise HandOverError("the running gateway sent a state of another size than it said")
            state = mmap.mmap(memory[0], size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        finally:
            _close(memory)
        with state:
            while len(descriptors) < count:
                _, some = receive_some(sock, 1, BATCH)
                descriptors += some
                if not some:
                    raise HandOverError("the running gateway sent too few descriptors")
            yield state, descriptors
    finally:
        _close(descriptors)


def receive_some(sock: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Give one message and the descriptors that came with it. Raises HandOverError."""
    room = socket.CMSG_SPACE(most * array.array("i").itemsize)
    try:
        data, ancillary, flags, _ = sock.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
    except OSError as error:
        raise HandOverError(f"nothing comes from the other process ({error})") from error
    descriptors = array.array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
    found = descriptors.tolist()
    if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
        _close(found)
        raise HandOverError("not every descriptor could be taken; raise LimitNOFILE= (`ulimit -n`)")
    if not data:
        _close(found)
        raise HandOverError("the other process has ended")
    return data, found


def _send_some(sock: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    try:
        socket.send_fds(sock, [data], list(descriptors))
    except OSError as error:
        raise HandOverError(f"the other process takes nothing ({error})") from error


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
