# SPDX-License-Identifier: Apache-2.0
"""Who lacks a capability is told which, and where it says how to get it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tpkt.daemon import rights

ASK = "from tpkt.daemon import rights; rights.require({needed!r}, 'docs/PAGE.md')"


def asked(needed: list[str], *prefix: str) -> subprocess.CompletedProcess[str]:
    argv = [*prefix, sys.executable, "-c", ASK.format(needed=needed)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.root
def test_root_lacks_nothing() -> None:
    assert rights.missing(rights.BITS) == []
    rights.require(rights.BITS, "docs/PAGE.md")


@pytest.mark.root
@pytest.mark.parametrize("gone", ["NET_RAW", "NET_BIND_SERVICE", "NET_ADMIN", "SYS_ADMIN"])
def test_what_is_missing_is_named_with_user_and_cure(gone: str) -> None:
    drop = ("setpriv", f"--bounding-set=-{gone.lower()}", f"--inh-caps=-{gone.lower()}")
    done = asked(list(rights.BITS), *drop)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.endswith(
        f"this needs root: CAP_{gone} missing for user 0; "
        "run it with sudo, or as a systemd service (docs/PAGE.md)"
    )
    # Nobody who does not ask for it is bothered.
    assert asked([name for name in rights.BITS if name != f"CAP_{gone}"], *drop).returncode == 0
