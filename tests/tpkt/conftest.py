# SPDX-License-Identifier: Apache-2.0
"""The lab's network, for links of either role; one for a module's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.topology import Topology


@pytest.fixture(scope="module")
def network() -> Iterator[Topology]:
    with Topology() as topology:
        yield topology
