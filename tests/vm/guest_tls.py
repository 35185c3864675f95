# SPDX-License-Identifier: Apache-2.0
"""TLS whose established connections the kernel encrypts (kTLS), on a kernel that has it."""

from __future__ import annotations

import dataclasses
import ssl
from pathlib import Path

import pytest

from eseg import tls
from tests.tpkt.pump.rig import Network, Rig, esp, ike
from tests.tpkt.pump.tls import Pki, connect

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def test_this_kernel_can() -> None:
    assert tls.kernel("auto").can, tls.kernel("auto").why


@pytest.mark.parametrize(("version", "receives"), [(V12, True), (V13, False)], ids=["1.2", "1.3"])
def test_the_kernel_encrypts_and_nobody_notices(
    tmp_path: Path, version: ssl.TLSVersion, receives: bool
) -> None:
    pki = Pki(tmp_path / "pki")
    with (
        Network() as network,
        network.gateway_link() as link,
        Rig(network, link.namespace, "gateway", queue_bytes=65536, ike_seconds=0) as rig,
    ):
        rig.pump.serve_tls(dataclasses.replace(pki.server, ktls=True))
        port, charon = rig.listen(), rig.charon()
        peer = connect(rig, port, pki.context(minimum_version=version, maximum_version=version))
        peer.send(ike(300))
        flow = charon.recvfrom(1 << 16)[1]
        for number, size in enumerate((65507, 8, 16384, 1400), 1):
            peer.send(esp(size, number))
            assert charon.recv(1 << 16) == esp(size, number)
            charon.sendto(esp(size, number), flow)
            assert peer.receive() == esp(size, number)
        (info,) = rig.pump.connections()
        assert info.tls is not None
        assert (info.tls.kernel_send, info.tls.kernel_receive) == (True, receives)
        # A reader that stalls: what waits is given again, and IKE is never lost.
        sent = 0
        while rig.pump.connections()[0].dropped == 0:
            sent += 1
            charon.sendto(esp(1400, sent), flow)
        charon.sendto(ike(200, spi_r=7), flow)
        while (got := peer.receive()) != ike(200, spi_r=7):
            assert got == esp(1400, int.from_bytes(got[4:8]))
