# SPDX-License-Identifier: Apache-2.0
"""How answers of the admin API look to a person: tables out of JSON, and nothing that asks anybody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eseg.findings import Check
from eseg.ranges import port_text
from tpkt.daemon.console import human_bytes, human_seconds, print_table
from tpkt.errors import CloseReason

Json = Mapping[str, Any]


def status(answer: Json) -> None:
    """Show the answer of GET /status."""
    charon, link, pump = answer["charon"], answer["link"], answer["pump"]
    well = "well" if answer["healthy"] else "NOT WELL"
    since = f"{charon['health']} for {human_seconds(charon['since_seconds'])}"
    rows = [
        ("version", f"{answer['version']}, pid {answer['pid']}"),
        ("configuration", f"{answer['config']} ({answer['config_hash']})"),
        ("listeners", ", ".join(port_text(item["address"], item["port"]) for item in answer["listeners"])),
        (
            "link",
            f"{link['device']} {'works' if link['works'] else 'DOES NOT WORK'}, {', '.join(link['pools'])}",
        ),
        *(("", trouble) for trouble in link["troubles"]),
        ("charon", f"{since} ({charon['mode']}, {charon['version']}, restarts: {charon['restarts']})"),
        *([("", charon["reason"])] if charon["reason"] else []),
        *_tls(answer["tls"]),
        ("ESP", f"{charon['esp']}: {charon['esp_reason']}"),
        (
            "IKE_SAs",
            _count(charon["ike_sas"], "not known"),
            f", half open: {_count(charon['half_open'], '–')}",
        ),
        (
            "connections",
            f"{pump['connections']} open on {pump['workers']} workers, {pump['accepted']} accepted",
        ),
        (
            "unproven",
            f"{pump['half_identified']} have not told their protocol, "
            f"{pump['ike_half_open']} wait for charon's first answer",
        ),
        ("access", f"{pump['rules']} prefixes allowed or denied, {pump['bans']} banned"),
        *_http(answer["http"]),
    ]
    print_table(
        ("gateway", f"{answer['instance']}: {well}, up {human_seconds(answer['uptime_seconds'])}"),
        [(row[0], "".join(str(part) for part in row[1:])) for row in rows],
    )
    closed = [(name, count, CloseReason(name).sentence) for name, count in pump["closed"].items()]
    closed += [
        (name, count, "closed for want of an IKE_SA") for name, count in answer["deadlines"].items() if count
    ]
    _counted("Connections closed", ("reason", "count", "that is"), closed)
    _counted("Datagrams lost", ("cause", "count"), pump["dropped"].items())
    _counted("Had to wait for their stream", ("class", "count"), pump["waited"].items())
    _counted("Recognised", ("protocol", "count"), pump["identified"].items())


def _tls(tls: Json | None) -> Iterable[tuple[str, str]]:
    if tls is None:
        return
    tickets = f"{tls['resumed']} by ticket" if tls["tickets"] else "tickets off"
    yield "TLS", f"{tls['minimum']} or later, {tls['open']} open, {tls['established']} handshakes, {tickets}"
    for one in tls["certificates"]:
        yield "", f"{', '.join(one['names']) or 'no name'} until {one['not_after'][:10]}"
    yield "", f"kernel TLS: {'yes' if tls['kernel'] else 'no'}, {tls['kernel_reason']}"


def _http(http: Json) -> Iterable[Sequence[object]]:
    if http["backend"] is None:
        return
    by = ", told who by PROXY headers" if http["proxy_protocol"] else ""
    yield "web clients", f"{http['open']} open to {http['backend']}{by}, {http['failed']} failed"
    carried = human_bytes(http["bytes_to_backend"]), human_bytes(http["bytes_to_client"])
    yield "", f"{carried[0]} to it, {carried[1]} to clients"


def _counted(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    rows = list(rows)
    if rows:
        print_table(columns, rows, title=title)


def sessions(answer: Json) -> None:
    """Show the answer of GET /sessions; two lines for each, so that it fits a terminal of 80 columns."""
    columns = ("client", "by", "inner, flow", "up, down", "IKE_SA")
    print_table(columns, [_session(session) for session in answer["sessions"]], title="Sessions")
    if answer["problem"]:
        print(f"IKE_SAs cannot be shown: {answer['problem']}")


def _session(session: Json) -> Sequence[object]:
    stream, ike, children = session["connection"], session["ike"], session["children"]
    seconds = ike["established_seconds"] if ike else None
    if seconds is None and stream:
        seconds = stream["connected_seconds"]
    client = port_text(session["client"], session["client_port"]) if session["client"] else "–"
    up, down = (sum(child[f"bytes_{way}"] for child in children) for way in ("in", "out"))
    return (
        "\n".join([client, (ike["eap_id"] or ike["remote_id"]) if ike else _nobody(stream)]),
        "\n".join(
            [
                f"{session['protocol']}{' in TLS' if stream and stream['tls'] else ''}",
                "" if seconds is None else human_seconds(seconds),
            ]
        ),
        "\n".join([*(session["inner"] or ("–",)), session["flow"] or ""]),
        f"{human_bytes(up)}\n{human_bytes(down)}",
        f"#{ike['unique_id']}\n{ike['state'].lower()}" if ike else None,
    )


def bans(answer: Json) -> None:
    """Show the answer of GET /bans."""
    rows = [
        (
            ban["prefix"],
            human_seconds(ban["left_seconds"]),
            ban["refused"],
            "by hand" if ban["by_hand"] else CloseReason(ban["reason"]).sentence,
        )
        for ban in answer["bans"]
    ]
    print_table(("prefix", "left", "refused", "for"), rows, title=f"Bans: {answer['count']}")


def _nobody(stream: Json | None) -> str:
    return "a web client" if stream and stream["state"] == "relaying" else "nobody yet"


def checks(found: Iterable[Check]) -> None:
    """Show what the doctor found."""
    print_table(
        ("", "what", "found", "cure"),
        [(check.result, check.name, check.found, check.cure or None) for check in found],
    )


def _count(value: int | None, unknown: str) -> str:
    return unknown if value is None else str(value)
