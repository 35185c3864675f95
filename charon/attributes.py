# SPDX-License-Identifier: Apache-2.0
"""What a gateway gave a client of ours besides an inner address: DNS servers and P-CSCFs.

VICI does not tell. DNS servers and inner addresses reach an updown script as environment variables; ours
writes them into the runtime directory. P-CSCF addresses come from charon.wirelog. Whatever is read was chosen
by the gateway, so only what parses as an IP address counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from charon.types import Child, Connection, State
from charon.wirelog import WireLog

# `$1` is made of hexadecimal digits and the values are only ever data to printf: nothing here is evaluated
# but names of variables, made of constants and a counter.
SCRIPT: Final = """\
#!/bin/sh
# Written by trikesec when it starts its charon: notes what the gateway has assigned. Do not edit.
umask 077
file={directory}/$1
values() {{
  number=1
  while eval "value=\\${{$1_$number:-}}"; [ -n "$value" ]; do
    printf '%s %s\\n' "$2" "$value"
    number=$((number + 1))
  done
}}
case "$PLUTO_VERB" in
up-*)
  {{
    values PLUTO_MY_SOURCEIP4 address
    values PLUTO_MY_SOURCEIP6 address
    values PLUTO_DNS4 dns
    values PLUTO_DNS6 dns
  }} > "$file.$$" && mv "$file.$$" "$file"
  ;;
down-*)
  rm -f "$file"
  ;;
esac
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What one connection was assigned."""

    addresses: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    p_cscf: tuple[str, ...] = ()


class AttributeStore:
    """The script, its notes, and the log of decoded messages of one runtime directory."""

    def __init__(self, directory: Path, wire_log: Path) -> None:
        """Use `directory`, which belongs to the charon that logs into `wire_log`."""
        self._script = directory / "updown"
        self._notes = directory / "attributes"
        self._wire = WireLog(wire_log)

    def forget(self) -> None:
        """Forget what an ended charon has noted."""
        if self._notes.is_dir():
            for note in self._notes.iterdir():
                note.unlink()

    def install(self) -> None:
        """Write the script that charon will call."""
        self._notes.mkdir(mode=0o700, exist_ok=True)
        self._script.write_text(SCRIPT.format(directory=shlex.quote(str(self._notes))))
        self._script.chmod(0o700)

    def with_script(self, state: State) -> State:
        """Give `state` with our script in every child that has none of its own."""
        connections = tuple(self._connection(connection) for connection in state.connections)
        return replace(state, connections=connections)

    def read(self, connection: Connection) -> Attributes:
        """Give what `connection` has been assigned, as far as it is known by now."""
        notes = [self._notes / _note_name(connection.name, child.name) for child in connection.children]
        lines = [line for note in notes for line in _lines(note)]
        self._wire.read()
        return Attributes(
            addresses=_addresses(lines, "address"),
            dns=_addresses(lines, "dns"),
            p_cscf=self._wire.p_cscf(connection.name),
        )

    def noted_addresses(self) -> tuple[str, ...]:
        """Give every inner address that the script has noted and not taken back."""
        notes = self._notes.iterdir() if self._notes.is_dir() else ()
        return _addresses([line for note in notes for line in _lines(note)], "address")

    def trim(self) -> None:
        """Keep the log of decoded messages small."""
        self._wire.read()
        self._wire.trim()

    def _connection(self, connection: Connection) -> Connection:
        children = tuple(
            child if child.updown else self._child(connection.name, child) for child in connection.children
        )
        return replace(connection, children=children)

    def _child(self, connection: str, child: Child) -> Child:
        return replace(child, updown=f"{shlex.quote(str(self._script))} {_note_name(connection, child.name)}")


def _note_name(connection: str, child: str) -> str:
    """Name the note of a child by digits only: names of connections may hold anything."""
    return "-".join(hashlib.sha256(name.encode()).hexdigest()[:16] for name in (connection, child))


def _lines(note: Path) -> list[str]:
    try:
        return note.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _addresses(lines: list[str], kind: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for line in lines:
        name, _, value = line.partition(" ")
        if name == kind:
            with contextlib.suppress(ValueError):
                found[str(ip_address(value))] = None
    return tuple(found)
