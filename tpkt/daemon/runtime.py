# SPDX-License-Identifier: Apache-2.0
"""A daemon's runtime directory, which one process at a time has. Must not know what is put into it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class RuntimeDirectoryError(Exception):
    """The runtime directory cannot be used, or another daemon has it; one line with its cure."""


@contextlib.contextmanager
def own(directory: Path, daemon: str, inherited: int | None = None) -> Iterator[int]:
    """Make `directory`, readable by its owner alone, and hold it. Raises RuntimeDirectoryError.

    Gives the descriptor of the lock; a predecessor's that was `inherited` is owned instead of taken anew.
    `daemon` is what the daemon is called, in sentences and as the table of its configuration file.
    """
    if inherited is not None:
        try:
            yield inherited
        finally:
            os.close(inherited)
        return
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The lock is on the directory itself, so that nothing remains of it however this process ends.
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RuntimeDirectoryError(
            f"{directory}: cannot be used as runtime directory ({error.strerror}); "
            f"set {daemon}.runtime to a directory that can be written"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeDirectoryError(
                f"{directory}: another {daemon} runs with this runtime directory; "
                f"stop it, or set another {daemon}.instance and {daemon}.runtime"
            ) from None
        yield descriptor
    finally:
        os.close(descriptor)
