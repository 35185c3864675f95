# SPDX-License-Identifier: Apache-2.0
"""The security gateway: carries IKEv2 and ESP of many clients from TCP to the charon of this machine.

Joins three rooms that do not know each other: the link and the pump (`tpkt`) and strongSwan (`charon`).
"""
