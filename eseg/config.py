# SPDX-License-Identifier: Apache-2.0
"""What a gateway's configuration file may say: frozen types, their defaults, and nothing that acts.

The types say what TOML may look like; `eseg.validate` says what makes sense together, `eseg.credentials`
what must be readable. Secrets never appear in a repr.
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from eseg.ranges import endpoint
from tpkt.daemon.schema import HIDDEN, Daemon, Device, Name, Port, SecondsOrOff, SecretHolder, Section

DEFAULT_PATH = Path("/etc/eseg/eseg.toml")
MAX_BAN_SECONDS = 366 * 86_400
ANYBODY = "%any"  # charon's word for every identity

Count = Annotated[int, Meta(ge=1, le=16_777_216)]
CountOrOff = Annotated[int, Meta(ge=0, le=1_000_000)]
Seconds = Annotated[float, Meta(ge=0.01, le=86_400)]
# Modern and fast first, then for who needs 256 bits, then what others support.
PROPOSALS = ("aes128gcm16-prfsha256-x25519", "aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048")
# The first has no key exchange of its own: rekeying is then one cheap message each way.
ESP_PROPOSALS = ("aes128gcm16", "aes128gcm16-x25519", "aes256gcm16-ecp384", "aes256-sha256-modp2048")
RemoteAuth = Literal["pubkey", "psk", "eap-md5", "eap-mschapv2", "eap-tls", "eap-radius"]


class Gateway(Daemon, frozen=True, kw_only=True):
    """The daemon itself."""

    runtime: str = "/run/eseg"
    workers: Annotated[int, Meta(ge=0, le=64)] = 0
    metrics: str | None = None


class Listen(Section, frozen=True, kw_only=True):
    """A TCP address and port on which clients arrive."""

    address: str
    port: Port = 80
    tls: Literal["allowed", "never"] = "allowed"
    proxy_protocol_from: Annotated[tuple[str, ...], Meta(max_length=64)] = ()

    @property
    def balancers(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of load balancers; `eseg.validate` has seen that they are some."""
        return tuple(ip_network(network) for network in self.proxy_protocol_from)


class TlsCertificate(Section, frozen=True, kw_only=True):
    """A certificate for clients that come in TLS, for the names that are in it."""

    cert: str
    key: str
    chain: tuple[str, ...] = ()


class Tls(Section, frozen=True, kw_only=True):
    """TLS on the listeners that allow it; the first certificate is for clients that name none."""

    minimum: Literal["1.2", "1.3"] = "1.2"
    tickets: bool = True
    kernel: Literal["auto", "off"] = "off"
    certificate: Annotated[tuple[TlsCertificate, ...], Meta(min_length=1, max_length=64)]


class Link(Section, frozen=True, kw_only=True):
    """The link between pump and charon, and the addresses that stand for TCP connections on it."""

    device: Device = "eseg0"
    pool4: str = "198.18.0.0/15"
    pool6: str = "2001:2::/64"
    mtu: Annotated[int, Meta(ge=1280, le=65535)] = 1500
    congestion: str = "auto"


class Http(Section, frozen=True, kw_only=True):
    """What becomes of web clients that come to our ports."""

    backend: str | None = None
    proxy_protocol: bool = False
    connections: Count = 1024
    connect_seconds: Seconds = 3.0
    idle_seconds: Seconds = 60.0

    @property
    def where(self) -> tuple[str, int] | str | None:
        """The backend's address and port, or its socket's path; `eseg.validate` has seen that it is one."""
        if self.backend is None or self.backend.startswith("/"):
            return self.backend
        return endpoint(self.backend)


class Charon(Section, frozen=True, kw_only=True):
    """Whose charon does IKEv2, and how it moves ESP."""

    mode: Literal["managed", "system"] = "managed"
    vici: str = "/run/charon.vici"
    esp: Literal["auto", "kernel", "libipsec"] = "auto"
    expected_clients: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    keep_on_stop: bool = False
    plugins: tuple[Name, ...] = ()
    settings_file: str | None = None


class Local(Section, frozen=True, kw_only=True):
    """How the gateway proves itself to clients."""

    auth: Literal["pubkey", "psk"] = "pubkey"
    id: str | None = None
    cert: str | None = None
    key: str | None = None
    chain: tuple[str, ...] = ()


class Remote(SecretHolder, frozen=True, kw_only=True):
    """How clients prove themselves; `secret` is theirs alone or shared by all that match `id`."""

    auth: RemoteAuth = "pubkey"
    id: str = ANYBODY
    eap_id: str = ANYBODY
    ca: str | tuple[str, ...] = ()

    @property
    def cas(self) -> tuple[str, ...]:
        """The files of trusted CA certificates, however many were written."""
        return (self.ca,) if isinstance(self.ca, str) else self.ca


class Child(Section, frozen=True, kw_only=True):
    """A CHILD_SA that clients may ask for: what of the core network they reach."""

    name: Name = "core"
    local_ts: Annotated[tuple[str, ...], Meta(min_length=1)]
    esp_proposals: tuple[str, ...] = ESP_PROPOSALS
    rekey_seconds: SecondsOrOff | None = None


class Connection(Section, frozen=True, kw_only=True):
    """One kind of client: its authentication, its inner addresses, its CHILD_SAs."""

    name: Name
    local_addrs: tuple[str, ...] = ()
    local: Local
    remote: Remote
    proposals: tuple[str, ...] = PROPOSALS
    mobike: bool = False
    pools: tuple[str, ...] = ()
    dpd_seconds: SecondsOrOff = 60.0
    rekey_seconds: SecondsOrOff | None = None
    children: Annotated[tuple[Child, ...], Meta(min_length=1)]


class Pool(Section, frozen=True, kw_only=True):
    """Inner addresses for clients, and the servers that they are told of."""

    name: Name
    addrs: str
    dns: tuple[str, ...] = ()
    p_cscf: tuple[str, ...] = ()


class User(SecretHolder, frozen=True, kw_only=True):
    """A client that proves itself by an EAP method with a password."""

    id: Annotated[str, Meta(min_length=1)]


class Limits(Section, frozen=True, kw_only=True):
    """What strangers may cost; all but the last are the pump's own."""

    connections: Count = 100_000
    half_identified: Count = 1024
    half_identified_per_source: Count = 64
    ike_half_open: CountOrOff = 1024
    ike_half_open_per_source: CountOrOff = 128
    accepts_per_second_per_source: CountOrOff = 200
    first_bytes_seconds: Seconds = 10.0
    handshake_seconds: Seconds = 10.0
    frame_seconds: Seconds = 30.0
    ike_seconds: SecondsOrOff = 10.0
    queue_bytes: Annotated[int, Meta(ge=65_536, le=1 << 30)] = 262_144
    worker_queue_bytes: Annotated[int, Meta(ge=65_536, le=1 << 40)] = 268_435_456
    sa_seconds: SecondsOrOff = 30.0


class Access(Section, frozen=True, kw_only=True):
    """Who may connect at all, by prefix: here, or one a line in files that every reload reads again."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    allow_files: tuple[str, ...] = ()
    deny_files: tuple[str, ...] = ()


class Bans(Section, frozen=True, kw_only=True):
    """When a source is refused for a while, for what its connections did."""

    closes: CountOrOff = 100
    within_seconds: Seconds = 60.0
    ban_seconds: Annotated[float, Meta(ge=0.01, le=MAX_BAN_SECONDS)] = 600.0
    limits: bool = False
    most: Annotated[int, Meta(ge=1, le=1 << 20)] = 65_536


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    gateway: Gateway = Gateway()
    listen: Annotated[tuple[Listen, ...], Meta(min_length=1)]
    tls: Tls | None = None
    link: Link = Link()
    http: Http = Http()
    charon: Charon = Charon()
    connection: tuple[Connection, ...] = ()
    pool: tuple[Pool, ...] = ()
    user: tuple[User, ...] = ()
    limits: Limits = Limits()
    access: Access = Access()
    bans: Bans = Bans()

    @property
    def relays(self) -> int:
        """How many web clients may be relayed at a time, each with a descriptor more."""
        return self.http.connections if self.http.backend else 0

    @property
    def wants_ipv6(self) -> bool:
        """Whether any listener is IPv6, so that the link needs a pool of that family."""
        return any(ip_address(listen.address).version == 6 for listen in self.listen)

    def fingerprint(self) -> str:
        """Give a short hash of all that is configured except secrets, which a hash might betray."""
        return hashlib.sha256(msgspec.json.encode(self.without_secrets(), order="sorted")).hexdigest()[:12]

    def without_secrets(self) -> Config:
        """Give this configuration with each secret replaced by a word."""
        replace = msgspec.structs.replace
        return replace(
            self,
            connection=tuple(
                replace(c, remote=replace(c.remote, secret=c.remote.secret and HIDDEN))
                for c in self.connection
            ),
            user=tuple(replace(u, secret=u.secret and HIDDEN) for u in self.user),
        )
