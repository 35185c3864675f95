# SPDX-License-Identifier: Apache-2.0
"""The command `tc-client`: runs the client, asks one that runs, and looks at a network without either.

Exit status: 0 it holds; 1 it does not hold (the tunnel is down, no way passes); 2 it could not be asked or
done.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from tc_client import display, loader, validate
from tc_client.config import DEFAULT_PATH
from tc_client.daemon import EXPECTED, TunnellingClient, require_privileges
from tc_client.netcheck import SECONDS, examine
from tc_client.rungs import RungError
from tpkt.daemon import api, console, logs, options
from tpkt.daemon.configfile import ConfigError
from tpkt.pump import congestion

POLL_SECONDS = 0.1
UP_SECONDS = 30.0
DOWN_SECONDS = 20.0


_config = options.config(DEFAULT_PATH, "The client's configuration.")
_json = options.as_json


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trikesec", prog_name="tc-client")
def main() -> None:
    """Bring IKEv2 and ESP to a security gateway, through firewalls that stop them."""


@main.command()
@_config
@click.option("--verbose", "-v", is_flag=True, help="Log every step of the ladder and every event.")
def run(path: Path, verbose: bool) -> None:
    """Run the client until SIGTERM."""
    logs.to_stderr(verbose=verbose)
    try:
        # First: without it half of what follows cannot be read, and that would be a misleading thing to say.
        require_privileges()
        asyncio.run(TunnellingClient(loader.load(path.absolute())).run())
    except EXPECTED as error:
        console.fail(error)


@main.command()
@_config
@_json
def check(path: Path, as_json: bool) -> None:
    """Check the configuration, and the key and certificates that it names."""
    path = path.absolute()
    try:
        loaded = loader.load(path)
        problem = congestion.choose(loaded.config.link.congestion)[1]
        warnings = [*map(str, loaded.material.warnings), *([problem] if problem else [])]
    except ConfigError as error:
        if as_json:
            console.print_json({"ok": False, "error": str(error), "warnings": []})
            raise SystemExit(console.EXIT_ERROR) from None
        console.fail(error)
    if as_json:
        console.print_json({"ok": True, "error": None, "warnings": warnings})
        return
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{path}: fit for use")


@main.command()
@_config
@_json
@click.option("--seconds", default=UP_SECONDS, show_default=True, help="How long to wait for the tunnel.")
@click.option("--no-wait", is_flag=True, help="Only ask for it; do not wait.")
def up(path: Path, as_json: bool, seconds: float, no_wait: bool) -> None:
    """Bring the tunnel up, and say which way it took. Exit status 1: it did not come up."""
    admin = _admin(path)
    _ask(admin, "POST /up")
    if no_wait:
        return
    answer = _wait_until_up(admin, seconds, quiet=as_json)
    if as_json:
        console.print_json(answer)
    else:
        click.echo(display.headline(answer))
    if answer["rung"] is None:
        raise SystemExit(console.EXIT_DOWN)


def _wait_until_up(admin: Path, seconds: float, *, quiet: bool) -> dict[str, Any]:
    """Ask until the tunnel stands, a round was given up, or time is over; tell on the way what is tried."""
    end = time.monotonic() + seconds
    screen = Console(stderr=True, quiet=quiet)
    told: set[str] = set()
    with screen.status("asking the client") as line:
        while True:
            answer = _ask(admin, "GET /status")
            for rung in answer["rungs"]:
                if rung["reason"] and rung["reason"] not in told:
                    told.add(rung["reason"])
                    screen.print(f"✗ {rung['reason']}", highlight=False, markup=False)
            if answer["state"] in ("up", "idle") or time.monotonic() > end:
                return answer
            if answer["state"] == "waiting":
                return answer
            line.update(f"{answer['state']}: {answer['why']}")
            time.sleep(POLL_SECONDS)


@main.command()
@_config
@_json
def down(path: Path, as_json: bool) -> None:
    """Take the tunnel down; the client stays."""
    answer = _ask(_admin(path), "POST /down", seconds=DOWN_SECONDS)
    console.print_json(answer) if as_json else click.echo("the tunnel is down")


@main.command()
@_config
@_json
def status(path: Path, as_json: bool) -> None:
    """Show which way carries the tunnel, since when and why; then everything else. Exit status 1: none."""
    answer = _ask(_admin(path), "GET /status")
    console.print_json(answer) if as_json else display.status(answer)
    if answer["rung"] is None:
        raise SystemExit(console.EXIT_DOWN)


@main.command()
@_config
@_json
@click.option("--gateway", help="Address or name of a gateway; without it, the configured one.")
@click.option(
    "--port", "ports", type=click.IntRange(1, 65535), multiple=True, help="TCP port; again for more."
)
@click.option("--seconds", default=SECONDS, show_default=True, help="How long each way is asked.")
def netcheck(path: Path, as_json: bool, gateway: str | None, ports: tuple[int, ...], seconds: float) -> None:
    """Ask every way to the gateway; needs neither root nor an account. Exit status 1: none passes."""
    tcp_ports = ports or (80,)
    try:
        if gateway is None:
            configured = loader.load_public(path.absolute()).gateway
            gateway, tcp_ports = configured.address, ports or configured.tcp_ports
        for key, problem, cure in validate.address_problems("--gateway", gateway):
            console.fail(f"{key}: {problem}; {cure}")
        found = asyncio.run(examine(gateway, tcp_ports, seconds))
    except (ConfigError, RungError) as error:
        console.fail(error)
    console.print_json(found) if as_json else display.netcheck(found)
    if not any(one.verdict.usable for one in found):
        raise SystemExit(console.EXIT_DOWN)


def _admin(path: Path) -> Path:
    """The admin socket of the client that runs with the configuration at `path`."""
    try:
        return loader.read(path.absolute()).client.socket
    except ConfigError as error:
        console.fail(error)


def _ask(admin: Path, route: str, seconds: float = 10.0) -> dict[str, Any]:
    try:
        answer = asyncio.run(api.call(admin, route, seconds=seconds))
    except api.ApiError as error:
        console.fail(error)
    return dict(answer)
