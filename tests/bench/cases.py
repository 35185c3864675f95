# SPDX-License-Identifier: Apache-2.0
"""Every case of the bench, in the order in which they run and are shown."""

from __future__ import annotations

from tests.bench.case import Case
from tests.bench.connections import CONNECTIONS
from tests.bench.end_to_end import PEERS, TUNNEL
from tests.bench.latency import LATENCY
from tests.bench.pump_alone import PUMP

CASES: tuple[Case, ...] = (PUMP, TUNNEL, PEERS, CONNECTIONS, LATENCY)
