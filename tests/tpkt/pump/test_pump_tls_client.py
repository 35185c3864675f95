# SPDX-License-Identifier: Apache-2.0
"""A client's pump inside TLS: it believes the right gateway alone, and says why it believes no other."""

from __future__ import annotations

import contextlib
import dataclasses
import ssl
from typing import Any

import pytest

from tests.lab.pki import Authority, Identity
from tests.tpkt.pump.rig import GW, UE, Maker, Network, Peer, Rig, esp, ike
from tests.tpkt.pump.tls import NAME, Pki, TlsPeer, TlsSocket, certificate, der, gateway_context, pin
from tpkt.errors import CloseReason, MisuseError
from tpkt.link import ClientLink
from tpkt.pump import EventKind, PumpError, TlsClient, TlsServer, TlsTrust
from tpkt.sniff import Protocol

pytestmark = pytest.mark.root
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("strangers"), "Strangers")


@pytest.fixture
def make(network: Network, client_link: ClientLink) -> Maker:
    def made(**options: Any) -> Rig:
        return Rig(network, client_link.namespace, "client", **options)

    return made


def trust(pki: Pki, **settings: Any) -> TlsTrust:
    return TlsTrust(**{"server_name": NAME, "authorities": (der(pki.authority.cert),), **settings})


def dial(rig: Rig, client: TlsClient) -> tuple[int, Peer]:
    """A connection whose handshake the pump has begun, and its other end."""
    sock, other = rig.connected()
    return rig.pump.adopt(sock, flow=GW, tls=client), other


def accept(other: Peer, context: ssl.SSLContext, step: int = 1 << 20) -> TlsPeer:
    """The gateway's end once its handshake is done."""
    tls = TlsSocket(other.socket, context, server=True, step=step)
    tls.handshake()
    return TlsPeer(other, tls)


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("step", [1 << 20, 1], ids=["whole", "byte-by-byte"])
def test_a_conversation(make: Maker, pki: Pki, version: ssl.TLSVersion, step: int) -> None:
    with make() as rig:
        charon = rig.charon(address=UE)
        connection, other = dial(rig, TlsClient(trust(pki)))
        gateway = accept(other, gateway_context(pki.gateway, maximum_version=version), step)
        assert gateway.tls.ssl.selected_alpn_protocol() == "trikesec/1"
        assert rig.event(EventKind.IDENTIFIED, connection=connection).protocol is Protocol.TPKT
        charon.sendto(ike(300), (GW, 4500))
        assert gateway.receive() == ike(300)
        gateway.send(ike(310, spi_r=4), esp(1400, 1), esp(65507, 2))
        assert [charon.recv(1 << 16) for _ in range(3)] == [ike(310, spi_r=4), esp(1400, 1), esp(65507, 2)]
        info = rig.pump.connection(connection)
        assert info is not None
        assert info.tls is not None
        assert (info.tls.version, info.tls.trikesec) == (f"TLSv1.{3 if version is V13 else 2}", True)
        gateway.tls.good_bye()
        assert rig.event(EventKind.CLOSED, connection=connection).reason is CloseReason.FIN


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
def test_the_next_connection_resumes_the_session(make: Maker, pki: Pki, version: ssl.TLSVersion) -> None:
    with make() as rig:
        charon = rig.charon(address=UE)
        client, context = TlsClient(trust(pki)), gateway_context(pki.gateway, maximum_version=version)
        for number in range(1, 4):
            connection, other = dial(rig, client)
            gateway = accept(other, context)
            assert gateway.tls.ssl.session_reused is (number > 1)
            rig.event(EventKind.IDENTIFIED, connection=connection)
            charon.sendto(ike(300), (GW, 4500))
            gateway.receive()
            gateway.send(esp(100, number))  # behind the ticket
            charon.recv(65536)
        assert rig.pump.counters()["tls_resumed"] == 2


def test_an_address_and_pinned_keys_are_believed_too(make: Maker, pki: Pki, strangers: Authority) -> None:
    foreign = strangers.gateway("elsewhere.example.org", expired=True)
    for wanted, identity in (
        (trust(pki, server_name=GW), pki.gateway),
        (trust(pki, pins=(bytes(32), pin(pki.gateway))), pki.gateway),
        (TlsTrust(server_name=NAME, pins=(pin(foreign),)), foreign),  # the key alone
    ):
        with make() as rig:
            connection, other = dial(rig, TlsClient(wanted))
            accept(other, gateway_context(identity))
            rig.event(EventKind.IDENTIFIED, connection=connection)


def refusal(rig: Rig, client: TlsClient, context: ssl.SSLContext) -> tuple[CloseReason, str]:
    """Why the pump refused that gateway, and what the gateway was told."""
    connection, other = dial(rig, client)
    told = ""
    try:
        gateway = accept(other, context)
        gateway.tls.recv(1)
    except ssl.SSLError as error:
        told = str(error.reason)
    except ConnectionResetError:
        told = "reset"
    events = [event.kind for event in rig.events if event.connection == connection]
    assert EventKind.IDENTIFIED not in events
    return rig.event(EventKind.CLOSED, connection=connection).reason, told


def test_every_refusal_has_its_reason_and_the_gateway_is_told(
    make: Maker, pki: Pki, strangers: Authority
) -> None:
    def served(identity: Identity, **settings: Any) -> ssl.SSLContext:
        return gateway_context(identity, **settings)

    old = pki.authority.gateway("old.example.org", expired=True)
    rows = (
        (trust(pki, server_name="old.example.org"), served(old), CloseReason.TLS_EXPIRED, "EXPIRED"),
        (trust(pki), served(pki.other), CloseReason.TLS_WRONG_NAME, "ALERT"),
        (trust(pki, server_name="192.0.2.77"), served(pki.gateway), CloseReason.TLS_WRONG_NAME, "ALERT"),
        (trust(pki), served(strangers.gateway(NAME)), CloseReason.TLS_UNKNOWN_CA, "UNKNOWN_CA"),
        (TlsTrust(server_name=NAME), served(pki.gateway), CloseReason.TLS_UNKNOWN_CA, "UNKNOWN_CA"),
        (trust(pki, pins=(bytes(32),)), served(pki.gateway), CloseReason.TLS_PIN_MISMATCH, "HANDSHAKE"),
        (
            # The right key under an authority that nobody trusts: both must hold where both are given.
            trust(pki, authorities=(der(strangers.cert),), pins=(pin(pki.gateway),)),
            served(pki.gateway),
            CloseReason.TLS_UNKNOWN_CA,
            "UNKNOWN_CA",
        ),
        (
            trust(pki, server_name="ue.example.org"),
            served(pki.authority.client("ue.example.org")),
            CloseReason.TLS_BAD_CERTIFICATE,
            "UNSUPPORTED_CERTIFICATE",
        ),
        (trust(pki), served(pki.gateway, alpn=False), CloseReason.TLS_NOTHING_SHARED, ""),
        (
            trust(pki, minimum="1.3"),
            served(pki.gateway, maximum_version=V12),
            CloseReason.TLS_NOTHING_SHARED,
            "",
        ),
    )
    for wanted, context, reason, word in rows:
        with make() as rig:
            found, told = refusal(rig, TlsClient(wanted), context)
            assert (found, word in told or told == "reset") == (reason, True), (wanted, told)
            assert reason.sentence


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", CloseReason.TLS_GARBAGE),
        (b"\x15\x03\x03\x00\x02\x02\x28", CloseReason.TLS_NOTHING_SHARED),  # handshake_failure
        (b"\x15\x03\x03\x00\x02\x02\x50", CloseReason.TLS_ALERT),  # internal_error
        (b"", CloseReason.TLS_TRUNCATED),
    ],
    ids=["a-web-server", "an-alert", "another-alert", "silence-and-an-end"],
)
def test_an_end_that_does_not_shake_hands(make: Maker, pki: Pki, answer: bytes, reason: CloseReason) -> None:
    with make() as rig:
        connection, other = dial(rig, TlsClient(trust(pki)))
        assert other.socket.recv(1 << 16)[:2] == b"\x16\x03"
        other.send_bytes(answer)
        other.close()
        assert rig.event(EventKind.CLOSED, connection=connection).reason is reason


def test_an_end_that_says_nothing_is_given_up_in_time(make: Maker, pki: Pki) -> None:
    with make(handshake_seconds=0.2) as rig:
        connection, _ = dial(rig, TlsClient(trust(pki)))
        assert rig.event(EventKind.CLOSED, connection=connection).reason is CloseReason.TLS_TIMEOUT


def test_a_client_may_be_forgotten_while_its_connection_lives(make: Maker, pki: Pki) -> None:
    with make() as rig:
        charon = rig.charon(address=UE)
        client = TlsClient(trust(pki))
        connection, other = dial(rig, client)
        del client
        gateway = accept(other, gateway_context(pki.gateway))
        rig.event(EventKind.IDENTIFIED, connection=connection)
        charon.sendto(ike(300), (GW, 4500))
        assert gateway.receive() == ike(300)
        gateway.send(esp())
        assert charon.recv(65536) == esp()


def test_what_charon_sends_before_the_handshake_is_done_is_lost_and_counted(make: Maker, pki: Pki) -> None:
    with make() as rig:
        charon = rig.charon(address=UE)
        connection, other = dial(rig, TlsClient(trust(pki)))
        charon.sendto(ike(300), (GW, 4500))
        rig.count("link_to_stream_not_open")
        accept(other, gateway_context(pki.gateway))
        rig.event(EventKind.IDENTIFIED, connection=connection)


def test_a_trust_that_cannot_work_is_refused(make: Maker, pki: Pki) -> None:
    with pytest.raises(PumpError, match=r"^TLS: authorities cannot be used .*; give certificates"):
        TlsClient(trust(pki, authorities=(b"no certificate",)))
    for wrong, words in (
        ({"server_name": ""}, "server_name is ''"),
        ({"authorities": ()}, "authorities is empty"),
        ({"pins": (b"short",)}, "32 bytes of a SHA-256"),
        ({"minimum": "1.1"}, "it is '1.2' or '1.3'"),
    ):
        with pytest.raises(MisuseError, match=words):
            dataclasses.replace(trust(pki), **wrong)
    with make() as rig:
        sock, _ = rig.connected()
        with pytest.raises(MisuseError, match="a client's TPKT' can be inside TLS"):
            rig.pump.adopt(sock, flow=GW, protocol=Protocol.RFC9329, tls=TlsClient(trust(pki)))
        with pytest.raises(MisuseError, match="a client serves nobody"):
            rig.pump.serve_tls(TlsServer(certificates=(certificate(pki.gateway),)))
        with contextlib.closing(sock):
            assert rig.pump.connections() == []
