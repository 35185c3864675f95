# SPDX-License-Identifier: Apache-2.0
"""A process without any right beyond those of a file's owner: what "no root" means to the kernel.

The user stays the same, for the checkout may lie in a home that others may not even enter; every capability
is gone for good, and they are what the product needs root for.
"""

from __future__ import annotations

from typing import Final

POWERLESS: Final = ("setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")
