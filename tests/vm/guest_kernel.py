# SPDX-License-Identifier: Apache-2.0
"""The guest is what it claims to be: a stock Debian kernel that does ESP, over files nobody can write to."""

from __future__ import annotations

import errno
import os
import platform
import socket
import subprocess
from pathlib import Path

import pytest

SA = "src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1234"
TCP_ULP = 31  # linux/tcp.h; not in the socket module
KEY = "0x" + "11" * 20


def ip(words: str) -> str:
    return subprocess.run(
        ["ip", *words.split()], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_the_kernel_is_a_stock_debian_one() -> None:
    assert "Debian" in platform.version()
    assert platform.release().endswith("-amd64")


def test_the_host_is_read_only_here() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        (Path(__file__).parent / "written-by-the-guest").touch()


def test_temporary_files_are_the_guests_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    assert tmp_path.stat().st_dev != Path(__file__).stat().st_dev


@pytest.mark.parametrize("encapsulation", ["", "encap espinudp 4500 4500 0.0.0.0"])
def test_the_kernel_takes_an_sa_without_being_told_to_load_anything(encapsulation: str) -> None:
    ip(f"xfrm state add {SA} reqid 1 mode tunnel aead rfc4106(gcm(aes)) {KEY} 128 {encapsulation}")
    try:
        state = ip("xfrm state list")
    finally:
        ip(f"xfrm state delete {SA}")
    assert "spi 0x00001234" in state
    assert ("espinudp" in state) == bool(encapsulation)


def test_this_kernel_has_no_espintcp_which_libreswan_needs() -> None:
    """It puts each TCP connection under the kernel's RFC 9329. When this fails, libreswan can be tested."""
    config = Path(f"/boot/config-{platform.release()}")
    for option in ("CONFIG_INET_ESPINTCP", "CONFIG_INET6_ESPINTCP"):
        if config.exists():
            assert f"# {option} is not set" in config.read_text().splitlines()
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        with pytest.raises(FileNotFoundError):
            client.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"espintcp")
