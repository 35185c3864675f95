# SPDX-License-Identifier: Apache-2.0
"""The firewall in `fw`: one method per behaviour, over a real nftables ruleset that changes atomically.

Behaviours of one group (udp, tcp, ports) replace each other, those of different groups stack; NAT stands
beside them. Each has a counter of its own that lives through every change. Rules apply to forwarded packets
of both families and both directions. Knows nothing of who sends what, except the ports of IKE and ESP.
"""

from __future__ import annotations

import json
from typing import Literal

from tests.lab.netns import Namespace
from tests.lab.topology import WAN_DEVICE

Group = Literal["cut", "udp", "tcp", "ports"]

IKE_PORTS = "{ 500, 4500 }"
# The first four bytes of a UDP payload: zero is the non-ESP marker (RFC 3948 2.2), anything else a SPI.
MARKER = "@th,64,32"
# A header without data is at most 100 bytes long (IPv6 40 + TCP 60), and Linux sets PSH on the last
# segment of every write: what has neither length nor PSH carries no data of anybody.
LONGEST_BARE_SEGMENT = 100


class Firewall:
    """The ruleset of one namespace; everything passes until a method says otherwise."""

    def __init__(self, namespace: Namespace) -> None:
        """Install the open ruleset in `namespace`."""
        self.namespace = namespace
        self._rules: dict[Group, list[str]] = {}
        self._counters: set[str] = set()
        self._nat: str | None = None
        self._generation = 1
        self._apply()

    # What may be done to UDP

    def drop_udp(self) -> None:
        """Lose every UDP datagram in silence."""
        self._set("udp", "drop_udp", ["meta l4proto udp"], "drop")

    def reject_udp(self, code: Literal["port-unreachable", "admin-prohibited"] = "admin-prohibited") -> None:
        """Refuse every UDP datagram with an ICMP error of `code`."""
        self._set("udp", "reject_udp", ["meta l4proto udp"], f"reject with icmpx type {code}")

    def drop_ike_udp(self) -> None:
        """Lose IKE in silence, on 500 and on 4500; ESP-in-UDP passes."""
        matches = [f"udp {way} 500" for way in ("dport", "sport")]
        matches += [f"udp {way} 4500 {MARKER} 0" for way in ("dport", "sport")]
        self._set("udp", "drop_ike_udp", matches, "drop")

    def drop_esp_in_udp(self) -> None:
        """Lose ESP-in-UDP in silence; IKE passes, so that SAs come up and carry nothing."""
        matches = [f"udp {way} 4500 {MARKER} != 0" for way in ("dport", "sport")]
        self._set("udp", "drop_esp_in_udp", matches, "drop")

    def drop_large_udp(self, bytes_: int = 1200) -> None:
        """Lose IP packets longer than `bytes_` that carry UDP."""
        self._set("udp", "drop_large_udp", [f"meta l4proto udp meta length > {bytes_}"], "drop")

    def allow_udp(self) -> None:
        """Undo what was done to UDP."""
        self._clear("udp")

    # What may be done to TCP

    def reset_tcp(self, port: int | None = None) -> None:
        """Answer every TCP segment but the first SYN with a reset: no connection lives, old or new."""
        established = "tcp flags & (syn | ack | rst) != syn tcp flags & rst == 0"
        self._set("tcp", "reset_tcp", _to_and_from(port, established), "reject with tcp reset")

    def swallow_tcp(self, port: int | None = None) -> None:
        """Let TCP connections open and close, and lose every segment that carries data."""
        matches = _to_and_from(port, "tcp flags & psh != 0")
        matches += _to_and_from(port, f"meta length > {LONGEST_BARE_SEGMENT}")
        self._set("tcp", "swallow_tcp", matches, "drop")

    def drop_tcp(self, port: int | None = None) -> None:
        """Lose every TCP segment (to or from `port`) in silence, of open connections too."""
        self._set("tcp", "drop_tcp", _to_and_from(port, ""), "drop")

    def reject_tcp(self, port: int | None = None) -> None:
        """Refuse new TCP connections (to `port`) with a reset; open ones stay."""
        way = f"tcp dport {port} " if port else ""
        match = f"{way}tcp flags & (syn | ack) == syn"
        self._set("tcp", "reject_tcp", [match], "reject with tcp reset")

    def cut_tcp(self) -> None:
        """Reset each TCP connection of before this moment as soon as it sends; new ones live."""
        self._generation += 1
        # Each connection carries the generation of its first packet as its mark.
        self._set(
            "cut", "cut_tcp", [f"meta l4proto tcp ct mark < {self._generation}"], "reject with tcp reset"
        )

    def allow_tcp(self) -> None:
        """Undo what was done to TCP."""
        self._clear("tcp")

    # What may be left over at all

    def tcp80_only(self) -> None:
        """Let only TCP to and from port 80 pass."""
        self.tcp_only(80)

    def tcp_only(self, *ports: int) -> None:
        """Let only TCP pass, and only to and from `ports` where any is named."""
        among = "{ " + ", ".join(map(str, ports)) + " }"
        passing = [f"tcp {way} {among} accept" for way in ("dport", "sport")]
        self._set("ports", "tcp_only", [""], "drop", before=passing if ports else ["meta l4proto tcp accept"])

    def any_port(self) -> None:
        """Undo `tcp80_only` and `tcp_only`."""
        self._clear("ports")

    # NAT

    def masquerade(self, device: str = WAN_DEVICE, *, symmetric: bool = False) -> None:
        """Hide IPv4 behind the address of `device`; `symmetric` picks random ports per destination."""
        how = "masquerade fully-random" if symmetric else "masquerade"
        self._counters.add("hide_behind_nat")
        self._nat = f"oifname {device} meta nfproto ipv4 counter name hide_behind_nat {how}"
        self._apply()

    def no_nat(self) -> None:
        """Undo `masquerade` for connections to come."""
        self._nat = None
        self._apply()

    def open_all(self) -> None:
        """Undo everything, NAT included."""
        self._rules.clear()
        self._nat = None
        self._apply()

    def counters(self) -> dict[str, int]:
        """Give the packets that met each behaviour, by its name, since the first use of it."""
        listed = json.loads(self.namespace.run(["nft", "-j", "list", "counters"]).stdout)["nftables"]
        return {
            entry["counter"]["name"]: entry["counter"]["packets"] for entry in listed if "counter" in entry
        }

    def _set(
        self, group: Group, name: str, matches: list[str], verdict: str, *, before: list[str] | None = None
    ) -> None:
        self._counters.add(name)
        rules = [f"{match} counter name {name} {verdict}" for match in matches]
        self._rules[group] = [*(before or ()), *rules]
        self._apply()

    def _clear(self, group: Group) -> None:
        self._rules.pop(group, None)
        self._apply()

    def _apply(self) -> None:
        """Replace all rules in one transaction; counters, once there, stay."""
        lines = ["add table inet lab"]
        lines += [f"add counter inet lab {name}" for name in sorted(self._counters)]
        lines += [
            "add chain inet lab forward { type filter hook forward priority 0; policy accept; }",
            "add chain inet lab nat { type nat hook postrouting priority 100; policy accept; }",
            "flush chain inet lab forward",
            "flush chain inet lab nat",
            f"add rule inet lab forward ct state new ct mark set {self._generation}",
        ]
        order: tuple[Group, ...] = ("cut", "udp", "tcp", "ports")
        lines += [
            f"add rule inet lab forward {rule}" for group in order for rule in self._rules.get(group, ())
        ]
        if self._nat:
            lines.append(f"add rule inet lab nat {self._nat}")
        self.namespace.run(["nft", "-f", "-"], stdin="\n".join(lines) + "\n")


def _to_and_from(port: int | None, match: str) -> list[str]:
    """Give the rules that match TCP segments to and from `port` (or all) for which `match` holds."""
    if port is None:
        return [f"meta l4proto tcp {match}".strip()]
    return [f"tcp {way} {port} {match}".strip() for way in ("dport", "sport")]
