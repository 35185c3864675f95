# SPDX-License-Identifier: Apache-2.0
"""The tunnelling client: brings IKEv2 and ESP to its gateway by whatever way the network leaves open.

Joins three rooms that do not know each other: the link and the pump (`tpkt`) and strongSwan (`charon`).
`ladder` decides which transport is next and touches nothing; everything else does what it says.
"""
