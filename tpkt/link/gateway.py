# SPDX-License-Identifier: Apache-2.0
"""The gateway's link: the whole pool of flow addresses stands behind one device.

    pool[2] dev eseg0          one host route: what charon installs for inner addresses leads over it too
    pool via pool[2] dev eseg0 one next hop, so one neighbour entry for any number of clients

The way back to a flow address is the way it came by, so that reverse-path filters of any strictness agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from tpkt.link import sysctl
from tpkt.link.base import Link
from tpkt.link.config import GatewayLinkConfig, Network
from tpkt.link.ends import PUMP_MAC
from tpkt.link.errors import LinkError
from tpkt.link.kernel import LOCAL_TABLE, MAIN_TABLE, Device, Kernel, Route

DEFAULT_TABLE = 253
NEXT_HOP = 2  # of a pool; its first addresses are kept from clients
# A route as wide as this is a way to the rest of the world (0.0.0.0/1, 2000::/3), not a claim on the pool.
WIDEST_CLAIM = 7


class GatewayLink(Link):
    """The link of a gateway; a context manager."""

    role = "eseg"

    def __init__(self, config: GatewayLinkConfig) -> None:
        """Make nothing yet."""
        super().__init__(config.instance, config.device, config.mtu)
        self.config = config

    def _networks(self) -> tuple[Network, ...]:
        return self.config.pools

    def _preconditions(self, kernel: Kernel) -> None:
        if self.config.pool6 is not None and not sysctl.has_ipv6():
            raise LinkError(f"pool {self.config.pool6}: this kernel has no IPv6; leave out the IPv6 pool")
        routes = kernel.routes()
        names = {device.index: device.name for device in kernel.devices()}
        for pool in self.config.pools:
            for route in routes:
                if _claims(route, pool):
                    raise LinkError(
                        f"pool {pool}: overlaps the route to {route.destination} "
                        f"{'of' if route.local else 'through'} device {names.get(route.index, '?')}; "
                        "choose a pool that nobody routes"
                    )

    def _dress(self, kernel: Kernel) -> None:
        index = kernel.index(self.device)
        for pool in self.config.pools:
            next_hop = pool[NEXT_HOP]
            kernel.add_neighbour(next_hop, PUMP_MAC, index)
            kernel.add_route(ip_network(next_hop), index, scope="link")
            kernel.add_route(pool, index, via=next_hop)

    def _undress(self, kernel: Kernel, indexes: set[int]) -> None:
        """Leave it to the kernel: all there is goes with the device."""

    def _troubles(self, kernel: Kernel, device: Device) -> Iterator[str]:
        routes = kernel.routes()
        for pool in self.config.pools:
            if not any(route.destination == pool and route.index == device.index for route in routes):
                yield f"pool {pool}: no route through {device.name} (somebody removed it); restart the daemon"
            # IPv4 asks the device that a packet came in by, IPv6 only the machine as a whole.
            where = f"ipv4/conf/{device.name}" if pool.version == 4 else "ipv6/conf/all"
            if sysctl.get(f"{where}/forwarding") == 0:
                switch = "net.ipv4.ip_forward" if pool.version == 4 else "net.ipv6.conf.all.forwarding"
                yield (
                    f"device {device.name}: forwards no IPv{pool.version}: clients reach only this machine; "
                    f"set {switch}=1"
                )


def _claims(route: Route, pool: Network) -> bool:
    """Tell whether a route that is not ours wants addresses of the pool."""
    to = route.destination
    return (
        route.table in {MAIN_TABLE, LOCAL_TABLE, DEFAULT_TABLE}
        and to.version == pool.version
        and to.prefixlen > WIDEST_CLAIM
        and to.overlaps(pool)
    )
