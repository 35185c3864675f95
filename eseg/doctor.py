# SPDX-License-Identifier: Apache-2.0
"""Looks at this machine as a gateway needs it, and says of each thing whether it is well and what mends it.

Works with and without a running gateway, and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from charon import Charon, CharonError, probe
from eseg import loader, machine
from eseg.config import Config
from eseg.daemon import EXPECTED, link_of
from eseg.findings import Check, Machine
from eseg.listener import unusable
from eseg.preflight import CAPABILITIES
from tpkt.daemon import api, configfile, rights
from tpkt.daemon.configfile import ConfigError

IKE_PORTS = (500, 4500)
# Plugins that a way to authenticate needs and that not every machine has, with their Debian package.
AUTH_PLUGINS = {
    "eap-md5": ("eap-md5", "libcharon-extra-plugins"),
    "eap-mschapv2": ("eap-mschapv2", "libcharon-extauth-plugins"),
    "eap-tls": ("eap-tls", "libcharon-extra-plugins"),
    "eap-radius": ("eap-radius", "libcharon-extra-plugins"),
}


async def examine(path: Path) -> list[Check]:
    """Give all checks, in the order in which an operator would mend what they find."""
    seen = Machine(path=path, config=None, status=None)
    with contextlib.suppress(ConfigError):
        seen.config = configfile.load(path, Config)
    if seen.config is not None:
        with contextlib.suppress(api.ApiError):
            seen.status = await api.call(seen.config.gateway.socket, "GET /status")
    checks = await asyncio.to_thread(lambda: [check for look in LOOKS for check in look(seen)])
    return [*checks, *await _vici(seen), *_gateway(seen)]


def _configuration(seen: Machine) -> Iterator[Check]:
    errors = loader.errors(seen.path)
    for error in errors:
        yield Check.fail("configuration", f"{error.key or error.path}: {error.problem}", error.cure)
    if errors or seen.config is None:
        return
    yield Check.ok("configuration", f"{seen.path} ({seen.config.fingerprint()})")
    for warning in loader.load(seen.path).material.warnings:
        yield Check.warn("configuration", f"{warning.key}: {warning.problem}", warning.cure)


def _rights(_: Machine) -> Iterator[Check]:
    missing = rights.missing(CAPABILITIES)
    if missing:
        yield Check.fail("rights", f"{', '.join(missing)} missing", "run as root")
    else:
        yield Check.ok("rights", "all capabilities that are needed")


def _strongswan(seen: Machine) -> Iterator[Check]:
    try:
        binaries = probe.find_binaries()
    except CharonError as error:
        yield Check.fail("strongSwan", error.what, error.cure)
        return
    version = machine.swanctl_version(binaries.swanctl)
    yield Check.ok("strongSwan", f"{version} ({binaries.charon})")
    if seen.config is None or seen.config.charon.mode != "managed":
        return
    wanted = {connection.remote.auth for connection in seen.config.connection}
    for auth in sorted(wanted & AUTH_PLUGINS.keys()):
        plugin, package = AUTH_PLUGINS[auth]
        if not binaries.has_plugin(plugin):
            yield Check.fail("strongSwan", f"plugin {plugin} is missing", f"apt install {package}")
    try:
        esp, why = probe.choose_esp(seen.config.charon.esp, binaries)
    except CharonError as error:
        yield Check.fail("ESP", error.what, error.cure)
        return
    if esp == "kernel":
        yield Check.ok("ESP", f"kernel: {why}")
    else:
        cure = "works, slowly; use a kernel with INET_ESP (any of Debian's) for speed"
        yield Check.warn("ESP", f"userspace (kernel-libipsec): {why}", cure)


def _apparmor(_seen: Machine) -> Iterator[Check]:
    hint = probe.apparmor_hint()
    if hint:
        found, _, cure = hint.partition(": ")
        yield Check.warn("AppArmor", found, cure)
    else:
        yield Check.ok("AppArmor", "does not confine charon-systemd")


def _listeners(seen: Machine) -> Iterator[Check]:
    if seen.config is None:
        return
    if seen.status is not None:
        yield Check.ok("listeners", f"served by the running gateway (pid {seen.status['pid']})")
        return
    problems = list(unusable(seen.config.listen))
    yield from (Check.fail("listeners", f"{p.key}: {p.problem}", p.cure) for p in problems)
    if not problems:
        yield Check.ok("listeners", f"{len(seen.config.listen)} addresses and ports are free")


def _ike_ports(seen: Machine) -> Iterator[Check]:
    if seen.config is None or seen.config.charon.mode != "managed":
        return
    if seen.status is not None and seen.status["charon"]["health"] == "up":
        yield Check.ok("UDP 500, 4500", f"served by our charon (pid {seen.status['charon']['pid']})")
        return
    for port in IKE_PORTS:
        user = probe.port_user(port)
        if user:
            cure = 'systemctl disable --now strongswan strongswan-starter, or charon.mode = "system"'
            yield Check.fail(f"UDP {port}", f"in use by {user}", cure)
        else:
            yield Check.ok(f"UDP {port}", "free")


def _link(seen: Machine) -> Iterator[Check]:
    if seen.config is None:
        return
    try:
        troubles = link_of(seen.config).check()
    except EXPECTED as error:
        troubles = [str(error)]
    for trouble in troubles:
        found, _, cure = trouble.rpartition("; ")
        kind = Check.warn if seen.status is not None else Check.fail
        yield kind("link", found or trouble, cure if found else "")
    if not troubles:
        state = "is up" if seen.status is not None else "can be made; no route wants its pools"
        yield Check.ok("link", f"{seen.config.link.device} {state}")


LOOKS: tuple[Callable[[Machine], Iterator[Check]], ...] = (
    _configuration,
    _rights,
    _strongswan,
    _apparmor,
    _listeners,
    _ike_ports,
    _link,
    machine.forwarding,
    machine.reverse_path,
    machine.congestion,
    machine.kernel_tls,
    machine.offload,
    machine.descriptors,
    machine.capacity,
    machine.web_backend,
)


async def _vici(seen: Machine) -> list[Check]:
    """Ask charon where one should answer: the system's always, ours while the gateway runs."""
    if seen.config is None or (seen.config.charon.mode == "managed" and seen.status is None):
        return []
    where = seen.status["charon"]["vici"] if seen.status else seen.config.charon.vici
    try:
        async with Charon(where) as charon:
            version = await charon.version()
    except CharonError as error:
        return [Check.fail("charon", str(error), "systemctl status strongswan, and its log")]
    return [Check.ok("charon", f"{version.daemon} {version.version} answers on {where}, pid {version.pid}")]


def _gateway(seen: Machine) -> list[Check]:
    if seen.config is None:
        return []
    if seen.status is None:
        return [Check.warn("gateway", f"none answers on {seen.config.gateway.socket}", "eseg run")]
    if not seen.status["healthy"]:
        return [Check.fail("gateway", "runs and is not healthy", "eseg status")]
    return [Check.ok("gateway", f"runs, pid {seen.status['pid']}")]
