# SPDX-License-Identifier: Apache-2.0
"""The client's link: charon's packets to a gateway enter it while, and only while, a rule diverts them.

    table T:  GW dev tric0                                    always
    rule:     to GW fwmark <mark + 1>              lookup T   always: "the way back" of what arrives on tric0
    rule:     to GW ipproto udp dport 4500 | 500   lookup T   diverted
    rule:     to GW fwmark <mark>                  lookup T   diverted: kernel ESP (the child's set_mark_out),
                                                              whose lookup knows no ports before Linux 6.12

TCP to the same address takes the normal route at all times. The route has no next hop, and the device no
address: charon reads all tables without asking the rules, and passes over a route that gives it no source.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from ipaddress import ip_network

from tpkt.link import mark, sysctl
from tpkt.link.base import Link
from tpkt.link.config import Address, ClientLinkConfig, Network
from tpkt.link.ends import PUMP_MAC
from tpkt.link.errors import LinkError, explain
from tpkt.link.kernel import LOCAL_TABLE, Device, Kernel, Rule

logger = logging.getLogger(__name__)

IKE_PORTS = (4500, 500)
# Before charon's own table (rule 220), where a tunnel for all traffic leads the gateway's address elsewhere.
PRIORITY = 200
FILTER = "trikesec-mark"


class ClientLink(Link):
    """The link of a client; a context manager."""

    role = "tric"

    def __init__(self, config: ClientLinkConfig) -> None:
        """Make nothing yet."""
        super().__init__(config.instance, config.device, config.mtu)
        self.config = config
        self._table = 0

    @property
    def table(self) -> int:
        """The routing table in use, 0 while the link is down."""
        return self._table if self.is_up else 0

    def divert(self, gateway: Address) -> None:
        """Lead IKE and ESP for `gateway` into the link; harmless when done twice. Raises LinkError."""
        try:
            self._at_home(lambda kernel: _add(kernel, self._diverting(gateway)))
        except OSError as error:
            self.release(gateway)
            raise explain(f"divert {gateway} into {self.device}", error) from error

    def release(self, gateway: Address) -> None:
        """Lead IKE and ESP for `gateway` where they would go without us; harmless when done twice."""
        try:
            self._at_home(lambda kernel: _remove(kernel, self._diverting(gateway)))
        except OSError as error:
            raise explain(f"release {gateway} from {self.device}", error) from error

    def diverted(self, gateway: Address) -> bool:
        """Tell whether the kernel has the rules of `divert`, whoever might have removed them since."""
        wanted = set(self._diverting(gateway))
        return self._at_home(lambda kernel: wanted <= set(kernel.rules()))

    def _diverting(self, gateway: Address) -> list[Rule]:
        if gateway not in self.config.gateways:
            raise LinkError(f"gateway {gateway}: the link was not made for it; name it among the gateways")
        ports = [Rule(gateway, self._table, PRIORITY, port=port) for port in IKE_PORTS]
        return [*ports, Rule(gateway, self._table, PRIORITY, mark=self.config.mark)]

    def _returning(self, gateway: Address) -> Rule:
        return Rule(gateway, self._table, PRIORITY, mark=self.config.mark + 1)

    def _networks(self) -> tuple[Network, ...]:
        return tuple(ip_network(gateway) for gateway in self.config.gateways)

    def _preconditions(self, kernel: Kernel) -> None:
        local = [route for route in kernel.routes() if route.table == LOCAL_TABLE and route.local]
        for gateway in self.config.gateways:
            if gateway.version == 6 and not sysctl.has_ipv6():
                raise LinkError(f"gateway {gateway}: this kernel has no IPv6; leave it out")
            if any(gateway in route.destination for route in local):
                raise LinkError(f"gateway {gateway}: is an address of this machine; name the gateway's own")

    def _dress(self, kernel: Kernel) -> None:
        index = kernel.index(self.device)
        used = kernel.tables_in_use()
        self._table = next(table for table in range(self.config.table, 2**31) if table not in used)
        for gateway in self.config.gateways:
            kernel.add_neighbour(gateway, PUMP_MAC, index)
            kernel.add_route(ip_network(gateway), index, table=self._table, scope="link")
        sysctl.put(f"ipv4/conf/{self.device}/src_valid_mark", 1)
        _add(kernel, [self._returning(gateway) for gateway in self.config.gateways])
        try:
            program = mark.load(self.config.mark + 1)
        except OSError as error:
            logger.warning("%s: packets that arrive cannot be marked: %s", self.name, error)
            return
        try:
            kernel.mark_ingress(index, program, FILTER)
        except OSError as error:
            logger.warning("%s: packets that arrive cannot be marked: %s", self.name, error)
        finally:
            os.close(program)

    def _undress(self, kernel: Kernel, indexes: set[int]) -> None:
        """Remove the rules of our devices, and those of devices that are gone.

        A link has routes before it has rules, so that a rule of ours to an empty table is nobody's.
        """
        routes = [route for route in kernel.routes() if route.index]
        tables = {route.table for route in routes if route.index in indexes}
        lived_in = {route.table for route in routes}
        _remove(
            kernel, [rule for rule in kernel.rules() if rule.table in tables or rule.table not in lived_in]
        )

    def _troubles(self, kernel: Kernel, device: Device) -> Iterator[str]:
        tables = {route.table for route in kernel.routes() if route.index == device.index}
        rules = [rule for rule in kernel.rules() if rule.table in tables]
        for gateway in self.config.gateways:
            ports = {rule.port for rule in rules if rule.to == gateway and rule.port}
            marks = {rule.mark for rule in rules if rule.to == gateway and rule.mark}
            if self.config.mark + 1 not in marks or 0 < len(ports) < len(IKE_PORTS):
                yield (
                    f"gateway {gateway}: rules are missing (systemd-networkd removes foreign ones unless "
                    "ManageForeignRoutingPolicyRules=no); restart the daemon"
                )
        strictness = max(sysctl.get(f"ipv4/conf/{name}/rp_filter") or 0 for name in ("all", device.name))
        heeded = any(sysctl.get(f"ipv4/conf/{name}/src_valid_mark") for name in ("all", device.name))
        if strictness and not (heeded and kernel.has_ingress_filter(device.index)):
            yield (
                f"net.ipv4.conf.all.rp_filter is {strictness} and arriving packets are not marked (cls_bpf, "
                "src_valid_mark): what still comes over TCP after a move to UDP is dropped; set it to 0"
            )


def _add(kernel: Kernel, rules: list[Rule]) -> None:
    for rule in rules:
        try:
            kernel.change_rule("add", rule)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise


def _remove(kernel: Kernel, rules: list[Rule]) -> None:
    for rule in rules:
        try:
            kernel.change_rule("del", rule)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
