# SPDX-License-Identifier: Apache-2.0
"""`make bench`: TrIKESec measured side by side with plain TCP, ESP-in-UDP, OpenVPN and ocserv in one run."""
