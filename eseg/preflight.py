# SPDX-License-Identifier: Apache-2.0
"""What the gateway's process needs before it makes anything: rights and descriptors.

Nothing here changes the machine; the limit of descriptors is this process's own.
"""

from __future__ import annotations

import contextlib
import resource

from tpkt.daemon import rights

CAPABILITIES = (
    "CAP_NET_BIND_SERVICE",  # ports below 1024
    "CAP_NET_ADMIN",  # the link, its routes, IP_TRANSPARENT, the SAs
    "CAP_NET_RAW",  # charon's sockets
    "CAP_SYS_ADMIN",  # the link's network namespace
)
SPARE_DESCRIPTORS = 256  # link sockets, listeners, the admin API, Python itself


def require_privileges() -> None:
    """Raise RightsError unless this process may do what the gateway does."""
    rights.require(CAPABILITIES, "docs/OPERATING.md")


def raise_descriptor_limit(connections: int, relays: int = 0) -> str | None:
    """Allow the descriptors that `connections` and web clients need, as far as we may; say what is short."""
    wanted = connections + relays + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard) or soft >= wanted:
        return None
    # Root may raise the hard limit too, up to fs.nr_open; without that right there is the hard limit.
    for limits in ((wanted, max(hard, wanted)), (hard, hard)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            break
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= wanted:
        return None
    return (
        f"at most {hard} file descriptors: fewer than limits.connections = {connections} needs; "
        f"set LimitNOFILE={wanted} in the unit, or `ulimit -Hn {wanted}`"
    )
