# SPDX-License-Identifier: Apache-2.0
"""What the demo lives through, step by step, and what each step sees; told as it happens.

The story knows the lab and what must be seen in it; how the daemons do it is theirs.
"""

from __future__ import annotations

import contextlib
import json
import time

from tests.lab import report as reports
from tests.lab import services
from tests.lab.call import Call
from tests.lab.client import Client, Tried
from tests.lab.iketap import IkeTap
from tests.lab.lab import Lab
from tests.lab.narrator import Narrator
from tests.lab.ping import ping
from tests.lab.topology import CORE, UE
from tests.lab.wait import until
from tpkt.daemon.console import human_bytes

ATTEMPT_SECONDS = 20.0
DOWNLOAD = 16 * 1024 * 1024
PINGS = 10
CALL_SECONDS = 10.0
MOVE_SECONDS = 20.0
REPROBE_SECONDS = 3.0  # a client in the field asks less often whether UDP works again
AFTERWARDS = 100  # packets: two seconds of the call that goes on over UDP


class Story:
    """The steps in their order, and what each of them saw."""

    def __init__(self, lab: Lab, narrator: Narrator, tap: IkeTap) -> None:
        """Tell of `lab`, whose gateway runs; `tap` listens to IKE there."""
        self._lab, self._narrator, self._tap = lab, narrator, tap
        self._ue = lab.topology.ue
        self.client: Client = lab.client(
            udp_reprobe_seconds=REPROBE_SECONDS, udp_reprobe_max_seconds=REPROBE_SECONDS
        )
        self.first_esp_seconds = 0.0
        self._tried: list[Tried] = []

    def tell(self) -> reports.Report:
        """Live through all of it."""
        self._climb()
        client = self.client
        inner = client.inner_address()
        self._narrator.say(f"  IKE_SA {client.spis()}; the UE is {inner} inside, {UE} outside")
        pinged = self._ping(inner)
        downloaded = self._download(inner)
        voice = self._call(inner)
        # So far every packet went over TCP; on UDP there is no connection left to ask.
        up, down = client.esp_frames()
        moved = self._move(inner)
        return reports.Report(
            rungs=[reports.Rung(**rung._asdict()) for rung in self._tried],
            inner_address=inner,
            ping=pinged,
            download_bytes=downloaded,
            voice=voice,
            esp_frames=reports.EspFrames(up=up, down=down),
            moved_to_udp=moved,
            esp=client.esp(),
        )

    def _climb(self) -> None:
        client = self.client
        begin = time.monotonic()
        with self._narrator.doing("tc-client starts, with a charon of its own"):
            client.start()
        with self._narrator.doing("UDP 4500, which the firewall drops in silence") as found:
            udp = until(lambda: client.tried("udp"), ATTEMPT_SECONDS, "the UDP rung is given up")
            found.append(reports.fate(udp.result, udp.seconds))
        with self._narrator.doing("TCP 80, IKEv2 in frames, an inner address, ESP both ways") as found:
            tcp = until(lambda: client.tried("tcp"), ATTEMPT_SECONDS, "the tunnel stands on TCP")
            client.until_up("tcp")
            self.first_esp_seconds = time.monotonic() - begin
            self._tried = client.rungs_tried()  # now: UDP is asked again in the background
            found.append(reports.fate(tcp.result, tcp.seconds))

    def _ping(self, inner: str) -> reports.Ping:
        with self._narrator.doing(f"ping {CORE} in the core network") as found:
            pinged = ping(self._ue, CORE, source=inner, count=PINGS)
            found.append(f"{pinged.received} of {pinged.sent}, {pinged.rtt_ms:.2f} ms")
        return reports.Ping(sent=pinged.sent, received=pinged.received)

    def _download(self, inner: str) -> int:
        with self._narrator.doing(f"HTTP download of {human_bytes(DOWNLOAD)}") as found:
            begin = time.monotonic()
            right = services.fetch(self._ue, CORE, DOWNLOAD, source=inner)
            seconds = time.monotonic() - begin
            found.append(f"{right:,} bytes right, {right * 8 / seconds / 1e6:.0f} Mbit/s")
        return right

    def _call(self, inner: str) -> reports.Voice:
        text = f"{CALL_SECONDS:g} s of voice, 50 packets a second both ways"
        with (
            self._narrator.doing(text, seconds=CALL_SECONDS) as found,
            Call(self._ue, CORE, CALL_SECONDS, source=inner) as call,
        ):
            heard = call.report()
            found.append(
                f"{heard.lost} of {heard.sent} lost, one way {heard.p50_ms:.1f} ms, "
                f"p99 {heard.p99_ms:.1f} ms, jitter {heard.jitter_ms:.1f} ms"
            )
        return reports.Voice(
            sent=heard.sent, received=heard.received, p50_ms=heard.p50_ms, p99_ms=heard.p99_ms
        )

    def _move(self, inner: str) -> reports.Moved:
        """Unblock UDP in the middle of a call; see where the SA goes and what the call loses."""
        client = self.client
        before, begin = client.spis(), time.monotonic()
        with (
            self._narrator.doing("UDP is unblocked in the middle of another call") as found,
            Call(self._ue, CORE, MOVE_SECONDS * 2, source=inner) as call,
        ):
            call.until_up()
            self._lab.firewall.allow_udp()
            unblocked = time.monotonic()
            with contextlib.suppress(TimeoutError):
                client.until_up("udp", MOVE_SECONDS)
                found.append(f"on UDP after {time.monotonic() - unblocked:.1f} s")
                client.until_heard(AFTERWARDS)
            heard = call.hang_up()
            found.append(f"{heard.lost} of {heard.sent} packets lost")
            found.append(f"longest gap {heard.longest_gap_ms:.0f} ms")
        arrived = client.rung() == "udp" and self._passes_by_udp(inner)
        # Twice, by different witnesses: the client's own word, and IKE_AUTH seen by the gateway's network.
        fresh = client.spis() != before or bool(self._tap.established(since=begin))
        return reports.Moved(ok=arrived, lost_packets=heard.lost, new_ike_sa=fresh)

    def _passes_by_udp(self, inner: str) -> bool:
        """Tell whether a ping is answered without touching the link, which only the TCP rung uses."""
        before = self._packets_into_link()
        answered = ping(self._ue, CORE, source=inner, count=3).received == 3
        return answered and self._packets_into_link() == before

    def _packets_into_link(self) -> int:
        shown = json.loads(self._ue.run(["ip", "-j", "-s", "link", "show", "dev", "tric0"]).stdout)
        return int(shown[0]["stats64"]["tx"]["packets"])
