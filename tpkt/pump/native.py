# SPDX-License-Identifier: Apache-2.0
"""Between Python's types and the compiled module's structures; the only importer of `tpkt._native`.

The compiled module has no types for mypy: what comes out of here has.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from tpkt._native import ffi, lib
from tpkt.errors import CloseReason, MisuseError
from tpkt.pump.config import Banning, Limits, PumpConfig, WebBackend
from tpkt.pump.errors import PumpError
from tpkt.pump.events import Ban, ConnectionInfo, ConnectionState, EventKind, PumpEvent
from tpkt.pump.tls import CIPHERS, VERSIONS, TlsInfo, TlsServer, TlsTrust
from tpkt.sniff import Protocol

__all__ = [
    "COUNTER_NAMES",
    "PROTOCOLS",
    "REASONS",
    "ban",
    "check",
    "connection_info",
    "event",
    "ffi",
    "lib",
    "listener",
    "native_address",
    "native_config",
    "native_networks",
    "native_prefix",
    "native_rules",
    "native_tls_server",
    "native_tuning",
]

# Shared by order with enum tp_reason, tp_protocol, tp_event_kind and tp_state.
REASONS = tuple(CloseReason)
PROTOCOLS = tuple(Protocol)
EVENT_KINDS = tuple(EventKind)
STATES = tuple(ConnectionState)

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_LENGTHS = {4: 4, 6: 16}
Network = IPv4Network | IPv6Network
_SECOND = 1_000_000_000


def _counter_names() -> tuple[str, ...]:
    names = []
    text = ffi.new("char[64]")
    for index in range(lib.tp_counter_count()):
        lib.tp_counter_name(index, text, len(text))
        names.append(ffi.string(text).decode())
    return tuple(names)


COUNTER_NAMES = _counter_names()


def check(result: int, failure: int, error: Any) -> int:
    """Give `result`, or raise what the data plane wrote into `error` when `result` is `failure`."""
    if result == failure:
        raise PumpError.from_system(error.number, ffi.string(error.text).decode())
    return result


def native_address(text: str, port: int) -> Any:
    """Make a struct tp_address of an address and a port."""
    try:
        address = ip_address(text)
    except ValueError:
        raise MisuseError(f"{text!r} is no IPv4 or IPv6 address") from None
    if not 0 <= port <= 65_535:
        raise MisuseError(f"port {port}: it must be between 0 and 65535")
    made = ffi.new("struct tp_address *")
    made.family = address.version
    made.port = port
    ffi.memmove(made.bytes, address.packed, len(address.packed))
    return made


def native_networks(networks: Sequence[IPv4Network | IPv6Network]) -> Any:
    """Make an array of struct tp_address, each with its prefix."""
    made = ffi.new("struct tp_address[]", len(networks))
    for one, network in zip(made, networks, strict=True):
        _write_pool(one, network)
    return made


def native_config(config: PumpConfig, event_fd: int) -> tuple[Any, list[Any]]:
    """Make a struct tp_config, and what must live as long as it does."""
    made = ffi.new("struct tp_config *")
    kept = [ffi.new("char[]", config.namespace.encode())]
    made.role = lib.TP_GATEWAY if config.role == "gateway" else lib.TP_CLIENT
    made.workers = config.workers
    made.name_space = kept[0]
    if config.congestion is not None:
        kept.append(ffi.new("char[]", config.congestion.encode()))
        made.congestion = kept[1]
    made.event_fd = event_fd
    made.reserved = config.reserved
    made.notsent_lowat = config.notsent_lowat
    _write_pool(made.pool4, config.pool4)
    _write_pool(made.pool6, config.pool6)
    limits = config.limits
    made.max_connections = limits.connections
    made.max_half = limits.half_identified
    made.max_begun = limits.ike_half_open
    made.max_bans = config.banning.most
    made.tuning = native_tuning(limits, config.banning)[0]
    made.first_bytes_ns = int(limits.first_bytes_seconds * _SECOND)
    made.handshake_ns = int(limits.handshake_seconds * _SECOND)
    made.frame_ns = int(limits.frame_seconds * _SECOND)
    made.ike_ns = int(limits.ike_seconds * _SECOND)
    made.queue_bytes = limits.queue_bytes
    made.worker_queue_bytes = limits.worker_queue_bytes
    if config.web is not None:
        kept.append(_write_web(made, config.web))
    return made, kept


def native_tuning(limits: Limits, banning: Banning) -> Any:
    """Make a struct tp_tuning: what of a configuration can change while the pump runs."""
    made = ffi.new("struct tp_tuning *")
    made.max_half_per_source = limits.half_identified_per_source
    made.max_accepts_per_second = limits.accepts_per_second_per_source
    made.max_begun_per_source = limits.ike_half_open_per_source
    made.ban_closes = banning.closes
    made.ban_limits = banning.limits
    made.ban_within_ns = int(banning.within_seconds * _SECOND)
    made.ban_ns = int(banning.ban_seconds * _SECOND)
    return made


def native_rules(allow: Iterable[Network], deny: Iterable[Network]) -> tuple[Any, int]:
    """Make an array of struct tp_rule, packed here because there may be a hundred thousand."""
    pack, listed = struct.Struct("=16sHBBI").pack, ((lib.TP_ACCESS_ALLOW, allow), (lib.TP_ACCESS_DENY, deny))
    packed = [
        pack(one.network_address.packed, 0, one.version, one.prefixlen, access)
        for access, networks in listed
        for one in networks
    ]
    return ffi.from_buffer("struct tp_rule[]", b"".join(packed)), len(packed)


def native_prefix(prefix: Network) -> Any:
    """Make a struct tp_address of a prefix."""
    made = ffi.new("struct tp_address *")
    _write_pool(made, prefix)
    return made


def ban(native: Any) -> Ban:
    """Read a struct tp_ban."""
    return Ban(
        prefix=ip_network((_host(native.prefix), int(native.prefix.prefix))),
        since=native.since_ns / _SECOND,
        until=native.until_ns / _SECOND,
        refused=int(native.refused),
        reason=REASONS[native.reason],
        by_hand=bool(native.by_hand),
    )


def _write_web(made: Any, web: WebBackend) -> Any:
    """Write the web backend, and give what must live as long as the configuration."""
    made.web_proxy_protocol = web.proxy_protocol
    made.web_connections = web.connections
    made.web_connect_ns = int(web.connect_seconds * _SECOND)
    made.web_idle_ns = int(web.idle_seconds * _SECOND)
    if isinstance(web.where, str):
        made.web_path = path = ffi.new("char[]", web.where.encode())
        return path
    made.web = native_address(*web.where)[0]
    return None


def _write_pool(to: Any, pool: IPv4Network | IPv6Network | None) -> None:
    if pool is None:
        return
    to.family = pool.version
    to.prefix = pool.prefixlen
    ffi.memmove(to.bytes, pool.network_address.packed, _LENGTHS[pool.version])


def _host(address: Any) -> str:
    family = int(address.family)
    if family not in _FAMILIES:
        return ""
    packed = bytes(ffi.buffer(address.bytes, _LENGTHS[family]))
    return socket.inet_ntop(_FAMILIES[family], packed)


def listener(address: Any) -> tuple[str, int]:
    """Read a struct tp_address as the address and port it is."""
    return _host(address), int(address.port)


def event(native: Any) -> PumpEvent:
    """Read a struct tp_event."""
    spi = bytes(native.spi_i)
    return PumpEvent(
        kind=EVENT_KINDS[native.kind],
        connection=int(native.connection),
        reason=REASONS[native.reason],
        protocol=PROTOCOLS[native.protocol],
        remote=(_host(native.remote), int(native.remote.port)),
        local=(_host(native.local), int(native.local.port)),
        flow=_host(native.flow),
        spi_i=spi.hex() if any(spi) else "",
        at=native.at_ns / _SECOND,
    )


def connection_info(native: Any) -> ConnectionInfo:
    """Read a struct tp_connection_info."""
    return ConnectionInfo(
        id=int(native.id),
        worker=int(native.worker),
        state=STATES[native.state],
        protocol=PROTOCOLS[native.protocol],
        remote=(_host(native.remote), int(native.remote.port)),
        local=(_host(native.local), int(native.local.port)),
        flow=_host(native.flow),
        since=native.since_ns / _SECOND,
        last_active=native.last_active_ns / _SECOND,
        stream_to_link_bytes=int(native.stream_to_link_bytes),
        stream_to_link_frames=int(native.stream_to_link_frames),
        stream_to_link_esp_frames=int(native.stream_to_link_esp_frames),
        link_to_stream_bytes=int(native.link_to_stream_bytes),
        link_to_stream_frames=int(native.link_to_stream_frames),
        link_to_stream_esp_frames=int(native.link_to_stream_esp_frames),
        queued_bytes=int(native.queued_bytes),
        dropped=int(native.dropped),
        dropped_late=int(native.dropped_late),
        dropped_full=int(native.dropped_full),
        queued_expedited=int(native.queued_expedited),
        queued_bulk=int(native.queued_bulk),
        unsent_limit=int(native.unsent_limit),
        tls=_tls_info(native) if native.tls_version else None,
    )


def _tls_info(native: Any) -> TlsInfo:
    flags = int(native.tls_flags)
    cipher = int(native.tls_cipher)
    return TlsInfo(
        version=VERSIONS[native.tls_version],
        cipher=CIPHERS.get(cipher, f"{cipher:#06x}"),
        trikesec=bool(flags & lib.TP_TLS_TRIKESEC),
        resumed=bool(flags & lib.TP_TLS_RESUMED),
        kernel_send=bool(flags & lib.TP_TLS_KERNEL_SEND),
        kernel_receive=bool(flags & lib.TP_TLS_KERNEL_RECEIVE),
    )


def native_tls_server(server: TlsServer) -> tuple[Any, list[Any]]:
    """Make a struct tp_tls_server, and what must live as long as it does."""
    count = len(server.certificates)
    certificates = ffi.new("struct tp_tls_certificate[]", count)
    kept = [certificates]
    for to, certificate in zip(certificates, server.certificates, strict=True):
        chain = ffi.from_buffer(b"".join(certificate.chain))
        key = ffi.from_buffer(certificate.key)
        to.chain, to.chain_size = chain, len(chain)
        to.key, to.key_size = key, len(key)
        kept += [chain, key]
    made = ffi.new("struct tp_tls_server *")
    made.certificates = certificates
    made.count = count
    made.minimum = _version(server.minimum)
    made.tickets = server.tickets
    made.ktls = server.ktls
    return made, kept


def tls_client(trust: TlsTrust) -> Any:
    """Make a struct tp_tls_client, which ends with the object that is given."""
    name = ffi.new("char[]", trust.server_name.encode())
    authorities = b"".join(trust.authorities or ())
    pins = b"".join(trust.pins)
    config = ffi.new("struct tp_tls_client_config *")
    kept = [ffi.from_buffer(authorities), ffi.from_buffer(pins)]
    config.server_name = name
    config.authorities, config.authorities_size = kept[0], len(authorities)
    config.pins, config.pin_count = kept[1], len(trust.pins)
    config.system_authorities = trust.authorities is None and not trust.pins
    config.minimum = _version(trust.minimum)
    config.ktls = trust.ktls
    error = ffi.new("struct tp_error *")
    made = lib.tp_tls_client_new(config, error)
    if made == ffi.NULL:
        raise PumpError.from_system(error.number, ffi.string(error.text).decode())
    return ffi.gc(made, lib.tp_tls_client_free)


def _version(name: str) -> int:
    return next(number for number, known in VERSIONS.items() if known == f"TLSv{name}")


def ktls_built() -> bool:
    """Tell whether this OpenSSL can let the kernel do the cryptography of TLS."""
    return bool(lib.tp_ktls_built())


def out_of_memory() -> PumpError:
    """Say that not even the pump itself could be made."""
    return PumpError.from_system(errno.ENOMEM, "pump: cannot get its memory")
