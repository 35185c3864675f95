# SPDX-License-Identifier: Apache-2.0
"""Who may connect, as it changes while a pump runs: rules for prefixes, bans, limits per source.

What is asked for holds for every worker when a call returns; open connections stay. Must not know where
the rules come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from tpkt.errors import MisuseError
from tpkt.pump import native
from tpkt.pump.config import MAX_BAN_SECONDS, Banning, Limits
from tpkt.pump.events import Ban
from tpkt.pump.native import ffi, lib

Network = IPv4Network | IPv6Network
_BATCH = 512  # bans fetched by one call


class Door:
    """The door of one pump, open as long as that runs."""

    def __init__(self, held: Callable[[], AbstractContextManager[Any]]) -> None:
        """`held` gives the compiled pump and keeps it alive meanwhile."""
        self._held = held

    def set_access(self, *, allow: Iterable[Network] = (), deny: Iterable[Network] = ()) -> None:
        """Replace all rules: of those that hold an address the longest prefix decides, none lets it in.

        A source that is allowed is never banned by the pump itself. A prefix may be in one of the two only.
        """
        rules, count = native.native_rules(allow, deny)
        error = ffi.new("struct tp_error *")
        with self._held() as pump:
            native.check(lib.tp_pump_set_access(pump, rules, count, error), -1, error)

    def tune(self, limits: Limits, banning: Banning) -> None:
        """Apply what is per source in `limits`, and when to ban; the rest is the pump's for life."""
        tuning = native.native_tuning(limits, banning)
        with self._held() as pump:
            lib.tp_pump_tune(pump, tuning)

    def ban(self, prefix: Network, seconds: float) -> None:
        """Refuse `prefix` for so long, whatever was before."""
        if not 0 < seconds <= MAX_BAN_SECONDS:
            raise MisuseError(f"ban of {prefix} for {seconds} s: it must be between 0 and {MAX_BAN_SECONDS}")
        with self._held() as pump:
            lib.tp_pump_ban(pump, native.native_prefix(prefix), int(seconds * 1e9))

    def unban(self, prefix: Network) -> bool:
        """Lift the ban of exactly this prefix; False when there was none."""
        with self._held() as pump:
            return bool(lib.tp_pump_unban(pump, native.native_prefix(prefix)))

    def bans(self) -> list[Ban]:
        """Every ban that holds."""
        found: list[Ban] = []
        cursor = ffi.new("uint32_t *", 0)
        bans = ffi.new("struct tp_ban[]", _BATCH)
        while True:
            with self._held() as pump:
                count = lib.tp_pump_bans(pump, cursor, bans, _BATCH)
            if not count:
                return found
            found += [native.ban(bans[index]) for index in range(count)]
