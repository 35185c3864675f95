# SPDX-License-Identifier: Apache-2.0
"""The lab: networks out of namespaces, real charons, real firewalls, real traffic."""
