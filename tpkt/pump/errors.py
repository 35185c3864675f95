# SPDX-License-Identifier: Apache-2.0
"""`PumpError`: the system refused the pump something. One line: what, where, and the cure."""

from __future__ import annotations

import errno
import os

_CURES = {
    errno.EPERM: "run as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN",
    errno.EACCES: "run as root, or with CAP_NET_ADMIN, CAP_NET_BIND_SERVICE and CAP_SYS_ADMIN",
    errno.EADDRINUSE: "another process has it: `ss -lntup` names it; stop that or choose another port",
    errno.EADDRNOTAVAIL: "no interface has this address: `ip address` lists those there are",
    errno.EMFILE: "raise the limit on open files (LimitNOFILE= of the service, `ulimit -n`)",
    errno.ENFILE: "raise the sysctl fs.file-max",
    errno.ENOMEM: "free memory, or lower the limits of the pump",
    errno.EAFNOSUPPORT: "the kernel does not know this kind of address",
    errno.EUSERS: "close connections, or raise what its reason names",
    errno.ENOTCONN: "connect it before handing it over",
}
NO_NAMESPACE = "bring the link up first; it makes the namespace"
NO_TLS = (
    "give a certificate with the key that belongs to it: RSA of 2048 bits or more, or P-256, P-384, Ed25519"
)
NO_AUTHORITIES = "give certificates of authorities, as DER"
NO_CONGESTION = (
    "load its module (`modprobe tcp_…`) or choose one of the sysctl net.ipv4.tcp_available_congestion_control"
)
NOT_ALLOWED_CONGESTION = "add it to the sysctl net.ipv4.tcp_allowed_congestion_control, or choose another"


class PumpError(OSError):
    """`what` says what failed and where; `errno` is the system's number; `cure` what to do about it."""

    def __init__(self, number: int, what: str, cure: str) -> None:
        """One line for an operator: see `from_system` for how the cure is found."""
        super().__init__(number, f"{what}: {os.strerror(number)}; {cure}" if number else f"{what}; {cure}")
        self.what = what
        self.cure = cure

    def __str__(self) -> str:
        """Without the number that OSError puts in front."""
        return str(self.strerror)

    @classmethod
    def from_system(cls, number: int, what: str) -> PumpError:
        """Find the cure by what failed and how."""
        if "congestion control" in what:
            cure = NOT_ALLOWED_CONGESTION if number == errno.EPERM else NO_CONGESTION
        elif what.startswith("TLS"):
            cure = NO_AUTHORITIES if "authorities" in what else NO_TLS
        elif "namespace" in what and number in (errno.ENOENT, errno.EINVAL):
            cure = NO_NAMESPACE
        else:
            cure = _CURES.get(number, "see the system's log")
        return cls(number, what, cure)


class HandOverError(PumpError):
    """A pump could not be given to another process, or taken from one: the process at the other end."""

    def __init__(self, what: str) -> None:
        """Say what went wrong with the other process."""
        super().__init__(0, f"hand-over: {what}", "the running gateway goes on; see its log")
