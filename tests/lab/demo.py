# SPDX-License-Identifier: Apache-2.0
"""`make demo`: a UE behind a firewall that drops UDP reaches the core network.

    python -m tests.lab.demo [--keep]

Builds the lab, lives through the story (tests.lab.story), writes build/demo/report.json with the logs beside
it, and ends with a table; exit status 0 only when everything in it held. Ctrl-C and the deadline clean up.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from types import FrameType

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.lab import report as reports
from tests.lab.client import Client
from tests.lab.daemons import DaemonEnded
from tests.lab.iketap import IkeTap
from tests.lab.lab import Lab, remove_lasting
from tests.lab.narrator import Narrator
from tests.lab.story import DOWNLOAD, Story
from tests.lab.topology import CORE
from tests.lab.voice import REPOSITORY
from tpkt.daemon.api import ApiError

REPORT = REPOSITORY / "build" / "demo" / "report.json"
DEADLINE_SECONDS = 90
LOG_LINES = 100_000
INTERRUPTED = 130


class Deadline(Exception):
    """The demo took longer than it may."""


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
        f"Block UDP again and watch the SA go back to TCP, then let it pass:\n"
        f"  {fw} nft add rule inet lab forward meta l4proto udp drop\n"
        f"  {fw} nft flush chain inet lab forward\n"
        f"Remove it:\n  {sys.executable} -m tests.lab.demo --down\n",
        highlight=False,
        soft_wrap=True,
    )


def demonstrate(narrator: Narrator, *, keep: bool) -> bool:
    """Build the lab, tell the story, write the report; tell whether everything held."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.unlink(missing_ok=True)  # of an earlier run
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
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it else
    signal.signal(signal.SIGALRM, _too_late)
    signal.signal(signal.SIGTERM, _interrupted)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE_SECONDS)
    try:
        held = demonstrate(narrator, keep=arguments.keep)
    except KeyboardInterrupt:
        narrator.say("interrupted; the lab is removed")
        sys.exit(INTERRUPTED)
    except (Deadline, TimeoutError, DaemonEnded, ApiError) as error:
        told = "\n".join([str(error), *getattr(error, "__notes__", ())])
        narrator.say(f"[red]{escape(told)}[/]")
        sys.exit(1)
    sys.exit(0 if held else 1)


def _too_late(_: int, __: FrameType | None) -> None:
    raise Deadline(f"not done within {DEADLINE_SECONDS} s")


def _interrupted(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
