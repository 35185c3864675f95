# SPDX-License-Identifier: Apache-2.0
"""Tests of the protocol core, the link and the pump."""
