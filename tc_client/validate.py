# SPDX-License-Identifier: Apache-2.0
"""What must hold between the keys of a configuration; asks nothing of the machine and opens no file.

Each check yields key, problem and cure of each thing that is wrong, in the order of the file's sections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from tc_client.config import (
    CERTIFICATE_METHODS,
    PASSWORD_METHODS,
    Config,
    Identity,
    Tunnel,
)
from tpkt.daemon import checks
from tpkt.daemon.checks import Problem

LONGEST_SOCKET = "charon/charon.vici"  # what is put below the runtime directory
HOST_NAME = re.compile(r"(?=.{1,253}\.?$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?)+")


def problems(config: Config) -> Iterator[Problem]:
    """Yield all that is wrong with `config`."""
    yield from _paths(config)
    yield from gateway_problems(config)
    if config.gateway.address.startswith("127.") or config.gateway.address == "::1":
        problem = f"{config.gateway.address} is this machine itself: nothing to it can be diverted"
        yield Problem("gateway.address", problem, "write the gateway's global unicast address")
    yield from _charon(config)
    if config.identity is not None:
        yield from _identity(config.identity)
    if config.tunnel is not None:
        yield from _tunnel(config.tunnel)
    yield from _ladder(config)


def gateway_problems(config: Config) -> Iterator[Problem]:
    """Yield what is wrong with the gateway and the ways to it: all that `netcheck` needs to be right."""
    gateway = config.gateway
    yield from address_problems("gateway.address", gateway.address)
    if not gateway.udp and not gateway.tcp_ports:
        yield Problem(
            "gateway.tcp_ports",
            "is empty and udp is false: there is no way to the gateway",
            "name a port, or set udp = true",
        )
    for index, port in enumerate(gateway.tcp_ports):
        if port in gateway.tcp_ports[:index]:
            yield Problem(f"gateway.tcp_ports[{index}]", f"{port} is there already", "remove one of the two")


def address_problems(key: str, text: str) -> Iterator[Problem]:
    """Yield what is wrong with `text` as the address or name of a gateway."""
    try:
        address = ip_address(text)
    except ValueError:
        if not HOST_NAME.fullmatch(text) or text.rstrip(".").rpartition(".")[2].isdecimal():
            yield Problem(
                key,
                f"`{text}` is neither an IP address nor a host name",
                "write 198.51.100.2 or gw.example",
            )
        return
    if address.is_multicast or address.is_unspecified or "%" in text:
        yield Problem(key, f"{text} is no address of a gateway", "write its global unicast address")


def _paths(config: Config) -> Iterator[Problem]:
    yield from checks.socket_path("client.runtime", config.client.runtime, LONGEST_SOCKET)
    yield from checks.socket_path("client.admin", str(config.client.socket))
    yield from checks.socket_path("charon.vici", config.charon.vici)


def _charon(config: Config) -> Iterator[Problem]:
    charon, operators_own = config.charon, config.charon.connection or config.charon.child
    if charon.mode == "managed":
        for name in ("connection", "child"):
            if getattr(charon, name):
                yield Problem(
                    f"charon.{name}", "names a section of an operator's swanctl.conf", 'set mode = "system"'
                )
    elif operators_own:
        for name in ("connection", "child"):
            if not getattr(charon, name):
                yield Problem(
                    f"charon.{name}", "is missing", "name both connection and child of swanctl.conf"
                )
        if config.identity is not None:
            yield Problem(
                "identity", "stands beside charon.connection, which has its own", "keep one of the two"
            )
        return
    for section in ("identity", "tunnel"):
        if getattr(config, section) is None:
            yield Problem(
                section, "is missing", f"add an [{section}] table; docs/CLIENT.md has complete examples"
            )


def _identity(identity: Identity) -> Iterator[Problem]:
    auth = identity.auth
    wants_certificate, wants_ca = auth in CERTIFICATE_METHODS, auth != "psk"
    for name, value in (("cert", identity.cert), ("key", identity.key)):
        if wants_certificate and not value:
            yield Problem(
                f"identity.{name}", f"is missing; auth is {auth}", f"name the PEM file of the {name}"
            )
        elif value and not wants_certificate:
            yield Problem(f"identity.{name}", f"has no use with auth {auth}", "remove it")
    if identity.chain and not wants_certificate:
        yield Problem("identity.chain", f"has no use with auth {auth}", "remove it")
    if wants_ca and not identity.cas:
        yield Problem(
            "identity.ca", "is missing: no gateway could prove itself", "name the PEM file of its CA"
        )
    elif identity.cas and not wants_ca:
        yield Problem("identity.ca", "has no use with auth psk", "remove it")
    yield from _secret(identity)
    if not (identity.id or identity.eap_id) and auth not in CERTIFICATE_METHODS:
        yield Problem(
            "identity.id", f"is missing; auth is {auth}", "write the name by which the gateway knows you"
        )
    if identity.eap_id and not identity.eap:
        yield Problem("identity.eap_id", f"has no use with auth {auth}", "remove it")


def _secret(identity: Identity) -> Iterator[Problem]:
    if identity.auth in ("psk", *PASSWORD_METHODS):
        yield from checks.one_secret("identity", identity)
    elif identity.auth != "eap-aka":  # there it may hold K and OPc of a software USIM
        for name in ("secret", "secret_file"):
            if getattr(identity, name) is not None:
                yield Problem(f"identity.{name}", f"has no use with auth {identity.auth}", "remove it")


def _tunnel(tunnel: Tunnel) -> Iterator[Problem]:
    networks = []
    for index, selector in enumerate(tunnel.remote_ts):
        # "10.9.0.0/24[tcp/80]": protocol and port are charon's to read.
        try:
            networks.append(ip_network(selector.partition("[")[0]))
        except ValueError as error:
            yield Problem(f"tunnel.remote_ts[{index}]", str(error), "write a network such as 10.9.0.0/24")
    yield from checks.addresses("tunnel.vips", tunnel.vips)
    if tunnel.probe_address is None:
        return
    yield from checks.addresses("tunnel.probe_address", [tunnel.probe_address])
    try:
        address = ip_address(tunnel.probe_address)
    except ValueError:
        return
    if not any(address in network for network in networks):
        yield Problem(
            "tunnel.probe_address",
            f"{address} lies in none of remote_ts, so no ping to it enters the tunnel",
            "write an address behind the gateway that answers a ping",
        )


def _ladder(config: Config) -> Iterator[Problem]:
    for low, high in (
        ("udp_reprobe_seconds", "udp_reprobe_max_seconds"),
        ("backoff_seconds", "backoff_max_seconds"),
    ):
        first, last = getattr(config.ladder, low), getattr(config.ladder, high)
        if first > last:
            yield Problem(f"ladder.{high}", f"{last:g} is less than {low}, {first:g}", "raise it")
