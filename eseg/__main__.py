# SPDX-License-Identifier: Apache-2.0
"""`python -m eseg` is the command `eseg`."""

from eseg.cli import main

main()
