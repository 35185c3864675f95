# SPDX-License-Identifier: Apache-2.0
"""The command `eseg`: runs the gateway, and asks one that runs.

Exit status: 0 it holds; 1 it does not hold (a part is down, a check failed); 2 it could not be asked or done.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from eseg import display
from eseg.config import DEFAULT_PATH, Config
from eseg.daemon import EXPECTED, Gateway, GatewayFailed
from eseg.doctor import examine
from eseg.loader import errors, load
from eseg.preflight import require_privileges
from eseg.succession import READY_SECONDS, TAKE_SECONDS, Succession
from tpkt.daemon import api, configfile, console, logs, options

_config = options.config(DEFAULT_PATH, "The gateway's configuration.")
_json = options.as_json


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trikesec", prog_name="eseg")
def main() -> None:
    """Run and ask the security gateway that carries IKEv2 and ESP over TCP."""


@main.command()
@_config
@click.option("--verbose", "-v", is_flag=True, help="Log every connection and every event.")
def run(path: Path, verbose: bool) -> None:
    """Run the gateway until SIGTERM; SIGHUP reloads who may connect."""
    logs.to_stderr(verbose=verbose)
    heir = None
    try:
        heir = Succession.find()
        # First: without it half of what follows cannot be read, and that would be a misleading thing to say.
        require_privileges()
        asyncio.run(Gateway(load(path.absolute()), heir).run())
    except EXPECTED as error:
        if heir is not None:
            heir.fail(error)
        console.fail(error)
    except GatewayFailed as error:
        console.fail(error, console.EXIT_DOWN)


@main.command()
@_config
@_json
def check(path: Path, as_json: bool) -> None:
    """Check the configuration and the keys it names."""
    path = path.absolute()
    wrong = errors(path)
    warnings = [] if wrong else load(path).material.warnings
    if as_json:
        console.print_json({"ok": not wrong, "errors": _texts(wrong), "warnings": _texts(warnings)})
    else:
        for line in _texts(wrong):
            click.echo(f"error: {line}", err=True)
        for line in _texts(warnings):
            click.echo(f"warning: {line}", err=True)
        if not wrong:
            click.echo(f"{path}: fit for use ({load(path).config.fingerprint()})")
    if wrong:
        raise SystemExit(console.EXIT_ERROR)


@main.command()
@_config
@_json
def status(path: Path, as_json: bool) -> None:
    """Show listeners, charon, the link and what the pump counted. Exit status 1: running, but not well."""
    answer = _ask(path, "GET /status")
    console.print_json(answer) if as_json else display.status(answer)
    if not answer["healthy"]:
        raise SystemExit(console.EXIT_DOWN)


@main.command()
@_config
@_json
def sessions(path: Path, as_json: bool) -> None:
    """Show who is connected, from where, by which protocol, and what they carried."""
    answer = _ask(path, "GET /sessions")
    console.print_json(answer) if as_json else display.sessions(answer)
    if answer["problem"]:
        raise SystemExit(console.EXIT_DOWN)


@main.command()
@_config
@_json
def doctor(path: Path, as_json: bool) -> None:
    """Look for what keeps the gateway from working well. Exit status 1: something does."""
    checks = asyncio.run(examine(path.absolute()))
    failed = any(found.result == "fail" for found in checks)
    console.print_json({"ok": not failed, "checks": checks}) if as_json else display.checks(checks)
    if failed:
        raise SystemExit(console.EXIT_DOWN)


@main.command()
@_config
@_json
def reload(path: Path, as_json: bool) -> None:
    """Apply changed connections, pools, users, keys, access and bans to the running gateway; clients stay."""
    answer = _ask(path, "POST /reload")
    if as_json:
        console.print_json(answer)
    else:
        click.echo(f"reloaded, configuration {answer['config_hash']}")


@main.command()
@_config
@_json
def bans(path: Path, as_json: bool) -> None:
    """Show which prefixes are refused, for what, and for how long yet."""
    answer = _ask(path, "GET /bans")
    console.print_json(answer) if as_json else display.bans(answer)


@main.command()
@click.argument("prefix")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="For so long; bans.ban_seconds.")
@click.option("--close", is_flag=True, help="End the connections it has open, too.")
@_config
@_json
def ban(prefix: str, seconds: float | None, close: bool, path: Path, as_json: bool) -> None:
    """Refuse a prefix or an address for a while, until unban, or until the gateway restarts."""
    if seconds is None:
        seconds = _configuration(path).bans.ban_seconds
    answer = _ask(path, "POST /bans", {"prefix": prefix, "seconds": seconds, "close": close})
    if as_json:
        console.print_json(answer)
    else:
        for_long = console.human_seconds(answer["seconds"])
        click.echo(f"banned {answer['prefix']} for {for_long}, closed {answer['closed']} connections")


@main.command()
@click.argument("prefix")
@_config
@_json
def unban(prefix: str, path: Path, as_json: bool) -> None:
    """Let a prefix or an address in again, as `bans` lists it."""
    answer = _ask(path, "POST /bans/lift", {"prefix": prefix})
    console.print_json(answer) if as_json else click.echo(f"lifted the ban of {answer['prefix']}")


@main.command()
@_config
@_json
def upgrade(path: Path, as_json: bool) -> None:
    """Replace the running gateway by one of the code and configuration of now; no connection is lost."""
    answer = _ask(path, "POST /upgrade", seconds=READY_SECONDS + 3 * TAKE_SECONDS)
    if as_json:
        console.print_json(answer)
    else:
        click.echo(f"replaced by process {answer['pid']}; {answer['frozen_ms']:g} ms without traffic")


def _configuration(path: Path) -> Config:
    try:
        return configfile.load(path.absolute(), Config)
    except configfile.ConfigError as error:
        console.fail(error)


def _ask(
    path: Path, route: str, body: dict[str, Any] | None = None, *, seconds: float = 40.0
) -> dict[str, Any]:
    """Ask the running gateway; its socket is where the configuration says."""
    try:
        config = configfile.load(path.absolute(), Config)
        answer = asyncio.run(api.call(config.gateway.socket, route, body, seconds=seconds))
    except (api.ApiError, configfile.ConfigError) as error:
        console.fail(error)
    return dict(answer)


def _texts(found: list[configfile.ConfigError]) -> list[str]:
    return [str(error) for error in found]
