# SPDX-License-Identifier: Apache-2.0
"""A gateway's pump inside TLS: handshakes of every kind, what is inside, and every way to end."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.tpkt.pump.rig import GW, UE, Maker, Network, Rig, esp, ike
from tests.tpkt.pump.tls import NAME, OTHER, Pki, TlsSocket, certificate, connect
from tpkt.errors import CloseReason, MisuseError
from tpkt.link import GatewayLink
from tpkt.pump import EventKind, PumpError, TlsCertificate, TlsServer
from tpkt.sniff import Protocol
from tpkt.wire import Framing, encode, encode_rfc9329

pytestmark = pytest.mark.root
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def make(network: Network, gateway_link: GatewayLink, pki: Pki) -> Maker:
    def made(**options: Any) -> Rig:
        return Rig(network, gateway_link.namespace, "gateway", **options)

    return made


@contextlib.contextmanager
def serving(make: Maker, pki: Pki, **options: Any) -> Any:
    with make(**options) as rig:
        rig.pump.serve_tls(pki.server)
        yield rig, rig.listen()


def versions(only: ssl.TLSVersion) -> dict[str, Any]:
    return {"minimum_version": only, "maximum_version": only}


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("step", [1 << 20, 1], ids=["whole", "byte-by-byte"])
def test_a_conversation_inside_tls(make: Maker, pki: Pki, version: ssl.TLSVersion, step: int) -> None:
    with serving(make, pki) as (rig, port):
        charon = rig.charon()
        peer = connect(rig, port, pki.context(**versions(version)), step=step)
        peer.send(ike(300))
        datagram, flow = charon.recvfrom(65536)
        assert datagram == ike(300)
        charon.sendto(ike(400, spi_r=7), flow)
        assert peer.receive() == ike(400, spi_r=7)
        for number in range(1, 6):
            peer.send(esp(1400, number), esp(90, number))
            assert [charon.recvfrom(65536)[0] for _ in range(2)] == [esp(1400, number), esp(90, number)]
            charon.sendto(esp(84, number), flow)
            assert peer.receive() == esp(84, number)
        (info,) = rig.pump.connections()
        assert info.protocol is Protocol.TPKT
        assert info.tls is not None
        assert info.tls.version == f"TLSv1.{3 if version is V13 else 2}"
        exchange = "" if version is V13 else "ECDHE_ECDSA_WITH_"
        assert info.tls.cipher == f"TLS_{exchange}AES_128_GCM_SHA256"
        counters = rig.non_zero()
        assert counters["connections_tls"] == counters["tls_established"] == counters["identified_tpkt"] == 1
        assert "connections_half_identified" not in counters
        peer.tls.good_bye()
        assert rig.closed(peer) is CloseReason.FIN
        assert rig.pump.counters()["connections_tls"] == 0


def test_plain_streams_are_served_beside_it(make: Maker, pki: Pki) -> None:
    with serving(make, pki) as (rig, port):
        charon = rig.charon()
        plain = rig.connect(port)
        plain.send(esp())
        assert charon.recv(65536) == esp()
        (info,) = rig.pump.connections()
        assert info.tls is None


@pytest.mark.parametrize("offered", [["trikesec/1"], ["h2", "http/1.1"], ["http/1.1", "trikesec/1"], []])
def test_alpn_is_the_first_of_ours_that_is_offered(make: Maker, pki: Pki, offered: list[str]) -> None:
    with serving(make, pki) as (rig, port):
        context = pki.context()
        if offered:
            context.set_alpn_protocols(offered)
        charon = rig.charon()
        peer = connect(rig, port, context)
        wanted = next((name for name in ("trikesec/1", "http/1.1") if name in offered), None)
        assert peer.tls.ssl.selected_alpn_protocol() == wanted
        peer.send(esp())
        assert charon.recv(65536) == esp()
        (info,) = rig.pump.connections()
        assert info.tls is not None
        assert info.tls.trikesec is ("trikesec/1" in offered)


def test_a_protocol_name_that_nobody_here_speaks_is_refused(make: Maker, pki: Pki) -> None:
    with serving(make, pki) as (rig, port):
        context = pki.context()
        context.set_alpn_protocols(["h2"])
        plain = rig.connect(port)
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            TlsSocket(plain.socket, context).handshake()
        assert rig.closed(plain) is CloseReason.TLS_NOTHING_SHARED


def test_alpn_spares_the_guess_for_a_long_first_frame(make: Maker, pki: Pki) -> None:
    # 01 00 4x 45: without the name this would be EFTF, an envelope with an IPv4 packet.
    frame = encode(struct.pack("!II", 0x45000000, 1) + bytes(0x1745 - 4 - 8))
    assert frame[:4] == bytes((1, 0, 0x17, 0x45))
    with serving(make, pki) as (rig, port):
        charon = rig.charon()
        context = pki.context()
        guessed = connect(rig, port, context)
        guessed.send_bytes(frame)
        assert rig.closed(guessed) is CloseReason.UNKNOWN_PROTOCOL
        assert rig.count("identified_eftf") == 1
        context.set_alpn_protocols(["trikesec/1"])
        agreed = connect(rig, port, context)
        agreed.send_bytes(frame)
        assert charon.recv(65536) == frame[4:]


def alternatives(certificate: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    names: Sequence[tuple[str, str]] = certificate["subjectAltName"]
    return names


def test_a_server_name_chooses_the_certificate_and_the_first_is_for_everybody_else(
    make: Maker, pki: Pki
) -> None:
    with serving(make, pki) as (rig, port):
        for asked, shown in ((NAME, NAME), (OTHER, OTHER), ("nobody.example.org", NAME), (None, NAME)):
            for version in (V12, V13):
                context = pki.context(check_hostname=False, **versions(version))
                peer = connect(rig, port, context, asked)
                found = peer.tls.ssl.getpeercert()
                assert found is not None
                names = [value for kind, value in alternatives(found) if kind == "DNS"]
                assert names == [shown], asked


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
def test_a_ticket_of_one_worker_is_good_for_all(make: Maker, pki: Pki, version: ssl.TLSVersion) -> None:
    with serving(make, pki, workers=4) as (rig, port):
        charon = rig.charon()
        context = pki.context(**versions(version))
        first = connect(rig, port, context)
        first.send(esp())
        flow = charon.recvfrom(65536)[1]
        charon.sendto(esp(), flow)
        first.receive()  # a ticket of TLS 1.3 comes beside data
        session = first.tls.ssl.session
        assert session is not None
        assert not first.tls.ssl.session_reused
        again = [connect(rig, port, context, session=session) for _ in range(24)]
        assert all(peer.tls.ssl.session_reused for peer in again)
        for peer in again:
            peer.send(esp())
            assert charon.recv(65536) == esp()
        used = {info.worker: info.tls.resumed for info in rig.pump.connections() if info.tls}
        assert len(used) > 1
        assert rig.count("tls_resumed", 24) == 24


def test_without_tickets_every_handshake_is_a_full_one(make: Maker, pki: Pki) -> None:
    with make() as rig:
        rig.pump.serve_tls(TlsServer(certificates=(certificate(pki.gateway),), tickets=False))
        port, charon = rig.listen(), rig.charon()
        for version in (V12, V13):
            peer = connect(rig, port, pki.context(**versions(version)))
            peer.send(esp())
            charon.sendto(esp(), charon.recvfrom(65536)[1])
            peer.receive()
            session = peer.tls.ssl.session
            assert session is None or not session.has_ticket


def test_new_certificates_are_for_new_handshakes_and_disturb_no_connection(make: Maker, pki: Pki) -> None:
    with serving(make, pki) as (rig, port):
        charon = rig.charon()
        old = connect(rig, port, pki.context())
        begun = rig.connect(port)
        half = TlsSocket(begun.socket, pki.context())
        with contextlib.suppress(ssl.SSLWantReadError):
            half.ssl.do_handshake()
        half.flush()
        rig.count("tls_begun", 2)
        rig.pump.serve_tls(TlsServer(certificates=(certificate(pki.other),)))
        half.handshake()  # with what was there when it began
        new = connect(rig, port, pki.context(), OTHER)
        for number, peer in enumerate((old, new), 1):
            peer.send(esp(100, number))
            assert charon.recv(65536) == esp(100, number)
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(rig, port, pki.context(), NAME)
        rig.pump.serve_tls(None)
        old.send(esp(100, 9))
        assert charon.recv(65536) == esp(100, 9)
        refused = rig.connect(port)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            TlsSocket(refused.socket, pki.context()).handshake()
        assert rig.closed(refused) is CloseReason.TLS_NOT_CONFIGURED


def test_certificates_that_cannot_be_used_change_nothing(make: Maker, pki: Pki) -> None:
    good = certificate(pki.gateway)
    bad = (
        TlsCertificate(good.chain, certificate(pki.other).key),
        TlsCertificate((b"no certificate",), good.key),
        TlsCertificate(good.chain, b"-----BEGIN PRIVATE KEY-----\nno\n-----END PRIVATE KEY-----\n"),
    )
    with serving(make, pki) as (rig, port):
        for one in bad:
            with pytest.raises(
                PumpError, match=r"^TLS: certificate 2 and its key cannot be used .*; give a"
            ) as caught:
                rig.pump.serve_tls(TlsServer(certificates=(good, one)))
            assert "PRIVATE" not in str(caught.value)
        connect(rig, port, pki.context())
    with pytest.raises(MisuseError, match="0 TLS certificates"):
        TlsServer(certificates=())


def test_a_listener_may_be_without_tls(make: Maker, pki: Pki) -> None:
    with serving(make, pki) as (rig, _):
        port = rig.home.call(lambda: rig.pump.listen(GW, 0, tls=False))
        peer = rig.connect(port)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            TlsSocket(peer.socket, pki.context()).handshake()
        assert rig.closed(peer) is CloseReason.TLS_NOT_CONFIGURED


def test_every_protocol_is_found_inside(make: Maker, pki: Pki) -> None:
    with serving(make, pki) as (rig, port):
        charon = rig.charon()
        for first, framing, protocol in (
            (encode(ike(40)), Framing.TPKT, Protocol.TPKT),
            (b"IKETCP" + encode_rfc9329(ike(40)), Framing.RFC9329, Protocol.RFC9329),
            (encode_rfc9329(ike(40)), Framing.RFC9329, Protocol.FTT),
        ):
            peer = connect(rig, port, pki.context(), framing=framing)
            for byte in first:
                peer.send_bytes(bytes((byte,)))  # a record each
            datagram, flow = charon.recvfrom(65536)
            assert datagram == ike(40)
            charon.sendto(esp(), flow)
            assert peer.receive() == esp()
            assert rig.event(EventKind.IDENTIFIED, of=peer).protocol is protocol
        web = connect(rig, port, pki.context())
        web.send_bytes(b"GET / HTTP/1.1\r\nHost: gw.example.org\r\n\r\n")
        assert web.read_all().startswith(b"HTTP/1.1 404 ")  # and an orderly end: read_all would raise
        web.close()
        assert rig.closed(web) is CloseReason.HTTP
        for first in (b"\x16\x03\x01\x02\x00\x01", b"\0\5hello"):
            peer = connect(rig, port, pki.context())
            peer.send_bytes(first)
            assert rig.closed(peer) is CloseReason.UNKNOWN_PROTOCOL


def test_big_frames_and_bursts_pass_both_ways(make: Maker, pki: Pki) -> None:
    with serving(make, pki) as (rig, port):
        charon = rig.charon()
        peer = connect(rig, port, pki.context())
        sizes = [65507, 8, 16384, 16383, 40000, 1400, 65507, 12]
        for number, size in enumerate(sizes, 1):
            peer.send(esp(size, number))
            assert charon.recv(1 << 16) == esp(size, number)
        flow = rig.pump.connections()[0].flow
        for number, size in enumerate(sizes, 1):
            charon.sendto(esp(size, number), (flow, 4500))
            assert peer.receive() == esp(size, number)
        # Many at once: records hold parts of frames, and frames are spread over records.
        peer.send(*(esp(1300, number) for number in range(200)))
        assert [charon.recv(1 << 16) for _ in range(200)] == [esp(1300, number) for number in range(200)]
        for number in range(200):
            charon.sendto(esp(1300, number), (flow, 4500))
        assert [peer.receive() for _ in range(200)] == [esp(1300, number) for number in range(200)]


def test_a_record_for_each_frame_is_no_wake_up_for_each_frame(make: Maker, pki: Pki) -> None:
    with serving(make, pki) as (rig, port):
        charon = rig.charon()
        peer = connect(rig, port, pki.context())
        for number in range(200):
            peer.tls.ssl.write(encode(esp(1300, number)))
        peer.tls.flush()  # in one write
        assert [charon.recv(1 << 16) for _ in range(200)] == [esp(1300, number) for number in range(200)]
        assert rig.count("stream_to_link_frames", 200) == 200
        assert rig.pump.counters()["stream_to_link_sends"] <= 100


def test_who_does_not_read_gets_whole_frames_later_and_ike_always(make: Maker, pki: Pki) -> None:
    with serving(make, pki, queue_bytes=65536) as (rig, port):
        charon = rig.charon()
        peer = connect(rig, port, pki.context())
        peer.send(ike(100))
        flow = charon.recvfrom(65536)[1]
        sent = 0
        while not rig.pump.counters()["link_to_stream_queue_full"]:
            sent += 1
            charon.sendto(esp(1400, sent), flow)
        for number in range(5):
            charon.sendto(ike(200, spi_r=7, message_id=number), flow)
        rig.wait(lambda: rig.pump.connections()[0].queued_bytes > 0, "something is queued")
        got = [peer.receive()]
        while got[-1] != ike(200, spi_r=7, message_id=4):
            got.append(peer.receive())
        messages = [one for one in got if one[:4] == bytes(4)]
        assert messages == [ike(200, spi_r=7, message_id=number) for number in range(5)]
        numbers = [int.from_bytes(one[4:8]) for one in got if one[:4] != bytes(4)]
        assert numbers == sorted(numbers)
        assert all(one == esp(1400, int.from_bytes(one[4:8])) for one in got if one[:4] != bytes(4))
        rig.wait(lambda: rig.pump.counters()["queued_bytes"] == 0, "the queue is empty again")
        charon.sendto(esp(500, 1), flow)
        while (last := peer.receive()) != esp(500, 1):
            assert last[:4] == esp()[:4]


def test_many_handshakes_at_once(make: Maker, pki: Pki) -> None:
    with serving(make, pki, workers=2, half_identified_per_source=512) as (rig, port):
        charon = rig.charon()
        plain = [rig.connect(port) for _ in range(100)]
        tls = [TlsSocket(peer.socket, pki.context()) for peer in plain]
        for one in tls:
            with contextlib.suppress(ssl.SSLWantReadError):
                one.ssl.do_handshake()
            one.flush()
        for one in tls:
            one.handshake()
        rig.count("tls_established", 100)
        assert rig.pump.counters()["connections_half_identified"] == 100
        for number, one in enumerate(tls):
            one.sendall(encode(esp(100, number)))
        assert sorted(charon.recv(65536) for _ in tls) == sorted(esp(100, number) for number in range(100))
        rig.wait(lambda: rig.pump.counters()["connections_half_identified"] == 0, "all are identified")


def hello(pki: Pki) -> bytes:
    """The first bytes of a client."""
    out = ssl.MemoryBIO()
    client = pki.context().wrap_bio(ssl.MemoryBIO(), out, server_hostname=NAME)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


@pytest.mark.parametrize("part", [2, 100, 100_000], ids=["its-first-bytes", "half-a-hello", "a-hello"])
def test_half_a_handshake_ends_at_its_own_deadline(make: Maker, pki: Pki, part: int) -> None:
    with serving(make, pki, handshake_seconds=0.3, first_bytes_seconds=30.0) as (rig, port):
        peer = rig.connect(port)
        peer.send_bytes(hello(pki)[:part])
        rig.count("tls_begun")
        assert rig.pump.counters()["connections_half_identified"] == 1
        assert rig.closed(peer) is CloseReason.TLS_TIMEOUT
        assert rig.pump.counters()["connections_half_identified"] == 0


def test_silence_inside_ends_at_the_deadline_of_first_bytes(make: Maker, pki: Pki) -> None:
    with serving(make, pki, first_bytes_seconds=0.5) as (rig, port):
        peer = connect(rig, port, pki.context())
        assert rig.closed(peer) is CloseReason.FIRST_BYTES_TIMEOUT


def test_half_identified_ones_count_until_their_protocol_inside_is_known(make: Maker, pki: Pki) -> None:
    with serving(make, pki, half_identified=2) as (rig, port):
        both = [connect(rig, port, pki.context()) for _ in range(2)]
        rig.knock(port)
        assert rig.event(EventKind.LIMIT).reason is CloseReason.LIMIT_CONNECTIONS
        both[0].send(esp())
        rig.count("identified_tpkt")
        connect(rig, port, pki.context())


@pytest.mark.parametrize(
    ("settings", "ciphers"),
    [
        (
            {"maximum_version": ssl.TLSVersion.TLSv1_1, "minimum_version": ssl.TLSVersion.TLSv1},
            "DEFAULT@SECLEVEL=0",
        ),
        (versions(V12), "ECDHE+AES+SHA256@SECLEVEL=0"),
        (versions(V12), "DHE+AESGCM"),
        (versions(V12), "AES128-GCM-SHA256"),
    ],
    ids=["tls-1.1", "cbc", "finite-field", "no-forward-secrecy"],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_what_the_profile_does_not_know_is_refused_by_name(
    make: Maker, pki: Pki, settings: dict[str, Any], ciphers: str
) -> None:
    with serving(make, pki) as (rig, port):
        context = pki.context()
        context.set_ciphers(ciphers)
        for name in sorted(settings):
            setattr(context, name, settings[name])
        peer = rig.connect(port)
        with pytest.raises(ssl.SSLError):
            TlsSocket(peer.socket, context).handshake()
        assert rig.closed(peer) is CloseReason.TLS_NOTHING_SHARED


def test_a_client_that_does_not_believe_us_is_told_apart(make: Maker, pki: Pki) -> None:
    with serving(make, pki) as (rig, port):
        for version in (V12, V13):
            peer = rig.connect(port)
            with pytest.raises(ssl.SSLCertVerificationError):
                TlsSocket(peer.socket, pki.context(ca=False, **versions(version))).handshake()
            assert rig.closed(peer) is CloseReason.TLS_CERTIFICATE_REFUSED


def test_garbage_where_tls_was_begun(make: Maker, pki: Pki) -> None:
    with serving(make, pki) as (rig, port):
        for first, reasons in (
            (b"\x16\x03\x01\x00\x05hello", {CloseReason.TLS_PROTOCOL}),
            (b"\x16\x03\x01\xff\xff" + bytes(65535), {CloseReason.TLS_GARBAGE}),
            (b"\x16\x03" + bytes(100), {CloseReason.TLS_GARBAGE, CloseReason.TLS_PROTOCOL}),
            (
                hello(pki)[:-1] + b"GET / HTTP/1.1\r\n\r\n",
                {CloseReason.TLS_GARBAGE, CloseReason.TLS_PROTOCOL},
            ),
        ):
            peer = rig.connect(port)
            with contextlib.suppress(ConnectionError):
                peer.send_bytes(first)
            assert rig.closed(peer) in reasons, first[:20]
        for version in (V12, V13):
            after = connect(rig, port, pki.context(**versions(version)))
            after.send(esp())
            rig.event(EventKind.IDENTIFIED, of=after)
            after.tls.raw.sendall(b"01 and no record at all")
            assert rig.closed(after) is CloseReason.TLS_GARBAGE
            forged = connect(rig, port, pki.context(**versions(version)))
            forged.tls.raw.sendall(b"\x17\x03\x03\x00\x30" + bytes(48))
            assert rig.closed(forged) is CloseReason.TLS_PROTOCOL


def test_the_good_bye_of_tls_is_told_from_a_cut(make: Maker, pki: Pki) -> None:
    with serving(make, pki) as (rig, port):
        for inside, orderly, reason in (
            (encode(esp()), True, CloseReason.FIN),
            (encode(esp())[:-1], True, CloseReason.FIN_IN_FRAME),
            (encode(esp()), False, CloseReason.TLS_TRUNCATED),
            (encode(esp())[:-1], False, CloseReason.TLS_TRUNCATED),
        ):
            peer = connect(rig, port, pki.context())
            peer.send_bytes(inside)
            rig.event(EventKind.IDENTIFIED, of=peer)
            if orderly:
                peer.tls.good_bye()
            else:
                peer.tls.shutdown(socket.SHUT_WR)
            assert rig.closed(peer) is reason
        reset = connect(rig, port, pki.context())
        rig.count("tls_established", 5)
        reset.reset()
        assert rig.closed(reset) is CloseReason.RESET
        cut = rig.connect(port)
        cut.send_bytes(hello(pki)[:50])
        cut.close()
        assert rig.closed(cut) is CloseReason.TLS_TRUNCATED


def test_our_end_says_good_bye_too(make: Maker, pki: Pki) -> None:
    with serving(make, pki) as (rig, port):
        peer = connect(rig, port, pki.context())
        peer.send(esp())
        connection = rig.event(EventKind.IDENTIFIED, of=peer).connection
        assert rig.pump.close_connection(connection)
        assert peer.read_all() == b""  # a cut would raise ssl.SSLEOFError


def test_openssl_itself_is_a_client(make: Maker, pki: Pki, network: Network) -> None:
    with serving(make, pki) as (rig, port):
        charon = rig.charon()
        argv = ["ip", "netns", "exec", network.ue.name, "openssl", "s_client", "-connect", f"{GW}:{port}"]
        argv += [
            "-servername",
            OTHER,
            "-alpn",
            "trikesec/1",
            "-CAfile",
            str(pki.authority.cert),
            "-no_ign_eof",
        ]
        argv += ["-verify_return_error", "-verify_hostname", OTHER]
        env = {name: value for name, value in os.environ.items() if name != "OPENSSL_CONF"}
        with subprocess.Popen(
            argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as client:
            assert client.stdin is not None
            client.stdin.write(encode(esp()))
            client.stdin.flush()
            assert charon.recv(65536) == esp()
            said = client.communicate(timeout=10)[0].decode(errors="replace")
        assert "Verify return code: 0 (ok)" in said
        assert "ALPN protocol: trikesec/1" in said
        assert "New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256" in said
        assert "Server Temp Key: X25519" in said
        assert "Compression: NONE" in said
        assert rig.event(EventKind.CLOSED).reason is CloseReason.FIN
        assert rig.event(EventKind.CLOSED).remote[0] == UE


@pytest.mark.parametrize("glue", [socket.MSG_MORE, 0], ids=["one-segment", "two-segments"])
def test_behind_a_load_balancer_too(make: Maker, pki: Pki, glue: int) -> None:
    with make() as rig:
        rig.pump.serve_tls(pki.server)
        port = rig.home.call(lambda: rig.pump.listen(GW, 0, balancers=[ip_network(UE)]))
        charon, plain = rig.charon(), rig.connect(port)
        plain.socket.send(f"PROXY TCP4 203.0.113.7 {GW} 40001 443\r\n".encode(), glue)
        tls = TlsSocket(plain.socket, pki.context())
        tls.handshake()
        tls.sendall(encode(esp()))
        assert charon.recv(65536) == esp()
        (info,) = rig.pump.connections()
        assert (info.remote, info.tls is not None) == (("203.0.113.7", 40001), True)


def test_the_systems_openssl_configuration_changes_nothing(tmp_path: Path) -> None:
    strange = tmp_path / "openssl.cnf"
    strange.write_text(
        "openssl_conf = main\n[main]\nssl_conf = ssl\n[ssl]\nsystem_default = strange\n[strange]\n"
        "MinProtocol = TLSv1\nMaxProtocol = TLSv1.2\nCipherString = AES256-SHA256:@SECLEVEL=0\n"
        "Groups = P-521\n"
    )
    # In a process of its own, since OpenSSL reads its configuration once; the client there does not see it.
    test = f"{__file__}::test_openssl_itself_is_a_client"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        env={**os.environ, "OPENSSL_CONF": str(strange)},
        check=True,
        timeout=60,
    )


def test_a_client_cannot_renegotiate(make: Maker, pki: Pki, network: Network) -> None:
    with serving(make, pki) as (rig, port):
        argv = ["ip", "netns", "exec", network.ue.name, "openssl", "s_client", "-connect", f"{GW}:{port}"]
        argv += ["-tls1_2", "-CAfile", str(pki.authority.cert), "-legacy_renegotiation"]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as client:
            assert client.stdin is not None
            rig.count("tls_established")
            client.stdin.write(b"R\n")  # s_client's command
            client.stdin.flush()
            said = client.communicate(timeout=10)[0].decode(errors="replace")
        assert "RENEGOTIATING" in said
        assert "no renegotiation" in said
