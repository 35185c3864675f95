# SPDX-License-Identifier: Apache-2.0
"""What a core network offers: files over HTTP, a UDP reflector for voice. No DNS, no state.

    GET /<n>     n bytes that depend on n and their place, so that a swapped or repeated block is noticed
    UDP 4007     voice packets come back stamped (voice.reflect)

`Services` starts both as processes in a namespace and ends them; each also ends by itself after a time, and
at once when whoever started it dies. As a program this is one of the two.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import http.client
import http.server
import select
import signal
import socket
import socketserver
import subprocess
import sys
from collections.abc import Callable
from typing import Self

from tests.lab import voice
from tests.lab.netns import Namespace

HTTP_PORT = 8080
LIFE_SECONDS = 900.0
LASTING_SECONDS = 86_400.0
START_SECONDS = 20.0
MAX_FILE = 256 * 1024 * 1024
PR_SET_PDEATHSIG = 1


def content(size: int) -> bytes:
    """Give the file of `size` bytes."""
    return hashlib.shake_128(b"file of %d bytes" % size).digest(size)


class _Files(http.server.BaseHTTPRequestHandler):
    timeout = 30.0

    def do_GET(self) -> None:
        """Send the file."""
        name = self.path.removeprefix("/")
        if not name.isdecimal() or int(name) > MAX_FILE:
            self.send_error(404, f"ask for /<number of bytes up to {MAX_FILE}>")
            return
        data = content(int(name))
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's own signature
        """Stay silent: the lab reports what matters."""


class _Server(socketserver.ThreadingTCPServer):
    # http.server.HTTPServer would look up its own name in the DNS when it binds.
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


def serve_http(address: str, port: int) -> None:
    """Serve files for ever."""

    class Server(_Server):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

    with Server((address, port), _Files) as server:
        _ready()
        server.serve_forever()


def serve_voice(address: str, port: int) -> None:
    """Reflect voice for ever."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((address, port))
        _ready()
        voice.reflect(sock)


def _ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def check(sock: socket.socket, host: str, size: int) -> int:
    """Download the file of `size` bytes from `host` over `sock`; give how many bytes are right.

    That is `size`, or the offset of the first byte that is wrong or missing.
    """
    connection = http.client.HTTPConnection(host)
    connection.sock = sock
    try:
        connection.request("GET", f"/{size}")
        got = connection.getresponse().read()
    except http.client.IncompleteRead as error:
        got = error.partial
    finally:
        connection.close()
    wanted = content(size)
    if got == wanted:
        return size
    pairs = zip(got, wanted, strict=False)
    return next((offset for offset, (a, b) in enumerate(pairs) if a != b), min(len(got), size))


def fetch(namespace: Namespace, host: str, size: int, *, source: str = "", seconds: float = 60.0) -> int:
    """Download from inside `namespace`, from the address `source`; give how many bytes are right."""
    sock = namespace.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.settimeout(seconds)
    with sock:
        if source:
            sock.bind((source, 0))
        sock.connect((host, HTTP_PORT))
        return check(sock, host, size)


class Services:
    """Both services at `address` of `namespace`, ready when constructed; a context manager."""

    def __init__(self, namespace: Namespace, address: str, *, lasting: bool = False) -> None:
        """Start them. `lasting` lets them outlive this process, for a lab that is kept up."""
        self._namespace = namespace
        self._processes: list[subprocess.Popen[bytes]] = []
        for role, port in (("http", HTTP_PORT), ("voice", voice.PORT)):
            argv = [sys.executable, "-m", "tests.lab.services", role, address, str(port)]
            argv += ["--lasting"] if lasting else []
            # A reader of our own output would wait for the end of what outlives us.
            stderr = subprocess.DEVNULL if lasting else None
            process = namespace.popen(argv, stdout=subprocess.PIPE, stderr=stderr, cwd=voice.REPOSITORY)
            self._processes.append(process)
        try:
            for process in self._processes:
                _await_ready(process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End both; harmless when done twice."""
        for process in self._processes:
            self._namespace.stop(process)
        self._processes.clear()

    def __enter__(self) -> Self:
        """Give the running services."""
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        self.stop()


def _await_ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    if not readable or process.stdout.readline() != b"ready\n":
        raise RuntimeError(f"{process.args!r} did not start; see its standard error above")


ROLES: dict[str, Callable[[str, int], None]] = {"http": serve_http, "voice": serve_voice}


def main() -> None:
    """Serve one role until the time is up, the parent is gone, or a signal says so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=sorted(ROLES))
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--lasting", action="store_true", help="live for a day, without a parent too")
    arguments = parser.parse_args()
    if not arguments.lasting:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.setitimer(signal.ITIMER_REAL, LASTING_SECONDS if arguments.lasting else LIFE_SECONDS)
    ROLES[arguments.role](arguments.address, arguments.port)


if __name__ == "__main__":
    main()
