# SPDX-License-Identifier: Apache-2.0
"""The whole path: real daemons, real charons, a real firewall between them."""
