# SPDX-License-Identifier: Apache-2.0
"""The tests mirror the rooms; `tests.lab` builds the networks that demo, tests and bench stand on."""
