# SPDX-License-Identifier: Apache-2.0
"""How a daemon logs: to standard error, one line each, in the form that whoever reads it there expects.

A person gets time and level; systemd's journal, which knows the time itself, gets its level prefix
(sd-daemon(3)). Must not know who logs what.
"""

from __future__ import annotations

import logging
import os
import sys

# syslog(3) priorities
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
NOISY = ("aiohttp", "asyncio", "pyroute2")  # libraries whose debug lines nobody asked for


class OneLine(logging.Formatter):
    """Every record on one line, its traceback too, so that no line is without its time and level."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line of `record`."""
        return " | ".join(line for line in super().format(record).splitlines() if line.strip())


class Journal(OneLine):
    """The same for systemd's journal."""

    def __init__(self) -> None:
        """Leave the time to the journal."""
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Give the line of `record` with the priority that the journal reads."""
        return f"<{PRIORITIES.get(record.levelno, 6)}>{super().format(record)}"


def to_stderr(*, verbose: bool) -> None:
    """Send the log of this process to standard error: from info on, or all of it."""
    handler = logging.StreamHandler(sys.stderr)
    for_person = OneLine("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(Journal() if in_journal() else for_person)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.INFO)


def in_journal() -> bool:
    """Tell whether standard error is systemd's journal (JOURNAL_STREAM, systemd.exec(5))."""
    try:
        here = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):  # closed, or not a file at all
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{here.st_dev}:{here.st_ino}"
