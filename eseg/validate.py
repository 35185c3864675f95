# SPDX-License-Identifier: Apache-2.0
"""What must hold between the keys of a configuration; asks nothing of the machine and opens no file.

Each check yields one `Problem` for each thing that is wrong, so that `eseg check` can show all of them and
`eseg run` stops at the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from eseg.auth import auth_problems
from eseg.config import Config
from eseg.ranges import Address, Range, endpoint, network, pool_range
from tpkt.daemon import checks
from tpkt.daemon.checks import Problem

LONGEST_SOCKET = "charon/charon.vici"  # what is put below the runtime directory


def problems(config: Config) -> Iterator[Problem]:
    """Yield all that is wrong with `config`, in the order of the file's sections."""
    yield from _paths(config)
    yield from _listeners(config)
    yield from _http(config)
    ranges: list[Range] = []
    yield from _link_pools(config, ranges)
    yield from _inner_pools(config, ranges)
    yield from _overlaps(config, ranges)
    yield from _limits(config)
    yield from _unique("connection", [c.name for c in config.connection])
    yield from _unique("user", [u.id for u in config.user])
    yield from _connections(config)
    yield from auth_problems(config)


def _paths(config: Config) -> Iterator[Problem]:
    yield from checks.socket_path("gateway.runtime", config.gateway.runtime, LONGEST_SOCKET)
    yield from checks.socket_path("charon.vici", config.charon.vici)
    if config.gateway.admin is not None:
        yield from checks.socket_path("gateway.admin", config.gateway.admin)
    if config.gateway.metrics is not None and endpoint(config.gateway.metrics) is None:
        yield Problem(
            "gateway.metrics",
            f"`{config.gateway.metrics}` is not an address and a port",
            'write "127.0.0.1:9464" or "[::1]:9464"',
        )


def _listeners(config: Config) -> Iterator[Problem]:
    seen: dict[tuple[IPv4Address | IPv6Address, int], int] = {}
    for index, listen in enumerate(config.listen):
        key = f"listen[{index}].address"
        try:
            address = ip_address(listen.address)
        except ValueError:
            yield Problem(key, f"`{listen.address}` is not an IP address", "write 198.51.100.2 or ::")
            continue
        if address.is_multicast or (isinstance(address, IPv6Address) and address.scope_id):
            yield Problem(key, f"{address} is no address for clients", "write a global unicast address")
        for (other, port), at in seen.items():
            same = other == address or (
                other.version == address.version and (other.is_unspecified or address.is_unspecified)
            )
            if port == listen.port and same:
                yield Problem(
                    f"listen[{index}]",
                    f"{address} port {port} is also served by listen[{at}] ({other} port {port})",
                    "remove one of the two",
                )
                break
        else:
            seen[address, listen.port] = index
        yield from _balancers(f"listen[{index}].proxy_protocol_from", address, listen.proxy_protocol_from)


def _http(config: Config) -> Iterator[Problem]:
    backend = config.http.backend
    if backend is None:
        return
    if backend.startswith("/"):
        yield from checks.socket_path("http.backend", backend)
        return
    found = endpoint(backend)
    if found is None:
        cure = 'write "127.0.0.1:8080", "[::1]:8080", or the path of a Unix socket'
        yield Problem("http.backend", f"`{backend}` is neither an address and a port nor a path", cure)
        return
    for index, listen in enumerate(config.listen):
        if listen.port == found[1] and _same(listen.address, found[0]):
            why = f"{backend} may be listen[{index}] itself: web clients would go round for ever"
            yield Problem("http.backend", why, "give the web server a port of its own")


def _same(listener: str, backend: str) -> bool:
    """Whether a connection to `backend` may arrive at `listener`, which may be no address at all."""
    try:
        ours, theirs = ip_address(listener), ip_address(backend)
    except ValueError:
        return False
    return ours == theirs or (ours.version == theirs.version and ours.is_unspecified)


def _balancers(key: str, address: Address, networks: Iterable[str]) -> Iterator[Problem]:
    for text in networks:
        found = network(text)
        if isinstance(found, str):
            yield Problem(key, found, "write the load balancer's address, 192.0.2.10, or network, 10.0.0.0/8")
        elif found.version != address.version:
            why = f"{found} never connects to {address}: one is IPv4, the other IPv6"
            yield Problem(key, why, "write it at the listener of its family")
        elif found.prefixlen == 0:
            why = f"{found} is everybody, and a PROXY header says whatever its sender likes"
            yield Problem(key, why, "write the addresses of your load balancers alone")


def _link_pools(config: Config, ranges: list[Range]) -> Iterator[Problem]:
    for key, text, version in (
        ("link.pool4", config.link.pool4, 4),
        ("link.pool6", config.link.pool6, 6),
    ):
        found = network(text)
        if isinstance(found, str) or found.version != version:
            example = "198.18.0.0/15" if version == 4 else "2001:2::/64"
            why = found if isinstance(found, str) else f"{text} is not IPv{version}"
            yield Problem(key, why, f"write an IPv{version} network such as {example}")
            continue
        shortest = 27 if version == 4 else 123
        if found.prefixlen > shortest:
            yield Problem(
                key,
                f"{found} has only {found.num_addresses} flow addresses",
                f"write a prefix of /{shortest} or shorter: one address for each TCP connection",
            )
        ranges.append(Range(key, text, found[0], found[-1]))


def _inner_pools(config: Config, ranges: list[Range]) -> Iterator[Problem]:
    yield from _unique("pool", [pool.name for pool in config.pool])
    for index, pool in enumerate(config.pool):
        key = f"pool[{index}]"
        found = pool_range(f"{key}.addrs", pool.addrs)
        if isinstance(found, str):
            cure = "write 10.66.0.0/16 or 10.66.0.10-10.66.0.200"
            yield Problem(f"{key}.addrs", found, cure)
        else:
            ranges.append(found)
        for name, values in (("dns", pool.dns), ("p_cscf", pool.p_cscf)):
            yield from checks.addresses(f"{key}.{name}", values)


def _overlaps(config: Config, ranges: Sequence[Range]) -> Iterator[Problem]:
    for index, one in enumerate(ranges):
        for other in ranges[:index]:
            if one.overlaps(other):
                yield Problem(
                    one.key,
                    f"{one.text} overlaps {other.key} {other.text}",
                    "give each pool addresses of its own",
                )
    for index, listen in enumerate(config.listen):
        for pool in ranges:
            if pool.contains(listen.address):
                yield Problem(
                    f"listen[{index}].address",
                    f"{listen.address} lies inside {pool.key} {pool.text}",
                    "choose another pool: its addresses are routed away from this machine's own",
                )


def _limits(config: Config) -> Iterator[Problem]:
    limits = config.limits
    if limits.worker_queue_bytes < limits.queue_bytes:
        yield Problem(
            "limits.worker_queue_bytes",
            f"{limits.worker_queue_bytes} is less than queue_bytes {limits.queue_bytes} of one connection",
            "raise it",
        )
    if limits.ike_half_open and limits.ike_half_open_per_source > limits.ike_half_open:
        yield Problem(
            "limits.ike_half_open_per_source",
            f"{limits.ike_half_open_per_source} is more than ike_half_open {limits.ike_half_open}",
            "lower it: one source could keep out all others",
        )
    if limits.half_identified_per_source > limits.half_identified:
        yield Problem(
            "limits.half_identified_per_source",
            f"{limits.half_identified_per_source} is more than half_identified {limits.half_identified}",
            "lower it: one source could keep out all others",
        )


def _connections(config: Config) -> Iterator[Problem]:
    if config.charon.mode == "managed" and not config.connection:
        yield Problem("connection", "there is none, so no client could connect", "add a [[connection]]")
    known = [pool.name for pool in config.pool]
    for index, connection in enumerate(config.connection):
        key = f"connection[{index}]"
        yield from checks.addresses(f"{key}.local_addrs", connection.local_addrs)
        for name in connection.pools:
            if name not in known:
                cure = (
                    f"write one of: {', '.join(known)}" if known else f'add a [[pool]] with name = "{name}"'
                )
                yield Problem(f"{key}.pools", f"there is no pool `{name}`", cure)
        yield from _unique(f"{key}.children", [child.name for child in connection.children])
        for number, child in enumerate(connection.children):
            yield from _selectors(f"{key}.children[{number}].local_ts", child.local_ts)


def _selectors(key: str, selectors: Iterable[str]) -> Iterator[Problem]:
    for selector in selectors:
        plain = selector.partition("[")[0]  # "10.9.0.0/24[tcp/80]": protocol and port are charon's to read
        if plain == "dynamic":
            continue
        try:
            ip_network(plain)
        except ValueError as error:
            yield Problem(key, str(error), "write a network such as 10.9.0.0/24 or 0.0.0.0/0")


def _unique(key: str, names: Sequence[str]) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            at = names.index(name)
            yield Problem(f"{key}[{index}]", f"`{name}` is the name of {key}[{at}] already", "rename one")
