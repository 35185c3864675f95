# SPDX-License-Identifier: Apache-2.0
"""The product at work, told as it happens: a UE behind a firewall that drops UDP reaches the core network.

    python -m tests.lab.demo [--keep]

Writes build/demo/report.json and ends with a table; exit status 0 only when everything in it held. The
story knows the lab and what must be seen in it; how the daemons do it is theirs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from types import FrameType

import msgspec
from rich.console import Console
from rich.table import Table

from tests.lab import report as reports
from tests.lab import services
from tests.lab.call import Call
from tests.lab.client import Client, Tried
from tests.lab.daemons import DaemonEnded
from tests.lab.iketap import IkeTap
from tests.lab.lab import Lab, remove_lasting
from tests.lab.narrator import Narrator
from tests.lab.ping import ping
from tests.lab.topology import CORE, UE
from tests.lab.voice import REPOSITORY
from tests.lab.wait import until
from tpkt.daemon.console import human_bytes

REPORT = REPOSITORY / "build" / "demo" / "report.json"
DEADLINE_SECONDS = 90
DOWNLOAD = 16 * 1024 * 1024
PINGS = 10
CALL_SECONDS = 10.0
LONG_CALL_SECONDS = 14.0  # in the middle of it UDP is unblocked
LOG_LINES = 100_000
REPROBE_SECONDS = 3.0  # a client in the field asks less often whether UDP works again
ATTEMPT_SECONDS = 20.0
INTERRUPTED = 130


class Deadline(Exception):
    """The demo took longer than it may."""


class Story:
    """The steps in their order, and what each of them saw."""

    def __init__(self, lab: Lab, narrator: Narrator, tap: IkeTap) -> None:
        """Tell of `lab`, whose gateway runs; `tap` listens to IKE there."""
        self._lab, self._narrator, self._tap = lab, narrator, tap
        self._ue = lab.topology.ue
        self.client: Client = lab.client(udp_reprobe_seconds=REPROBE_SECONDS)
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
            found.append(f"{udp.result} after {udp.seconds:.1f} s")
        with self._narrator.doing("TCP 80, IKEv2 in frames, an inner address, ESP both ways") as found:
            tcp = until(lambda: client.tried("tcp"), ATTEMPT_SECONDS, "the tunnel stands on TCP")
            client.until_up("tcp")
            self.first_esp_seconds = time.monotonic() - begin
            self._tried = client.rungs_tried()  # now: UDP is asked again in the background
            found.append(f"{tcp.result} after {tcp.seconds:.1f} s")

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
            self._narrator.doing("a call goes on, UDP is unblocked", seconds=LONG_CALL_SECONDS) as found,
            Call(self._ue, CORE, LONG_CALL_SECONDS, source=inner) as call,
        ):
            call.until_up()
            self._lab.firewall.allow_udp()
            unblocked = time.monotonic()
            with contextlib.suppress(TimeoutError):
                client.until_up("udp", LONG_CALL_SECONDS - 3)
                found.append(f"on UDP after {time.monotonic() - unblocked:.1f} s")
            heard = call.report()
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


def table(verdicts: list[reports.Verdict]) -> Table:
    """Show what was seen beside what was wanted."""
    rows = Table("", "what", "seen", "wanted", title="TrIKESec through a firewall", title_justify="left")
    for verdict in verdicts:
        mark = "[green]✓[/]" if verdict.held else "[red]✗[/]"
        rows.add_row(mark, verdict.what, verdict.seen, verdict.wanted)
    return rows


def save_logs(lab: Lab) -> None:
    """Put the daemons' logs beside the report: the lab's own files go with it."""
    for name, text in lab.logs(lines=LOG_LINES).items():
        (REPORT.parent / name.replace("/", "-")).write_text(text + "\n")


def look_around(lab: Lab, client: Client, console: Console) -> None:
    """Print how to look at a lab that stays up."""
    ue, fw, gw = (f"nsenter --net={lab.topology.namespaces[place].path}" for place in (0, 1, 3))
    console.print(
        f"\nThe lab stays up, its files are in {lab.directory}. Look around:\n"
        f"  {ue} {' '.join(client.show('status'))}\n"
        f"  {gw} {' '.join(lab.gateway.show('sessions'))}\n"
        f"  {ue} ping {CORE}\n"
        f"  {gw} tcpdump -ni eseg0            # each client's IKE and ESP under its flow address\n"
        f"  {fw} nft list ruleset\n"
        f"Remove it:\n  {sys.executable} -m tests.lab.demo --down\n",
        highlight=False,
        soft_wrap=True,
    )


def demonstrate(narrator: Narrator, *, keep: bool) -> bool:
    """Build the lab, tell the story, write the report; tell whether everything held."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with narrator.doing("a lab: ue — firewall — internet — gw — core, a PKI, a gateway"):
            lab = stack.enter_context(Lab(lasting=keep))
            tap = stack.enter_context(IkeTap(lab.topology.gw))
        lab.firewall.drop_udp()
        narrator.say("  the firewall drops all UDP")
        stack.callback(save_logs, lab)
        story = Story(lab, narrator, tap)
        report = story.tell()
        REPORT.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
        verdicts = reports.verdicts(report, download_size=DOWNLOAD, first_esp_seconds=story.first_esp_seconds)
        narrator.console.print(table(verdicts))
        if keep:
            lab.keep()
            look_around(lab, story.client, narrator.console)
    narrator.console.print(
        f"{narrator.seconds:.0f} s; report and logs in {REPORT.parent.relative_to(REPOSITORY)}/"
    )
    return all(verdict.held for verdict in verdicts)


def main() -> None:
    """Run the demo within its deadline; Ctrl-C and the deadline both clean up."""
    parser = argparse.ArgumentParser(description="the product at work, behind a real firewall")
    parser.add_argument("--keep", action="store_true", help="leave the lab up and say how to look around")
    parser.add_argument("--down", action="store_true", help="remove a lab that was left up")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("the lab is made of network namespaces: run this as root")
    if arguments.down:
        remove_lasting()
        return
    # In a file or a pipe the table is as wide as it wants to be.
    narrator = Narrator(Console(width=None if sys.stdout.isatty() else 120))
    signal.signal(signal.SIGALRM, _too_late)
    signal.signal(signal.SIGTERM, _interrupted)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE_SECONDS)
    try:
        held = demonstrate(narrator, keep=arguments.keep)
    except KeyboardInterrupt:
        narrator.say("interrupted; the lab is removed")
        sys.exit(INTERRUPTED)
    except (Deadline, TimeoutError, DaemonEnded) as error:
        narrator.say(f"[red]{error}[/]")
        sys.exit(1)
    sys.exit(0 if held else 1)


def _too_late(_: int, __: FrameType | None) -> None:
    raise Deadline(f"not done within {DEADLINE_SECONDS} s")


def _interrupted(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
