# SPDX-License-Identifier: Apache-2.0
"""The lab's network, five namespaces in a row; knows addresses and cables, and nothing of what runs there.

     ue ───────────────── fw ───────────────── internet ───────────────── gw ───────────────── core
     eth0            ue0      wan0         fw0          gw0          eth0     core0          eth0
     192.0.2.2   192.0.2.1    203.0.113.1  203.0.113.2  198.51.100.1 198.51.100.2  10.9.0.1  10.9.0.2    /24
     …db8:1::2   …db8:1::1    …db8:3::1    …db8:3::2    …db8:2::1    …db8:2::2     …db8:9::1 …db8:9::2   /64

ue is the phone or laptop; fw the firewall (tests.lab.firewall) and NAT of the place it is in; internet a
router, and the place for hosts that stand behind no firewall; gw the security gateway; core the operator's
network, which leads back everything it does not know (the clients' inner addresses) to gw. All IPv6 is below
2001:db8::/32.
"""

from __future__ import annotations

import atexit
from typing import Self

from tests.lab.netns import Namespace, remove_all, sweep, unique_prefix, veth

UE, UE_V6 = "192.0.2.2", "2001:db8:1::2"
FW_UE, FW_UE_V6 = "192.0.2.1", "2001:db8:1::1"
FW_WAN, FW_WAN_V6 = "203.0.113.1", "2001:db8:3::1"
INTERNET_FW, INTERNET_FW_V6 = "203.0.113.2", "2001:db8:3::2"
INTERNET_GW, INTERNET_GW_V6 = "198.51.100.1", "2001:db8:2::1"
GW, GW_V6 = "198.51.100.2", "2001:db8:2::2"
GW_CORE, GW_CORE_V6 = "10.9.0.1", "2001:db8:9::1"
CORE, CORE_V6 = "10.9.0.2", "2001:db8:9::2"

WAN_DEVICE = "wan0"  # of fw, towards the internet: where NAT happens


class Topology:
    """The network above; a context manager. `prefix` names its namespaces (`<prefix>-ue` …).

    Without a prefix the names are of this run, and the next run removes them if this one dies. With a
    prefix of the caller they stay until `close`, or until the next lab with this prefix replaces them.
    """

    def __init__(self, prefix: str | None = None) -> None:
        """Build it at once; what an earlier, dead run left is removed first."""
        sweep()
        self.prefix = prefix or unique_prefix()
        if prefix:
            remove_all(prefix)
        self._kept = False
        atexit.register(self.close)
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        self.ue, self.fw, self.internet, self.gw, self.core = (
            Namespace(f"{self.prefix}-{role}") for role in ("ue", "fw", "internet", "gw", "core")
        )
        self.namespaces = (self.ue, self.fw, self.internet, self.gw, self.core)
        veth(self.ue, "eth0", self.fw, "ue0")
        veth(self.fw, WAN_DEVICE, self.internet, "fw0")
        veth(self.internet, "gw0", self.gw, "eth0")
        veth(self.gw, "core0", self.core, "eth0")
        addresses = (
            (self.ue, "eth0", UE, UE_V6),
            (self.fw, "ue0", FW_UE, FW_UE_V6),
            (self.fw, WAN_DEVICE, FW_WAN, FW_WAN_V6),
            (self.internet, "fw0", INTERNET_FW, INTERNET_FW_V6),
            (self.internet, "gw0", INTERNET_GW, INTERNET_GW_V6),
            (self.gw, "eth0", GW, GW_V6),
            (self.gw, "core0", GW_CORE, GW_CORE_V6),
            (self.core, "eth0", CORE, CORE_V6),
        )
        for namespace, device, v4, v6 in addresses:
            namespace.ip(f"addr add {v4}/24 dev {device}", f"addr add {v6}/64 dev {device} nodad")
        for router in (self.fw, self.internet, self.gw):
            router.sysctl("net.ipv4.ip_forward", 1)
            router.sysctl("net.ipv6.conf.all.forwarding", 1)
        for namespace, v4, v6 in (
            (self.ue, FW_UE, FW_UE_V6),
            (self.fw, INTERNET_FW, INTERNET_FW_V6),
            (self.gw, INTERNET_GW, INTERNET_GW_V6),
            (self.core, GW_CORE, GW_CORE_V6),
        ):
            namespace.ip(f"route add default via {v4}", f"route add default via {v6}")
        self.internet.ip(f"route add 192.0.2.0/24 via {FW_WAN}", f"route add 2001:db8:1::/64 via {FW_WAN_V6}")

    def congestion(self, algorithm: str) -> None:
        """Make `algorithm` the TCP congestion control of every namespace; the default is the host's."""
        for namespace in self.namespaces:
            namespace.congestion(algorithm)

    def keep(self) -> None:
        """Leave everything up after `close`, for a person who wants to look around."""
        self._kept = True

    def close(self) -> None:
        """Remove the namespaces and whatever runs in them; harmless when done twice."""
        atexit.unregister(self.close)
        if not self._kept:
            for namespace in getattr(self, "namespaces", ()):
                namespace.delete()
            remove_all(self.prefix)

    def __enter__(self) -> Self:
        """Give the network."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
