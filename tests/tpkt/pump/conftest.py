# SPDX-License-Identifier: Apache-2.0
"""One network and one link for a module's tests; each test has a pump of its own on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.tpkt.pump.rig import Maker, Network, Rig
from tpkt.link import ClientLink, GatewayLink


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture(scope="module")
def gateway_link(network: Network) -> Iterator[GatewayLink]:
    with network.gateway_link() as link:
        yield link


@pytest.fixture(scope="module")
def client_link(network: Network) -> Iterator[ClientLink]:
    with network.client_link() as link:
        yield link


@pytest.fixture
def make(network: Network, gateway_link: GatewayLink) -> Maker:
    """What starts a gateway's pump; tests of a client's have a `make` of their own."""

    def made(**options: Any) -> Rig:
        return Rig(network, gateway_link.namespace, "gateway", **options)

    return made
