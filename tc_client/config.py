# SPDX-License-Identifier: Apache-2.0
"""What a client's configuration file may say: frozen types, their defaults, and nothing that acts.

The types say what TOML may look like; `tc_client.validate` says what makes sense together,
`tc_client.credentials` what must be readable. Secrets never appear in a repr.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from tpkt.daemon.schema import Daemon, Device, Name, Port, SecondsOrOff, SecretHolder, Section

DEFAULT_PATH = Path("/etc/tc-client/tc-client.toml")

Seconds = Annotated[float, Meta(ge=0.1, le=86_400)]
IdentityAuth = Literal["pubkey", "psk", "eap-md5", "eap-mschapv2", "eap-tls", "eap-aka"]

PASSWORD_METHODS: tuple[IdentityAuth, ...] = ("eap-md5", "eap-mschapv2")
CERTIFICATE_METHODS: tuple[IdentityAuth, ...] = ("pubkey", "eap-tls")


class Client(Daemon, frozen=True, kw_only=True):
    """The daemon itself."""

    runtime: str = "/run/tc-client"
    start: Literal["up", "down"] = "up"


class Gateway(Section, frozen=True, kw_only=True):
    """The security gateway and the ways that are tried to it."""

    address: Annotated[str, Meta(min_length=1)]
    id: str | None = None
    udp: bool = True
    tcp_ports: tuple[Port, ...] = (80,)


class Link(Section, frozen=True, kw_only=True):
    """The link between pump and charon."""

    device: Device = "tric0"
    mark: Annotated[int, Meta(ge=1, le=0xFFFF_FFFE)] = 0x4500
    mtu: Annotated[int, Meta(ge=1280, le=65535)] = 1500
    congestion: Name = "auto"


class Charon(Section, frozen=True, kw_only=True):
    """Whose charon does IKEv2, and how it moves ESP."""

    mode: Literal["managed", "system"] = "managed"
    vici: str = "/run/charon.vici"
    esp: Literal["auto", "kernel", "libipsec"] = "auto"
    plugins: tuple[Name, ...] = ()
    connection: Name | None = None
    child: Name | None = None


class Identity(SecretHolder, frozen=True, kw_only=True):
    """How the client proves itself, and by which authorities it believes the gateway."""

    auth: IdentityAuth
    id: str | None = None
    eap_id: str | None = None
    cert: str | None = None
    key: str | None = None
    chain: tuple[str, ...] = ()
    ca: str | tuple[str, ...] = ()

    @property
    def cas(self) -> tuple[str, ...]:
        """The files of trusted CA certificates, however many were written."""
        return (self.ca,) if isinstance(self.ca, str) else self.ca

    @property
    def eap(self) -> bool:
        """Whether the client proves itself by an EAP method, the gateway by a certificate."""
        return self.auth.startswith("eap-")


class Tunnel(Section, frozen=True, kw_only=True):
    """What goes through the tunnel, and by which keys."""

    remote_ts: Annotated[tuple[str, ...], Meta(min_length=1)]
    vips: Annotated[tuple[str, ...], Meta(min_length=1)] = ("0.0.0.0",)  # noqa: S104 - "any address", RFC 7296
    proposals: tuple[str, ...] = ()
    esp_proposals: tuple[str, ...] = ()
    probe_address: str | None = None
    mobike: bool = False
    dpd_seconds: SecondsOrOff = 20.0
    rekey_seconds: SecondsOrOff | None = None
    child_rekey_seconds: SecondsOrOff | None = None


class Ladder(Section, frozen=True, kw_only=True):
    """How long each step may take, and how often the client comes back to it."""

    udp_probe_seconds: Seconds = 1.8
    tcp_probe_seconds: Seconds = 3.0
    attempt_seconds: Seconds = 6.0
    verify_seconds: Seconds = 3.0
    udp_reprobe_seconds: SecondsOrOff = 30.0
    udp_reprobe_max_seconds: Seconds = 600.0
    backoff_seconds: Seconds = 1.0
    backoff_max_seconds: Seconds = 60.0
    silence_seconds: SecondsOrOff = 2.0


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    client: Client = Client()
    gateway: Gateway
    link: Link = Link()
    charon: Charon = Charon()
    identity: Identity | None = None
    tunnel: Tunnel | None = None
    ladder: Ladder = Ladder()

    @property
    def probe_address(self) -> str | None:
        """The inner address that is known to answer a ping, if one was named."""
        return self.tunnel.probe_address if self.tunnel else None
