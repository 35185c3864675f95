# SPDX-License-Identifier: Apache-2.0
"""Somebody without rights: a user of no standing, who may read files and nothing else.

Reading is left to him because the checkout may lie in root's home, which others may not even enter; what is
asked of the product under him needs more than that.
"""

from __future__ import annotations

from typing import Final

_KEPT: Final = "-all,+dac_read_search"

NOBODY: Final = (
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    f"--inh-caps={_KEPT}",
    f"--ambient-caps={_KEPT}",
    f"--bounding-set={_KEPT}",
)
