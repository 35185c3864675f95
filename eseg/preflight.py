# SPDX-License-Identifier: Apache-2.0
"""What must hold on this machine before anything is made in it: rights, descriptors, and one daemon each.

Nothing here changes the machine but the limit of this process and a lock file that goes with it.
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
LOCKS = Path("/run/lock")


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
    """Allow the descriptors that `connections` need, up to the hard limit; say when that is short."""
    wanted = connections + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < ceiling:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
    if ceiling < wanted:
        return (
            f"at most {hard} file descriptors: fewer than limits.connections = {connections} needs; "
            f"set LimitNOFILE={wanted} in the unit, or `ulimit -Hn {wanted}`"
        )
    return None


@contextlib.contextmanager
def only_one(instance: str) -> Iterator[None]:
    """Hold the lock of `instance` on this machine. Raises PreflightError when another daemon has it.

    The link's names are the instance's: a second daemon would take the first one's link for wreckage.
    """
    LOCKS.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = LOCKS / f"eseg-{instance}.lock"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise PreflightError(
                f"instance {instance} runs already (pid {pid or 'unknown'}); "
                "stop it, or set another gateway.instance"
            ) from None
        if _is_at(descriptor, path):
            break
        os.close(descriptor)  # its last owner removed the file between our two calls: take the new one
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
