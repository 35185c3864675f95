# SPDX-License-Identifier: Apache-2.0
"""TPKT' and the shim: what travels on the stream, the link to charon, and the pump between them.

The core (wire, decoder, sniff, errors) is sans-IO. `link` and `pump` touch the system; `daemon` holds
what both daemons need to be daemons (tasks, admin API, console, configuration files).
"""
