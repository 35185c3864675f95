# SPDX-License-Identifier: Apache-2.0
"""The one error of this room: a line that says what, where and the cure."""

from __future__ import annotations

import errno

# Answers to "remove this" that mean it is gone already, perhaps together with its device or namespace.
GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENXIO})


class LinkError(Exception):
    """The link cannot be made, changed or removed; the message is one line: what, where, cure."""


def explain(where: str, error: OSError) -> LinkError:
    """Put a refusal of the kernel, met at `where`, into one line with its cure."""
    number = error.errno or 0
    what = error.strerror or str(error)
    if number in {errno.EPERM, errno.EACCES}:
        return LinkError(f"{where}: {what}; run as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN")
    if number == errno.EOPNOTSUPP:
        return LinkError(
            f"{where}: {what}; the kernel needs veth devices and policy routing (Linux 4.17 or later)"
        )
    if number in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC}:
        return LinkError(f"{where}: {what}; raise the limit on open files, namespaces or memory")
    return LinkError(f"{where}: {what}; see `ip link`, `ip route` and `ip rule` for what is there")
