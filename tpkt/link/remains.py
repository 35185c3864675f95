# SPDX-License-Identifier: Apache-2.0
"""What stands under an instance's name below /run/netns: somebody's, a dead owner's, or not ours at all.

A link's namespace carries an alias on its `lo`; the file below the mount carries a marker, because after a
crash in a mount namespace of its own (`ip netns exec`, a service) that file is all that is left to see.
"""

from __future__ import annotations

import errno
from pathlib import Path

from tpkt.link import ends, netns, owner
from tpkt.link.errors import GONE, LinkError
from tpkt.link.kernel import Kernel
from tpkt.link.netns import NetworkNamespace


def require_name_free(name: str, alias: str) -> None:
    """Raise LinkError unless `name` is free or a dead owner's; `alias` is how ours begin."""
    path = netns.RUN / name
    if not path.exists():
        return
    pid = owner.living(name)
    if pid is not None:
        raise owner.taken(name, pid)
    if not _made_by_a_link(path, alias):
        raise LinkError(
            f"{path}: exists and is not ours; remove it (ip netns del) or choose another instance"
        )


def clear_name(name: str) -> None:
    """Remove a dead owner's namespace, and with it a link that starts in another namespace than this."""
    path = netns.RUN / name
    if not path.exists():
        return
    namespace = NetworkNamespace.open(path)
    try:
        namespace.run(ends.remove_far_end)
    except OSError as error:
        if error.errno not in GONE | {errno.EINVAL}:  # EINVAL: a file whose mount is gone
            raise
    finally:
        namespace.close()
    netns.unname(name)


def _made_by_a_link(path: Path, alias: str) -> bool:
    def says_so() -> bool:
        with Kernel() as kernel:
            return any(device.alias.startswith(alias) for device in kernel.devices())

    namespace = NetworkNamespace.open(path)
    try:
        return namespace.run(says_so)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: a file whose mount is gone
            raise
        return path.read_bytes() == netns.MARKER
    finally:
        namespace.close()
