# SPDX-License-Identifier: Apache-2.0
"""The main job on kernel ESP: tests for the inside of a virtual machine, and what boots it."""
