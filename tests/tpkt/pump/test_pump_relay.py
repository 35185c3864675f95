# SPDX-License-Identifier: Apache-2.0
"""HTTP clients and a web backend with the pump between them: every byte, every end, and every failure."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.tpkt.pump.rig import GW, GW_V6, SECONDS, UE, Maker, Network, Peer, Rig, esp, ike
from tests.tpkt.pump.tls import Pki, connect
from tpkt.errors import CloseReason
from tpkt.link import GatewayLink
from tpkt.pump import ConnectionState, EventKind, WebBackend
from tpkt.sniff import Protocol

pytestmark = pytest.mark.root
REQUEST = b"GET /index.html HTTP/1.1\r\nHost: gw\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
BIG = 8_000_000


@pytest.fixture
def make(network: Network, gateway_link: GatewayLink) -> Maker:
    def made(**options: Any) -> Rig:
        return Rig(network, gateway_link.namespace, "gateway", **options)

    return made


@pytest.fixture
def listening(network: Network) -> Iterator[socket.socket]:
    """The web server's socket, on which nobody accepts by itself."""
    with network.gw.socket() as server:
        server.bind((GW, 0))
        server.listen(1024)
        server.settimeout(SECONDS)
        yield server


def web(server: socket.socket, **options: Any) -> WebBackend:
    return WebBackend(where=server.getsockname()[:2], **options)


def accept(server: socket.socket) -> socket.socket:
    backend, _ = server.accept()
    backend.settimeout(SECONDS)
    return backend


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, f"the end came after {len(data)} of {size} bytes: {data[-200:]!r}"
        data += piece
    return data


def to_the_end(sock: socket.socket) -> bytes:
    data = bytearray()
    while piece := sock.recv(1 << 16):
        data += piece
    return bytes(data)


def body(size: int, seed: bytes = b"") -> bytes:
    return hashlib.shake_128(b"body" + seed).digest(size)


@contextlib.contextmanager
def in_background(work: Callable[[], object]) -> Iterator[None]:
    """Run `work` on a thread; it must have ended well with the block."""
    failure: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 -- raised again below, on the test's own thread
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(SECONDS * 4)
    assert not thread.is_alive()
    if failure:
        raise failure[0]


@pytest.mark.parametrize("step", [1000, 1], ids=["whole", "byte by byte"])
def test_a_request_and_its_answer(make: Maker, listening: socket.socket, step: int) -> None:
    with make(web=web(listening)) as rig:
        client = rig.connect(rig.listen())
        for at in range(0, len(REQUEST), step):
            client.send_bytes(REQUEST[at : at + step])
        with accept(listening) as backend:
            assert exactly(backend, len(REQUEST)) == REQUEST
            backend.sendall(ANSWER)
            assert exactly(client.socket, len(ANSWER)) == ANSWER
            rig.count("relay_to_client_bytes", len(ANSWER))
            (info,) = rig.pump.connections()
            assert (info.state, info.protocol) == (ConnectionState.RELAYING, Protocol.HTTP)
            assert (info.stream_to_link_bytes, info.link_to_stream_bytes) == (len(REQUEST), len(ANSWER))
            assert rig.pump.counters()["relays_open"] == 1
            client.send_bytes(REQUEST)  # the connection is kept alive
            assert exactly(backend, len(REQUEST)) == REQUEST
            client.close()
            assert to_the_end(backend) == b""
        assert rig.closed(client) is CloseReason.HTTP_RELAYED
        counters = rig.pump.counters()
        assert (counters["relays_open"], counters["queued_bytes"]) == (0, 0)
        assert counters["relay_to_backend_bytes"] == 2 * len(REQUEST)


@pytest.mark.parametrize("first_to_end", ["client", "backend"])
def test_the_end_of_one_direction_leaves_the_other_open(
    make: Maker, listening: socket.socket, first_to_end: str
) -> None:
    with make(web=web(listening)) as rig:
        client = rig.connect(rig.listen())
        client.send_bytes(REQUEST)
        with accept(listening) as backend:
            assert exactly(backend, len(REQUEST)) == REQUEST
            first, second = client.socket, backend
            if first_to_end == "backend":
                first, second = second, first
            first.sendall(b"last words")
            first.shutdown(socket.SHUT_WR)
            assert to_the_end(second) == b"last words"
            second.sendall(body(100_000))
            assert exactly(first, 100_000) == body(100_000)
            assert rig.pump.counters()["relays_open"] == 1
            second.shutdown(socket.SHUT_WR)
            assert to_the_end(first) == b""
        assert rig.closed(client) is CloseReason.HTTP_RELAYED


def test_megabytes_go_both_ways_at_once(make: Maker, listening: socket.socket) -> None:
    up, down = REQUEST + body(BIG, b"up"), body(BIG, b"down")
    with make(web=web(listening)) as rig:
        client = rig.connect(rig.listen())

        def send_up() -> None:
            client.socket.sendall(up)
            client.socket.shutdown(socket.SHUT_WR)

        def serve() -> None:
            with accept(listening) as backend:
                with in_background(lambda: backend.sendall(down)):
                    assert to_the_end(backend) == up
                backend.shutdown(socket.SHUT_WR)

        with in_background(send_up), in_background(serve):
            assert to_the_end(client.socket) == down
        assert rig.closed(client) is CloseReason.HTTP_RELAYED
        counters = rig.pump.counters()
        assert (counters["relay_to_backend_bytes"], counters["relay_to_client_bytes"]) == (len(up), len(down))


def fill(sock: socket.socket) -> int:
    """Send until nothing more is taken for a while; how much was."""
    sock.settimeout(0.3)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while True:
            sent += sock.send(bytes(1 << 16))
    sock.settimeout(SECONDS)
    return sent


@pytest.mark.parametrize("stalled", ["backend", "client"])
def test_who_does_not_read_holds_up_the_other_and_costs_one_block(
    make: Maker, listening: socket.socket, stalled: str
) -> None:
    with make(web=web(listening)) as rig:
        client = rig.connect(rig.listen())
        client.send_bytes(REQUEST)
        with accept(listening) as backend:
            exactly(backend, len(REQUEST))
            writer, reader = client.socket, backend
            if stalled == "client":
                writer, reader = reader, writer
            sent = fill(writer)
            (info,) = rig.pump.connections()
            assert 0 < info.queued_bytes <= 65_535
            assert rig.pump.counters()["queued_bytes"] < 100_000
            reader.sendall(b"the other way is free")
            assert exactly(writer, 21) == b"the other way is free"
            writer.shutdown(socket.SHUT_WR)
            assert len(to_the_end(reader)) == sent
            reader.shutdown(socket.SHUT_WR)
            assert to_the_end(writer) == b""
        assert rig.closed(client) is CloseReason.HTTP_RELAYED


def test_a_stalled_relay_costs_no_turns(make: Maker, listening: socket.socket) -> None:
    """The client does not read and the backend is gone: epoll must not tell of that over and over."""
    with make(web=web(listening)) as rig:
        client = rig.connect(rig.listen())
        client.send_bytes(REQUEST)
        backend = Peer(accept(listening))
        exactly(backend.socket, len(REQUEST))
        fill(backend.socket)
        before = busy_ticks()
        backend.reset()
        threading.Event().wait(1.0)  # in which nothing is to happen
        assert busy_ticks() - before < 30  # hundredths of a second; a thread that spins takes all
        assert rig.pump.counters()["relays_open"] == 1


def busy_ticks() -> int:
    """What the threads of workers have used, in clock ticks."""
    ticks = 0
    for task in Path("/proc/self/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        if (task / "comm").read_text().startswith("pump-"):
            ticks += int(fields[11]) + int(fields[12])
    return ticks


@pytest.mark.parametrize("address", [GW, GW_V6])
def test_the_backend_is_told_who_the_client_is(make: Maker, listening: socket.socket, address: str) -> None:
    with make(web=web(listening, proxy_protocol=True)) as rig:
        port = rig.listen(address)
        client = rig.connect(port, address)
        client.send_bytes(REQUEST)
        with accept(listening) as backend:
            six = ":" in address
            family, half = (socket.AF_INET6, 16) if six else (socket.AF_INET, 4)
            size = 2 * half + 4
            header = exactly(backend, 16 + size)
            assert header[:12] == bytes.fromhex("0d0a0d0a000d0a515549540a")
            assert header[12:16] == bytes([0x21, 0x21 if six else 0x11, 0, size])
            assert socket.inet_ntop(family, header[16 : 16 + half]) == client.address[0]
            assert socket.inet_ntop(family, header[16 + half : 16 + 2 * half]) == address
            assert header[-4:] == client.address[1].to_bytes(2, "big") + port.to_bytes(2, "big")
            assert exactly(backend, len(REQUEST)) == REQUEST


def test_a_client_behind_a_balancer_is_named_to_the_backend(make: Maker, listening: socket.socket) -> None:
    with make(web=web(listening, proxy_protocol=True)) as rig:
        port = rig.home.call(lambda: rig.pump.listen(GW, 0, balancers=[ip_network(UE)]))
        client = rig.connect(port)
        client.send_bytes(b"PROXY TCP4 203.0.113.7 192.0.2.1 5555 80\r\n" + REQUEST)
        with accept(listening) as backend:
            header = exactly(backend, 28)
            assert socket.inet_ntoa(header[16:20]) == "203.0.113.7"
            assert int.from_bytes(header[24:26], "big") == 5555
            assert exactly(backend, len(REQUEST)) == REQUEST


def test_a_backend_on_a_unix_socket(make: Maker, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "web"))
        server.listen()
        server.settimeout(SECONDS)
        with make(web=WebBackend(where=str(tmp_path / "web"))) as rig:
            client = rig.connect(rig.listen())
            client.send_bytes(REQUEST)
            with accept(server) as backend:
                assert exactly(backend, len(REQUEST)) == REQUEST
                backend.sendall(ANSWER)
            assert to_the_end(client.socket) == ANSWER


def status_of(peer: Peer) -> bytes:
    answer = peer.read_all()
    head, _, text = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(text)}\r\n".encode() in head + b"\r\n"
    return answer[:12]


@pytest.mark.parametrize("where", ["refused", "no socket there"])
def test_a_backend_that_is_down_is_told_as_502(make: Maker, network: Network, where: str) -> None:
    with network.gw.socket() as nobody:
        nobody.bind((GW, 0))  # and does not listen
        place = nobody.getsockname() if where == "refused" else "/run/there-is-no-such.socket"
        with make(web=WebBackend(where=place)) as rig:
            client = rig.connect(rig.listen())
            client.send_bytes(REQUEST)
            assert status_of(client) == b"HTTP/1.1 502"
            client.close()
            assert rig.closed(client) is CloseReason.HTTP_BACKEND
            counters = rig.pump.counters()
            assert (counters["relays_failed"], counters["relays_open"], counters["queued_bytes"]) == (1, 0, 0)


def test_a_backend_that_does_not_answer_is_told_as_504(make: Maker, network: Network) -> None:
    network.gw.run(["ip", "neigh", "replace", "192.0.2.99", "lladdr", "02:00:00:00:00:99", "dev", "eth0"])
    with make(web=WebBackend(where=("192.0.2.99", 80), connect_seconds=0.3)) as rig:
        client = rig.connect(rig.listen())
        client.send_bytes(REQUEST)
        assert status_of(client) == b"HTTP/1.1 504"
        client.close()
        assert rig.closed(client) is CloseReason.HTTP_BACKEND


def test_more_than_may_be_are_told_503_and_the_others_go_on(make: Maker, listening: socket.socket) -> None:
    with make(web=web(listening, connections=2), workers=2) as rig:
        port = rig.listen()
        first, second = rig.connect(port), rig.connect(port)
        for one in (first, second):
            one.send_bytes(REQUEST)
        with accept(listening) as backend, accept(listening):
            third = rig.connect(port)
            third.send_bytes(REQUEST)
            assert status_of(third) == b"HTTP/1.1 503"
            third.close()
            assert rig.closed(third) is CloseReason.HTTP_FULL
            exactly(backend, len(REQUEST))
            backend.sendall(ANSWER)
        first.close()
        second.close()
        rig.wait(lambda: rig.pump.counters()["relays_open"] == 0, "both have ended")
        fourth = rig.connect(port)
        fourth.send_bytes(REQUEST)
        with accept(listening) as backend:
            assert exactly(backend, len(REQUEST)) == REQUEST


def test_nothing_moving_is_ended_and_what_moves_is_not(make: Maker, listening: socket.socket) -> None:
    with make(web=web(listening, idle_seconds=0.6)) as rig:
        client = rig.connect(rig.listen())
        client.send_bytes(REQUEST)
        with accept(listening) as backend:
            exactly(backend, len(REQUEST))
            began = rig.event(EventKind.IDENTIFIED).at
            for _ in range(10):
                backend.sendall(b"x")
                assert client.socket.recv(1) == b"x"
                threading.Event().wait(0.1)
            assert to_the_end(backend) == b""
            assert rig.closed(client) is CloseReason.HTTP_IDLE
            assert rig.event(EventKind.CLOSED).at - began > 1.0


def test_a_client_that_resets_takes_its_backend_connection_with_it(
    make: Maker, listening: socket.socket
) -> None:
    with make(web=web(listening)) as rig:
        client = rig.connect(rig.listen())
        client.send_bytes(REQUEST)
        with accept(listening) as backend:
            exactly(backend, len(REQUEST))
            client.reset()
            assert rig.closed(client) is CloseReason.RESET
            assert to_the_end(backend) == b""


def test_a_backend_that_breaks_off_resets_the_client_behind_what_it_sent(
    make: Maker, listening: socket.socket
) -> None:
    with make(web=web(listening)) as rig:
        client = rig.connect(rig.listen())
        client.send_bytes(REQUEST)
        backend = Peer(accept(listening))
        exactly(backend.socket, len(REQUEST))
        backend.socket.sendall(b"HTTP/1.0 200 OK\r\n\r\nhalf of it")
        assert exactly(client.socket, 29).endswith(b"half of it")
        backend.reset()
        with pytest.raises(ConnectionResetError):
            client.socket.recv(1)
        assert rig.closed(client) is CloseReason.HTTP_BACKEND
        assert rig.pump.counters()["relays_failed"] == 1


def test_an_answer_before_the_end_of_the_request_arrives_whole(make: Maker, listening: socket.socket) -> None:
    with make(web=web(listening)) as rig:
        client = rig.connect(rig.listen())
        client.send_bytes(REQUEST)
        backend = accept(listening)
        exactly(backend, len(REQUEST))
        backend.sendall(ANSWER)
        backend.close()
        assert exactly(client.socket, len(ANSWER)) == ANSWER
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(50):
                client.send_bytes(body(10_000))
        client.close()
        assert rig.closed(client) in (CloseReason.HTTP_RELAYED, CloseReason.RESET)
        rig.wait(lambda: rig.pump.counters()["relays_open"] == 0, "the relay has ended")


def test_http_inside_tls_goes_to_the_backend_too(
    make: Maker, listening: socket.socket, tmp_path: Path
) -> None:
    pki = Pki(tmp_path)
    with make(web=web(listening, proxy_protocol=True)) as rig:
        rig.pump.serve_tls(pki.server)
        peer = connect(rig, rig.listen(), pki.context())
        peer.tls.sendall(REQUEST)
        with accept(listening) as backend:
            assert len(exactly(backend, 28)) == 28
            assert exactly(backend, len(REQUEST)) == REQUEST
            up, down = body(1_000_000, b"up"), body(3_000_000, b"down")

            def serve() -> None:
                assert exactly(backend, len(up)) == up
                backend.sendall(down)
                backend.shutdown(socket.SHUT_WR)

            with in_background(serve):
                peer.tls.sendall(up)
                got = bytearray()
                while len(got) < len(down):
                    piece = peer.tls.recv(1 << 16)
                    assert piece, f"the end came after {len(got)} bytes"
                    got += piece
            assert got == down
            (info,) = rig.pump.connections()
            assert info.tls is not None
            assert info.state is ConnectionState.RELAYING
            peer.tls.good_bye()
            peer.tls.flush()
        assert rig.closed(peer) is CloseReason.HTTP_RELAYED


def test_tls_whose_client_stops_reading_holds_the_backend_up_and_loses_nothing(
    make: Maker, listening: socket.socket, tmp_path: Path
) -> None:
    pki = Pki(tmp_path)
    with make(web=web(listening)) as rig:
        rig.pump.serve_tls(pki.server)
        peer = connect(rig, rig.listen(), pki.context())
        peer.tls.sendall(REQUEST)
        with accept(listening) as backend:
            exactly(backend, len(REQUEST))
            sent = fill(backend)
            backend.shutdown(socket.SHUT_WR)
            got = 0
            while got < sent:
                piece = peer.tls.recv(1 << 16)
                assert piece, f"the end came after {got} of {sent} bytes"
                got += len(piece)
            assert peer.tls.recv(1) == b""


def test_a_hundred_at_once_beside_a_tunnel(make: Maker, listening: socket.socket) -> None:
    with make(web=web(listening), workers=2, half_identified_per_source=500) as rig:
        port = rig.listen()
        charon, tunnel = rig.charon(), rig.connect(port)
        tunnel.send(ike())
        flow = charon.recvfrom(200)[1]
        clients = [rig.connect(port) for _ in range(100)]
        for number, client in enumerate(clients):
            client.send_bytes(b"POST /%d HTTP/1.1\r\n\r\n" % number + body(50_000, b"%d" % number))
        backends = [accept(listening) for _ in clients]
        for backend in backends:
            path = b""
            while not path.endswith(b"\r\n\r\n"):
                path += backend.recv(1)
            number = int(path.split()[1][1:])
            assert exactly(backend, 50_000) == body(50_000, b"%d" % number)
            backend.sendall(b"%03d" % number)
            backend.close()
        charon.sendto(esp(), flow)
        assert tunnel.receive() == esp()
        for number, client in enumerate(clients):
            assert to_the_end(client.socket) == b"%03d" % number
            client.close()
        rig.count("closed_http_relayed", 100)
        rig.wait(lambda: rig.pump.counters()["connections_open"] == 1, "all but the tunnel have ended")


def test_a_pump_that_stops_lets_everybody_go(make: Maker, listening: socket.socket) -> None:
    with make(web=web(listening)) as rig:
        client = rig.connect(rig.listen())
        client.send_bytes(REQUEST)
        backend = accept(listening)
        exactly(backend, len(REQUEST))
        fill(backend)
        rig.pump.close()
        with contextlib.suppress(ConnectionResetError):
            assert to_the_end(backend) == b""
        backend.close()
        assert rig.closed(client) is CloseReason.SHUTDOWN
