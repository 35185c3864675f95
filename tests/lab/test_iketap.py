# SPDX-License-Identifier: Apache-2.0
"""What the IKE tap hears and what it lets pass by."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.lab.iketap import IKE_HEADER, Exchange, IkeTap
from tests.lab.netns import Namespace, unique_prefix
from tests.lab.wait import until

pytestmark = pytest.mark.root
MARKER = bytes(4)


@pytest.fixture
def alone() -> Iterator[Namespace]:
    namespace = Namespace(f"{unique_prefix()}-tap")
    try:
        yield namespace
    finally:
        namespace.delete()


def ike(spi: int, exchange: Exchange, flags: int = 0x08) -> bytes:
    return IKE_HEADER.pack(spi.to_bytes(8, "big"), bytes(8), 33, 0x20, exchange, flags, 0, 28)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_ike_is_heard_on_both_ports_and_nothing_else_is(alone: Namespace, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with IkeTap(alone) as tap, alone.socket(family, socket.SOCK_DGRAM) as sock:
        sock.sendto(ike(1, Exchange.IKE_SA_INIT), (address, 500))
        sock.sendto(b"\x12\x34\x56\x78" + bytes(60), (address, 4500))  # ESP
        sock.sendto(b"\xff", (address, 4500))
        sock.sendto(MARKER + ike(2, Exchange.IKE_AUTH), (address, 4007))
        sock.sendto(MARKER + ike(3, Exchange.IKE_AUTH, 0x20), (address, 4500))
        until(tap.established, 5, "the last message is heard")
        # A device hands every packet to the tap twice on loopback: leaving and arriving.
        heard = {(message.spi_i, message.exchange, message.response) for message in tap.messages()}
    assert heard == {("0" * 15 + "1", 34, False), ("0" * 15 + "3", 35, True)}
    assert tap.established() == {"0" * 15 + "3"}


def test_what_passed_before_is_not_counted_again(alone: Namespace) -> None:
    with IkeTap(alone) as tap, alone.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(MARKER + ike(1, Exchange.IKE_AUTH), ("127.0.0.1", 4500))
        first = until(lambda: tap.messages(Exchange.IKE_AUTH), 5, "a message is heard")[0]
        assert tap.established(since=first.at) == {first.spi_i}
        later = tap.messages()[-1].at + 1e-6
        assert tap.established(since=later) == set()
