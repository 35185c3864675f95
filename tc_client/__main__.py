# SPDX-License-Identifier: Apache-2.0
"""`python -m tc_client` is the command `tc-client`."""

from tc_client.cli import main

main()
