# SPDX-License-Identifier: Apache-2.0
"""What a link refuses to be asked, each with its cure on one line."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import pytest

from tpkt.link import ClientLinkConfig, GatewayLinkConfig, LinkError

GATEWAY_REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"instance": "a/b"}, "instance 'a/b': not a name"),
    ({"instance": ""}, "instance '': not a name"),
    ({"instance": "x" * 49}, "not a name"),
    ({"device": "much-too-long-name"}, "device 'much-too-long-name': not a device name"),
    ({"device": ".."}, "device '..': not a device name"),
    ({"device": "all"}, "device 'all': not a device name"),
    ({"mtu": 1279}, "mtu 1279: out of range; choose 1280 to 65535"),
    ({"mtu": 65536}, "mtu 65536: out of range"),
    ({"pool4": IPv4Network("198.18.0.0/28")}, "pool 198.18.0.0/28: too small"),
    ({"pool6": IPv6Network("2001:2::/124")}, "pool 2001:2::/124: too small"),
    ({"pool4": IPv4Network("127.0.0.0/8")}, "pool 127.0.0.0/8: not unicast"),
    ({"pool4": IPv4Network("224.0.0.0/4")}, "pool 224.0.0.0/4: not unicast"),
    ({"pool6": IPv6Network("fe80::/64")}, "pool fe80::/64: not unicast"),
]

GATEWAY = ip_address("198.51.100.2")
CLIENT_REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"gateways": ()}, "gateways: none given"),
    ({"gateways": (GATEWAY, GATEWAY)}, "gateways: an address is given twice"),
    *(
        ({"gateways": (ip_address(address),)}, f"gateway {address}: not a unicast address")
        for address in ("0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "169.254.1.1")
    ),
    *(
        ({"gateways": (ip_address(address),)}, "not a unicast address that a gateway can have")
        for address in ("::", "::1", "ff02::1", "fe80::1", "::ffff:198.51.100.2")
    ),
    ({"gateways": (GATEWAY,), "table": 254}, "table 254: out of range"),
    ({"gateways": (GATEWAY,), "mark": 0}, "mark 0x0: out of range"),
    ({"gateways": (GATEWAY,), "instance": "-x"}, "instance '-x': not a name"),
]


@pytest.mark.parametrize(("values", "message"), GATEWAY_REFUSALS)
def test_a_gateways_link_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(LinkError) as caught:
        GatewayLinkConfig(**values)
    assert message in str(caught.value)
    assert ";" in str(caught.value)  # the cure stands behind it


@pytest.mark.parametrize(("values", "message"), CLIENT_REFUSALS)
def test_a_clients_link_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(LinkError) as caught:
        ClientLinkConfig(**values)
    assert message in str(caught.value)
    assert ";" in str(caught.value)


def test_the_defaults_are_accepted() -> None:
    assert str(GatewayLinkConfig().pool4) == "198.18.0.0/15"
    assert ClientLinkConfig(gateways=(GATEWAY, ip_address("2001:db8::1"))).table == 4500
