# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between us and strongSwan: each error says what, where and the cure.

Three kinds are told apart because callers act differently on them: `CharonGone` (nobody there: start or
reconnect), `CharonTimeout` (somebody there who does not answer: it hangs, or is overloaded) and
`CharonRefused` (it answered, and the answer was no: the request or the configuration is at fault).
"""

from __future__ import annotations


class CharonError(Exception):
    """A failure to talk to strongSwan or to have it do something; the base of all errors of this package."""

    def __init__(self, what: str, *, where: str = "", cure: str = "") -> None:
        """Say `what` happened, `where` (socket, program, file) and what to do about it."""
        self.what = what
        self.where = where
        self.cure = cure
        sentence = f"{where}: {what}" if where else what
        super().__init__(f"{sentence}. {cure}" if cure else sentence)


class CharonGone(CharonError):
    """Nobody listens on the VICI socket, or the connection to it broke: charon is not running (any more)."""


class CharonTimeout(CharonError):
    """charon accepted a request and did not answer within the deadline; the session was closed."""


class CharonRefused(CharonError):
    """charon answered that it will not, or could not, do it."""


class CharonCannotRun(CharonError):
    """A charon of our own cannot be started on this machine as it is: program, port, device, right."""
