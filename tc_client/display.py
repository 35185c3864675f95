# SPDX-License-Identifier: Apache-2.0
"""Shows answers of the admin API and of netcheck to a person. Decides nothing, asks nobody."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from tc_client.netcheck import Netcheck
from tpkt.daemon import console

CHANGES_SHOWN = 8


def headline(status: dict[str, Any]) -> str:
    """Say in one line where the tunnel stands, and why."""
    rung = status["rung"]
    if rung is not None:
        since = console.human_seconds(rung["seconds"])
        doing = "" if status["state"] == "up" else f", {status['state']}"
        return f"{title(rung)} carries the tunnel since {since}{doing}: {rung['why']}"
    waits = status["next_try_seconds"]
    then = f"; next try in {max(0, waits):.0f} s" if waits is not None else ""
    return f"{status['state']}: {status['why']}{then}"


def title(rung: dict[str, Any]) -> str:
    """Name a rung as people do: UDP 4500, TCP 80."""
    return f"{str(rung['transport']).upper()} {rung['port']}"


def status(answer: dict[str, Any]) -> None:
    """Show the whole status: first which rung, since when and why."""
    click.echo(headline(answer))
    for problem in answer["problems"]:
        click.echo(f"problem: {problem}")
    console.print_table(("", ""), _facts(answer))
    console.print_table(
        ("way", "result", "took", "reason"),
        [
            (title(rung), rung["result"], _seconds(rung["seconds"]), rung["reason"])
            for rung in answer["rungs"]
        ],
        title="Ways to the gateway",
    )
    console.print_table(
        ("at", "way", "what", "reason"),
        [
            console.pick(change, "at", "rung", "what", "reason")
            for change in answer["changes"][:CHANGES_SHOWN]
        ],
        title="Last changes",
    )


def _facts(answer: dict[str, Any]) -> list[tuple[str, object]]:
    gateway, ike, child, charon = (answer[key] for key in ("gateway", "ike_sa", "child_sa", "charon"))
    facts: list[tuple[str, object]] = [
        ("gateway", f"{gateway['name']} ({gateway['address'] or 'no address'})")
    ]
    if gateway["way"]:
        facts.append(("way out", gateway["way"]))
    if ike:
        facts += [
            ("IKE_SA", f"{ike['spi_i']}_i {ike['spi_r']}_r, {ike['local_id']} ⇄ {ike['remote_id']}"),
            ("inner address", ", ".join(answer["inner_addresses"])),
        ]
    if child:
        facts += [
            ("networks", ", ".join(child["remote_ts"])),
            ("sent", f"{console.human_bytes(child['bytes_out'])} in {child['packets_out']} packets"),
            ("received", f"{console.human_bytes(child['bytes_in'])} in {child['packets_in']} packets"),
        ]
    for key, name in (("dns", "DNS"), ("p_cscf", "P-CSCF")):
        if answer["assigned"][key]:
            facts.append((name, ", ".join(answer["assigned"][key])))
    connection = answer["connection"]
    if connection:
        ends = f"{_end(connection['local'])} → {_end(connection['remote'])}"
        facts.append(("connection", f"{ends}, congestion control {answer['congestion']}"))
    well = charon["health"] if charon["health"] == "up" else f"{charon['health']}: {charon['reason']}"
    facts.append(("charon", f"{well}, {charon['mode']}, ESP by {charon['esp']}"))
    return facts


def _end(address: list[Any]) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} s"


def netcheck(found: list[Netcheck]) -> None:
    """Show each address's checks, the firewall they point to, and the advice."""
    for one in found:
        console.print_table(
            ("way", "result", "RTT", "what was met"),
            [
                (
                    check.name,
                    "passes" if check.passes else "blocked",
                    None if check.rtt is None else f"{check.rtt * 1000:.0f} ms",
                    check.answer if check.passes else str(check.failure),
                )
                for check in one.checks
            ],
            title=f"{one.gateway} ({one.address}), by {one.way or 'no way'}",
        )
        Console(highlight=False, soft_wrap=True).print(
            f"Firewall: {one.verdict.firewall}\nAdvice:   {one.verdict.advice}"
        )
