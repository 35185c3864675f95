# SPDX-License-Identifier: Apache-2.0
"""One port for IKE and the web: haproxy on both sides of the gateway, and a real web server.

    ue ──────────────── host ──────────────── gw
    172.31.0.2          haproxy, :80 (v1)     eseg, :80 ── PROXY v2 ── haproxy, 127.0.0.1:8081 ── http.server
    a charon or curl    and :81 (v2)          with `proxy_protocol_from` = host

haproxy reads what we write and we read what it writes: neither knows the other's code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.eseg.ground import HOST, Client, Ground
from tests.lab.netns import Namespace, veth
from tests.lab.ping import ping
from tests.lab.rfc9329 import IKE_PORT, NAT_PORT, PREFIX, Carrier
from tests.lab.topology import GW, GW_CORE
from tests.lab.wait import until

pytestmark = [pytest.mark.root, pytest.mark.charon, pytest.mark.timeout(120)]
UE, BALANCER = "172.31.0.2", "172.31.0.1"
PORTS = {"v1": 80, "v2": 81}
WEB_PORT, FRONT_PORT = 8080, 8081
FILE = hashlib.shake_128(b"a file").digest(3_000_000)
DEFAULTS = """
defaults
    timeout connect 5s
    timeout client 60s
    timeout server 60s
"""
BALANCING = f"""
listen one
    mode tcp
    bind {BALANCER}:{PORTS["v1"]}
    server gw {GW}:80 send-proxy
listen two
    mode tcp
    bind {BALANCER}:{PORTS["v2"]}
    server gw {GW}:80 send-proxy-v2
"""
WEB_FRONT = f"""
frontend web
    mode http
    bind 127.0.0.1:{FRONT_PORT} accept-proxy
    acl who path /who
    http-request return status 200 content-type text/plain lf-string "%[src] %[dst] %[dst_port]" if who
    default_backend files
backend files
    mode http
    server files 127.0.0.1:{WEB_PORT}
"""


class Web:
    """The UE's side, the balancer, and the web server behind the gateway."""

    def __init__(self, ground: Ground, stack: contextlib.ExitStack) -> None:
        self.ground, self._stack = ground, stack
        self.ue, self.box = Namespace(f"{ground.prefix}-ue"), Namespace(f"{ground.prefix}-box")
        veth(self.ue, "eth0", ground.host, "ue0")
        veth(self.ue, "box0", self.box, "eth0")
        self.ue.ip(f"addr add {UE}/24 dev eth0", f"route add default via {BALANCER}")
        ground.host.ip(f"addr add {BALANCER}/24 dev ue0")
        ground.host.sysctl("net.ipv4.ip_forward", 1)
        ground.gw.ip(f"route add 172.31.0.0/24 via {HOST}")
        # The charon's namespace is box, and ue takes what it sends to the gateway's address.
        self.ue.ip("addr add 172.30.0.1/24 dev box0")
        self.box.ip("addr add 172.30.0.2/24 dev eth0", "route add default via 172.30.0.1")
        self.haproxy(ground.host, "balancing", BALANCING, BALANCER, PORTS["v2"])
        self.front = self.haproxy(ground.gw, "front", WEB_FRONT, "127.0.0.1", FRONT_PORT)
        files = ground.directory / "files"
        files.mkdir()
        (files / "file").write_bytes(FILE)
        argv = [sys.executable, "-m", "http.server", str(WEB_PORT), "--bind", "127.0.0.1"]
        self._start(ground.gw, [*argv, "--directory", str(files)], "127.0.0.1", WEB_PORT)

    def haproxy(
        self, namespace: Namespace, name: str, text: str, address: str, port: int
    ) -> subprocess.Popen[bytes]:
        path = self.ground.directory / f"{name}.cfg"
        path.write_text(DEFAULTS + text)
        return self._start(namespace, ["haproxy", "-db", "-f", str(path)], address, port)

    def _start(
        self, namespace: Namespace, argv: list[str], address: str, port: int
    ) -> subprocess.Popen[bytes]:
        process = namespace.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._stack.callback(namespace.stop, process)

        def listens() -> bool:
            assert process.poll() is None, f"{argv} has ended with {process.returncode}"
            with namespace.socket() as sock:
                return sock.connect_ex((address, port)) == 0

        until(listens, 20, f"{argv[0]} listens on {port}")
        return process

    def curl(self, *words: str) -> bytes:
        done = subprocess.run(
            ["nsenter", f"--net={self.ue.path}", "curl", "-sS", "-m", "20", *words],
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done
        return done.stdout

    def carrier(self, port: int) -> Carrier:
        udp = []
        for number in (IKE_PORT, NAT_PORT):
            sock = self.ue.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((GW, number))
            udp.append(sock)
        tcp = self.ue.socket()
        tcp.settimeout(10)
        tcp.connect((BALANCER, port))
        return Carrier(udp, tcp, (PREFIX,))


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Ground(tmp_path_factory.mktemp("sharing")) as ground, contextlib.ExitStack() as stack:
        backend = f'[http]\nbackend = "127.0.0.1:{FRONT_PORT}"\nproxy_protocol = true\n\n[gateway]'
        believed = f'address = "{GW}", proxy_protocol_from = ["{HOST}"],'
        ground.configure(("[gateway]", backend), (f'address = "{GW}",', believed))
        ground.gateway.start()
        yield Web(ground, stack)


def closed(web: Web, reason: str) -> int:
    return web.ground.gateway.closed()[reason]


def http(web: Web) -> dict[str, Any]:
    answer: dict[str, Any] = web.ground.gateway.status()["http"]
    return answer


@pytest.mark.parametrize("version", PORTS)
def test_a_tunnel_through_a_balancer_is_shown_under_the_clients_own_address(web: Web, version: str) -> None:
    # What the charon sends to the gateway's address is taken here, not forwarded.
    web.ue.ip(f"addr add {GW}/32 dev lo")
    try:
        with web.ground.charon(web.box, "client") as charon, web.carrier(PORTS[version]):
            sa = Client(web.ground, charon).connect()
            assert ping(web.box, GW_CORE, source=sa.local_vips[0]).received == 5
            (shown,) = [one for one in web.ground.gateway.sessions() if one["ike"]]
            assert (shown["protocol"], shown["client"]) == ("rfc9329", UE)
            status = web.ground.gateway.command("sessions").stdout
            assert UE in status
            assert HOST not in status
    finally:
        web.ue.ip(f"addr del {GW}/32 dev lo")


@pytest.mark.parametrize("version", PORTS)
def test_a_web_client_through_a_balancer_is_known_to_the_web_server(web: Web, version: str) -> None:
    answer = web.curl(f"http://{BALANCER}:{PORTS[version]}/who").decode().split()
    assert answer == [UE, GW, "80"]  # the address that the balancer connected to is ours to tell


def test_a_web_client_of_its_own_is_known_to_the_web_server(web: Web) -> None:
    assert web.curl(f"http://{GW}/who").decode().split() == [UE, GW, "80"]


@pytest.mark.parametrize("where", [GW, BALANCER])
def test_files_of_a_real_web_server_arrive_whole(web: Web, where: str) -> None:
    before, relayed = http(web), closed(web, "http_relayed")
    assert web.curl(f"http://{where}/file", f"http://{where}/file") == FILE + FILE
    assert web.curl("--http1.0", f"http://{where}/file") == FILE
    assert web.curl("-o", "/dev/null", "-w", "%{http_code}", f"http://{where}/none") == b"404"
    until(lambda: closed(web, "http_relayed") >= relayed + 3, 5, "they are counted")
    assert http(web)["bytes_to_client"] - before["bytes_to_client"] > 3 * len(FILE)
    until(lambda: http(web)["open"] == 0, 5, "none is left")


def test_every_method_comes_to_the_web_server(web: Web) -> None:
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "PROPFIND"):
        code = web.curl("-o", "/dev/null", "-w", "%{http_code}", "-X", method, f"http://{GW}/file")
        assert code in (b"501", b"405"), (method, code)  # http.server's and haproxy's own words


def test_the_balancer_itself_must_say_for_whom_it_speaks(web: Web) -> None:
    counted = closed(web, "no_proxy_header")
    with web.ground.host.socket() as sock:
        sock.settimeout(10)
        sock.connect((GW, 80))
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    until(lambda: closed(web, "no_proxy_header") == counted + 1, 5, "it is counted")


def test_nobody_else_is_believed(web: Web) -> None:
    counted = closed(web, "unknown_protocol")
    with web.ue.socket() as sock:
        sock.settimeout(10)
        sock.connect((GW, 80))
        sock.sendall(b"PROXY TCP4 10.0.0.1 10.0.0.2 1 80\r\nGET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    until(lambda: closed(web, "unknown_protocol") == counted + 1, 5, "it is counted")


def test_a_web_server_that_is_down_is_told_to_clients_and_operators(web: Web) -> None:
    def backend() -> str:
        checks = json.loads(web.ground.gateway.command("doctor", "--json").stdout)["checks"]
        return str(next(check["result"] for check in checks if check["name"] == "web backend"))

    assert backend() == "ok"
    failed = http(web)["failed"]
    web.ground.gw.stop(web.front)
    try:
        code = web.curl("-o", "/dev/null", "-w", "%{http_code}", f"http://{GW}/file")
        assert code == b"502"
        assert http(web)["failed"] == failed + 1
        assert backend() == "warn"
    finally:
        web.front = web.haproxy(web.ground.gw, "front", WEB_FRONT, "127.0.0.1", FRONT_PORT)
    assert web.curl(f"http://{GW}/file") == FILE
