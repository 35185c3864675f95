# SPDX-License-Identifier: Apache-2.0
"""The link: a veth pair between charon and the pump, whose far end is in a network namespace of its own.

On it every remote peer is an ordinary UDP 4500 peer, so that charon and the kernel need not know of TCP.
Knows addresses, routes, rules and namespaces; nothing of frames, connections or IKE. Synchronous, quick, and
at home in whatever network namespace the calling thread is in.
"""

from tpkt.link.client import ClientLink
from tpkt.link.config import ClientLinkConfig, GatewayLinkConfig
from tpkt.link.errors import LinkError
from tpkt.link.gateway import GatewayLink

__all__ = ["ClientLink", "ClientLinkConfig", "GatewayLink", "GatewayLinkConfig", "LinkError"]
