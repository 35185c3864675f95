# SPDX-License-Identifier: Apache-2.0
"""The two ends of the cable, alike for both roles.

     the machine's namespace            /run/netns/<role>-<instance>
     charon ──► device ═════ veth ═════ s0 ──► AnyIP: the pump's sockets
                HOST_MAC                PUMP_MAC

Nobody on the link ever asks for a neighbour: both hardware addresses are fixed and entered for good. Neither
end has an IP address: charon would take the device's for its own source, announce it, and re-think its SAs
when it comes or goes. Only settings of the device and of the pump's own namespace are changed.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from tpkt.link import sysctl
from tpkt.link.config import Network
from tpkt.link.kernel import Kernel
from tpkt.link.netns import NetworkNamespace

# Locally administered, and set by us so that nothing else (udev's MACAddressPolicy) sets others.
HOST_MAC, PUMP_MAC = "02:45:47:00:00:01", "02:45:47:00:00:02"
PUMP_DEVICE = "s0"
# The pump's way back, never seen on the wire: the IPv4 dummy address (RFC 7600) and a link-local one.
WAY_BACK = {4: ip_address("192.0.0.8"), 6: ip_address("fe80::1")}
ANYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def make_namespace(alias: str) -> NetworkNamespace:
    """Make the pump's namespace; it says whose it is before anything can see it."""

    def prepare() -> None:
        with Kernel() as kernel:
            kernel.change_device(kernel.index("lo"), alias=alias, up=True)
        for key in (
            "ipv4/conf/all/rp_filter",
            "ipv4/conf/default/rp_filter",
            "ipv6/conf/all/disable_ipv6",
            "ipv6/conf/default/disable_ipv6",
            "ipv6/conf/default/accept_ra",
        ):
            sysctl.put(key, 0)
        sysctl.put("ipv6/conf/default/addr_gen_mode", 1)  # no link-local address

    return NetworkNamespace.create(prepare)


def make_near_end(device: str, mtu: int, pump: int, alias: str, *, ipv6: bool) -> None:
    """Make the cable from here to the namespace behind the descriptor `pump`."""
    with Kernel() as kernel:
        index = kernel.add_veth(device, HOST_MAC, PUMP_DEVICE, PUMP_MAC, peer_namespace=pump, mtu=mtu)
        # From here on it is found by its alias, and it goes with the namespace, if anything fails.
        kernel.change_device(index, alias=alias)
        sysctl.put(f"ipv4/conf/{device}/rp_filter", 0)
        # Where the link needs no IPv6 it has none; where it does, nothing is sent that nobody asked for.
        sysctl.put(f"ipv6/conf/{device}/disable_ipv6", 0 if ipv6 else 1)
        sysctl.put(f"ipv6/conf/{device}/addr_gen_mode", 1)
        sysctl.put(f"ipv6/conf/{device}/accept_ra", 0)
        sysctl.put(f"ipv6/conf/{device}/router_solicitations", 0)
        kernel.change_device(index, up=True)


def make_far_end(networks: tuple[Network, ...]) -> None:
    """Let the pump claim `networks` and answer to anywhere; runs in its namespace."""
    with Kernel() as kernel:
        index, loopback = kernel.index(PUMP_DEVICE), kernel.index("lo")
        kernel.change_device(index, up=True)
        for network in networks:
            kernel.add_local(network, loopback)
        for version in sorted({network.version for network in networks}):
            kernel.add_neighbour(WAY_BACK[version], HOST_MAC, index)
            kernel.add_route(ANYWHERE[version], index, via=WAY_BACK[version], onlink=True)


def remove_far_end() -> None:
    """Remove the cable from the pump's side; runs in its namespace."""
    with Kernel() as kernel:
        kernel.delete_device(kernel.index(PUMP_DEVICE))
