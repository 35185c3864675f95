# SPDX-License-Identifier: Apache-2.0
"""What both ends say to strongSwan: VICI sessions, connections as data, events, health, a charon of our own.

This package knows nothing of TCP, frames or links; to it every peer is an ordinary UDP peer.
"""

from charon.attributes import Attributes
from charon.control import Charon, PoolUse, Stats, Version
from charon.errors import CharonCannotRun, CharonError, CharonGone, CharonRefused, CharonTimeout
from charon.events import (
    ChildRekey,
    ChildUpDown,
    Event,
    IkeRekey,
    IkeUpdate,
    IkeUpDown,
    Log,
    Missed,
    Subscription,
)
from charon.health import Health, HealthKind, Watch
from charon.managed import ManagedCharon
from charon.nudge import Method, Nudge
from charon.sas import ChildSa, IkeSa
from charon.types import Auth, Certificate, Child, Connection, Pool, PrivateKey, Secret, State

__all__ = [
    "Attributes",
    "Auth",
    "Certificate",
    "Charon",
    "CharonCannotRun",
    "CharonError",
    "CharonGone",
    "CharonRefused",
    "CharonTimeout",
    "Child",
    "ChildRekey",
    "ChildSa",
    "ChildUpDown",
    "Connection",
    "Event",
    "Health",
    "HealthKind",
    "IkeRekey",
    "IkeSa",
    "IkeUpDown",
    "IkeUpdate",
    "Log",
    "ManagedCharon",
    "Method",
    "Missed",
    "Nudge",
    "Pool",
    "PoolUse",
    "PrivateKey",
    "Secret",
    "State",
    "Stats",
    "Subscription",
    "Version",
    "Watch",
]
