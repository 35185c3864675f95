# SPDX-License-Identifier: Apache-2.0
"""IKE_SAs and CHILD_SAs as charon reports them, bytes turned into types.

`list-sas` and every event carry the same two sections, so this is the only place that reads them. A key that
an older or newer charon does not send gets the type's zero; a key we do not know is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What the vici package hands out: values are bytes, lists of bytes, or sections.
RawSection = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSa:
    """A CHILD_SA; counters count inner packets and their bytes."""

    unique_id: int
    name: str
    state: str  # INSTALLED, REKEYING, REKEYED, …
    mode: str
    encap: bool
    reqid: int
    spi_in: str  # eight hex digits
    spi_out: str
    bytes_in: int
    bytes_out: int
    packets_in: int
    packets_out: int
    use_in: int | None  # seconds since the last packet; None: there was none
    use_out: int | None
    install_seconds: int
    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IkeSa:
    """An IKE_SA with those of its CHILD_SAs that the answer or event carries."""

    unique_id: int
    name: str
    state: str  # CONNECTING, ESTABLISHED, REKEYING, DELETING, …
    spi_i: str  # sixteen hex digits
    spi_r: str
    local_host: str
    local_port: int
    remote_host: str
    remote_port: int
    local_id: str
    remote_id: str
    remote_eap_id: str
    initiator: bool
    established_seconds: int | None  # None: not yet
    local_vips: tuple[str, ...]
    remote_vips: tuple[str, ...]
    nat_local: bool
    nat_remote: bool
    nat_any: bool
    tasks_active: tuple[str, ...]  # requests of ours that await their answer
    tasks_queued: tuple[str, ...]
    tasks_passive: tuple[str, ...]
    children: tuple[ChildSa, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """All that charon does or will do for this SA."""
        return (*self.tasks_active, *self.tasks_queued, *self.tasks_passive)

    @property
    def established(self) -> bool:
        """Whether the peers are authenticated to each other and the SA is in use."""
        return self.state in ("ESTABLISHED", "REKEYING", "PASSIVE")


def child_sa(section: RawSection) -> ChildSa:
    """Read one member of `child-sas`."""
    return ChildSa(
        unique_id=number(section, "uniqueid"),
        name=text(section, "name"),
        state=text(section, "state"),
        mode=text(section, "mode"),
        encap=flag(section, "encap"),
        reqid=number(section, "reqid"),
        spi_in=text(section, "spi-in"),
        spi_out=text(section, "spi-out"),
        bytes_in=number(section, "bytes-in"),
        bytes_out=number(section, "bytes-out"),
        packets_in=number(section, "packets-in"),
        packets_out=number(section, "packets-out"),
        use_in=number_or_none(section, "use-in"),
        use_out=number_or_none(section, "use-out"),
        install_seconds=number(section, "install-time"),
        local_ts=texts(section, "local-ts"),
        remote_ts=texts(section, "remote-ts"),
    )


def ike_sa(name: str, section: RawSection, *, children: Sequence[ChildSa] | None = None) -> IkeSa:
    """Read one IKE_SA; `children` replaces the section's own (rekey events nest them differently)."""
    if children is None:
        children = [child_sa(child) for child in section.get("child-sas", {}).values()]
    return IkeSa(
        unique_id=number(section, "uniqueid"),
        name=name,
        state=text(section, "state"),
        spi_i=text(section, "initiator-spi"),
        spi_r=text(section, "responder-spi"),
        local_host=text(section, "local-host"),
        local_port=number(section, "local-port"),
        remote_host=text(section, "remote-host"),
        remote_port=number(section, "remote-port"),
        local_id=text(section, "local-id"),
        remote_id=text(section, "remote-id"),
        remote_eap_id=text(section, "remote-eap-id"),
        initiator=flag(section, "initiator"),
        established_seconds=number_or_none(section, "established"),
        local_vips=texts(section, "local-vips"),
        remote_vips=texts(section, "remote-vips"),
        nat_local=flag(section, "nat-local"),
        nat_remote=flag(section, "nat-remote"),
        nat_any=flag(section, "nat-any"),
        tasks_active=texts(section, "tasks-active"),
        tasks_queued=texts(section, "tasks-queued"),
        tasks_passive=texts(section, "tasks-passive"),
        children=tuple(children),
    )


def text(section: RawSection, key: str) -> str:
    """Return a value as text; identities may hold any byte, so nothing is refused."""
    value: bytes = section.get(key, b"")
    return value.decode("utf-8", "backslashreplace")


def texts(section: RawSection, key: str) -> tuple[str, ...]:
    """Return a list of values as text."""
    values: Sequence[bytes] = section.get(key, ())
    return tuple(value.decode("utf-8", "backslashreplace") for value in values)


def number(section: RawSection, key: str) -> int:
    """Return a decimal value, 0 where there is none."""
    return int(section.get(key, b"0"))


def number_or_none(section: RawSection, key: str) -> int | None:
    """Return a decimal value, None where there is none."""
    return int(section[key]) if key in section else None


def flag(section: RawSection, key: str) -> bool:
    """Return whether a value says yes; charon leaves out what is not the case."""
    return section.get(key) == b"yes"
