# SPDX-License-Identifier: Apache-2.0
"""What must hold on this machine before anything is made in it: rights, descriptors, and one daemon each.

Nothing here changes the machine but the limit of this process and a lock that goes with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
from collections.abc import Iterator
from pathlib import Path

# linux/capability.h; what each is for
CAPABILITIES = {
    10: "CAP_NET_BIND_SERVICE",  # ports below 1024
    12: "CAP_NET_ADMIN",  # the link, its routes, IP_TRANSPARENT, the SAs
    13: "CAP_NET_RAW",  # charon's sockets
    21: "CAP_SYS_ADMIN",  # the link's network namespace
}
SPARE_DESCRIPTORS = 256  # link sockets, listeners, the admin API, Python itself


class PreflightError(Exception):
    """This machine, or this user, cannot run the gateway; one line with its cure."""


def missing_capabilities() -> list[str]:
    """Name the capabilities that the gateway needs and this process has not."""
    status = Path("/proc/self/status").read_text()
    effective = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)
    return [name for bit, name in CAPABILITIES.items() if not effective >> bit & 1]


def require_privileges() -> None:
    """Raise PreflightError unless this process may do what the gateway does."""
    missing = missing_capabilities()
    if missing:
        raise PreflightError(
            f"this needs root: {', '.join(missing)} missing for user {os.geteuid()}; "
            "run it with sudo, or as a systemd service (docs/OPERATING.md)"
        )


def raise_descriptor_limit(connections: int) -> str | None:
    """Allow the descriptors that `connections` need, as far as we may; say when that is short."""
    wanted = connections + SPARE_DESCRIPTORS
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


@contextlib.contextmanager
def own(directory: Path) -> Iterator[None]:
    """Make `directory`, readable by its owner alone, and hold it. Raises PreflightError when another does.

    The lock is on the directory itself, so that nothing remains of it however this process ends.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise PreflightError(
            f"{directory}: cannot be used as runtime directory ({error.strerror}); set gateway.runtime"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise PreflightError(
            f"{directory}: another gateway runs with this runtime directory; "
            "stop it, or set another gateway.instance and gateway.runtime"
        ) from None
    finally:
        os.close(descriptor)
