# SPDX-License-Identifier: Apache-2.0
"""The gateway: its configuration, what it joins, and its life with a real link, pump and charon."""
