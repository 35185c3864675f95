# SPDX-License-Identifier: Apache-2.0
"""What a charon is told, as frozen data: connections, pools, secrets, keys and certificates.

Each type knows the VICI section it becomes (`to_vici`) and nothing of sockets. Names are strongSwan's own
(swanctl.conf(5)) so that its manual stays the reference. `None` or an empty tuple means: not said, charon's
default holds. Certificates and keys are the contents of a file, PEM or DER. Secret bytes never appear in a
repr.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import Literal, Protocol, TypeVar

ViciValue = str | bytes | list[str] | list[bytes] | dict[str, "ViciValue"]
ViciSection = dict[str, ViciValue]

# RFC 7651 section 4: P_CSCF_IP4_ADDRESS and P_CSCF_IP6_ADDRESS; VICI has no names for them, only numbers.
P_CSCF_IP4_ADDRESS = 20
P_CSCF_IP6_ADDRESS = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """One side's authentication round."""

    kind: str  # "psk", "pubkey", "eap" (any method the peer offers), "eap-md5", "eap-mschapv2", "eap-tls", …
    id: str = ""  # IKE identity; empty: the certificate's subject or the address (local), anybody (remote)
    eap_id: str = ""  # "%any" on a gateway asks the client for its EAP identity
    certs: tuple[bytes, ...] = ()
    cacerts: tuple[bytes, ...] = ()  # remote: only certificates under one of these are accepted
    revocation: str = ""  # "strict", "ifuri", "relaxed"

    def to_vici(self) -> ViciSection:
        """Return the section of swanctl.conf's `local` or `remote`."""
        return _section(
            auth=self.kind,
            id=self.id,
            eap_id=self.eap_id,
            certs=self.certs,
            cacerts=self.cacerts,
            revocation=self.revocation,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A CHILD_SA configuration: what traffic, and how long keys live."""

    name: str
    local_ts: tuple[str, ...] = ("dynamic",)
    remote_ts: tuple[str, ...] = ("dynamic",)
    esp_proposals: tuple[str, ...] = ()
    mode: str = "tunnel"
    start_action: str = "none"
    dpd_action: str = "clear"
    close_action: str = "none"
    rekey_time: int | None = None  # seconds; 0 never
    life_time: int | None = None
    rekey_bytes: int | None = None
    inactivity: int | None = None
    mark_in: str = ""
    mark_out: str = ""
    set_mark_in: str = ""
    set_mark_out: str = ""  # the mark kernel ESP carries outwards: what the client's link rule matches
    if_id_in: str = ""
    if_id_out: str = ""
    replay_window: int | None = None
    copy_dscp: str = ""
    interface: str = ""
    updown: str = ""

    def to_vici(self) -> ViciSection:
        """Return the section of swanctl.conf's `children.<name>`."""
        said = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "name"}
        return _section(**said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An IKE_SA configuration with its children."""

    name: str
    local: Auth
    remote: Auth
    children: tuple[Child, ...] = ()
    local_addrs: tuple[str, ...] = ()
    remote_addrs: tuple[str, ...] = ()
    local_port: int | None = None
    remote_port: int | None = None  # 4500 together with local_port 4500: no IKE on port 500 at all
    version: int = 2
    proposals: tuple[str, ...] = ()
    vips: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    encap: bool | None = None
    mobike: bool | None = None
    fragmentation: str = ""
    dpd_delay: int | None = None  # seconds; 0 off
    rekey_time: int | None = None
    reauth_time: int | None = None
    over_time: int | None = None
    keyingtries: int | None = None
    unique: str = ""  # "no", "replace", "keep", "never"
    send_cert: str = ""
    send_certreq: bool | None = None
    if_id_in: str = ""
    if_id_out: str = ""

    def to_vici(self) -> ViciSection:
        """Return the section of swanctl.conf's `connections.<name>`."""
        nested = {"name", "local", "remote", "children"}
        said = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in nested}
        section = _section(**said)
        section["local"] = self.local.to_vici()
        section["remote"] = self.remote.to_vici()
        section["children"] = {child.name: child.to_vici() for child in self.children}
        return section


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Inner addresses of one family and the attributes a client is given with them."""

    name: str
    addrs: str  # "10.66.0.0/16", or a range "10.66.0.10-10.66.0.99"
    dns: tuple[str, ...] = ()
    p_cscf: tuple[str, ...] = ()

    def to_vici(self) -> ViciSection:
        """Return the section of swanctl.conf's `pools.<name>`."""
        section = _section(addrs=self.addrs, dns=self.dns)
        for number, version in ((P_CSCF_IP4_ADDRESS, 4), (P_CSCF_IP6_ADDRESS, 6)):
            addresses = [text for text in self.p_cscf if ip_address(text).version == version]
            if addresses:
                section[str(number)] = addresses
        return section


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A pre-shared key or an EAP password, and the identities that use it."""

    name: str  # ours, unique: what it is unloaded by
    kind: Literal["psk", "eap"]
    ids: tuple[str, ...]
    data: bytes = field(repr=False)

    def to_vici(self) -> ViciSection:
        """Return the argument of `load-shared`."""
        kind = {"psk": "IKE", "eap": "EAP"}[self.kind]
        return {"id": self.name, "type": kind, "data": self.data, "owners": list(self.ids)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateKey:
    """A private key, unencrypted; `kind` "any" lets charon find out."""

    data: bytes = field(repr=False)
    kind: Literal["any", "rsa", "ecdsa", "ed25519", "ed448"] = "any"

    @property
    def name(self) -> str:
        """A name for messages and comparison that tells nothing of the key."""
        return f"key-{hashlib.sha256(self.data).hexdigest()[:16]}"

    def to_vici(self) -> ViciSection:
        """Return the argument of `load-key`."""
        return {"type": self.kind, "data": self.data}


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certification authority that is trusted (`ca`), or a certificate to help a chain together."""

    data: bytes = field(repr=False)
    ca: bool = True

    @property
    def name(self) -> str:
        """A name made of the content, so that one certificate is one authority however often it is loaded."""
        return f"certificate-{hashlib.sha256(self.data).hexdigest()[:16]}"


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Item = TypeVar("Item", bound=_Named)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that a charon is to hold for us; `a | b` joins, `a - b` is what only a has."""

    connections: tuple[Connection, ...] = ()
    pools: tuple[Pool, ...] = ()
    secrets: tuple[Secret, ...] = ()
    keys: tuple[PrivateKey, ...] = ()
    certificates: tuple[Certificate, ...] = ()

    def __or__(self, other: State) -> State:
        """Return both; where a name is in both, the item of `other`."""
        return State(
            connections=_join(self.connections, other.connections),
            pools=_join(self.pools, other.pools),
            secrets=_join(self.secrets, other.secrets),
            keys=_join(self.keys, other.keys),
            certificates=_join(self.certificates, other.certificates),
        )

    def __sub__(self, other: State) -> State:
        """Return the items of self that are not, with the same content, in `other`."""
        return State(
            connections=_without(self.connections, other.connections),
            pools=_without(self.pools, other.pools),
            secrets=_without(self.secrets, other.secrets),
            keys=_without(self.keys, other.keys),
            certificates=_without(self.certificates, other.certificates),
        )

    def without_names_of(self, other: State) -> State:
        """Return the items of self whose names `other` does not use: what unloading `other` leaves."""
        return State(
            connections=_unnamed(self.connections, other.connections),
            pools=_unnamed(self.pools, other.pools),
            secrets=_unnamed(self.secrets, other.secrets),
            keys=_unnamed(self.keys, other.keys),
            certificates=_unnamed(self.certificates, other.certificates),
        )

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return any((self.connections, self.pools, self.secrets, self.keys, self.certificates))


def _join(ours: tuple[Item, ...], others: tuple[Item, ...]) -> tuple[Item, ...]:
    return tuple({item.name: item for item in (*ours, *others)}.values())


def _without(ours: tuple[Item, ...], others: tuple[Item, ...]) -> tuple[Item, ...]:
    return tuple(item for item in ours if item not in others)


def _unnamed(ours: tuple[Item, ...], others: tuple[Item, ...]) -> tuple[Item, ...]:
    names = {item.name for item in others}
    return tuple(item for item in ours if item.name not in names)


def _section(**said: str | int | bool | tuple[str, ...] | tuple[bytes, ...] | None) -> ViciSection:
    """Turn what was said into VICI values; what was not said is left out."""
    section: ViciSection = {}
    for key, value in said.items():
        if value is None or value in ("", ()):
            continue
        if isinstance(value, bool):
            section[key] = "yes" if value else "no"
        elif isinstance(value, int):
            section[key] = str(value)
        elif isinstance(value, tuple):
            section[key] = list(value)  # type: ignore[assignment]  # one of list[str], list[bytes]
        else:
            section[key] = value
    return section
