# SPDX-License-Identifier: Apache-2.0
"""What the configuration files of both daemons are made of: frozen msgspec types, and nothing that acts.

Must not know what any one daemon can be told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

HIDDEN = "(hidden)"

Port = Annotated[int, Meta(ge=1, le=65535)]
SecondsOrOff = Annotated[float, Meta(ge=0, le=86_400)]
# Names become names of devices, directories, namespaces and VICI sections: no character needs care there.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}$")]
# Linux refuses device names longer than 15 characters; a link appends nothing to this one.
Device = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$")]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: refuses keys it does not know."""


class Daemon(Section, frozen=True, kw_only=True):
    """The daemon itself: its name among others on this machine, and where it keeps its files."""

    instance: Name = "default"
    runtime: str
    admin: str | None = None

    @property
    def directory(self) -> Path:
        """The directory of this daemon's files."""
        return Path(self.runtime)

    @property
    def socket(self) -> Path:
        """The socket of the admin API."""
        return Path(self.admin) if self.admin else self.directory / "admin.sock"


class SecretHolder(Section, frozen=True, kw_only=True):
    """A table that may hold a secret, or name the file that does; the secret is never in its repr."""

    secret: str | None = None
    secret_file: str | None = None

    def __repr__(self) -> str:
        """Show every key, and of the secret only whether there is one."""
        keys = ((name, getattr(self, name)) for name in self.__struct_fields__)
        shown = (f"{n}={HIDDEN if n == 'secret' and value else repr(value)}" for n, value in keys)
        return f"{type(self).__name__}({', '.join(shown)})"
