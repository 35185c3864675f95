# SPDX-License-Identifier: Apache-2.0
"""A runtime directory has one owner at a time, and shows no trace of the one before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tpkt.daemon import runtime
from tpkt.daemon.runtime import RuntimeDirectoryError

HOLD = """
import sys, time
from pathlib import Path
from tpkt.daemon import runtime
with runtime.own(Path(sys.argv[1]), "gateway"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_runtime_directory_has_one_owner_and_keeps_no_trace(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "run"
    with runtime.own(directory, "gateway"):
        assert directory.stat().st_mode & 0o777 == 0o700
        with (
            pytest.raises(
                RuntimeDirectoryError,
                match=r"another client runs with .* set another client\.instance and client\.runtime",
            ),
            runtime.own(directory, "client"),
        ):
            pass
    assert list(directory.iterdir()) == []
    with runtime.own(directory, "gateway"):
        pass


def test_an_owner_that_is_killed_keeps_nobody_out(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "held\n"
            with pytest.raises(RuntimeDirectoryError), runtime.own(tmp_path, "gateway"):
                pass
        finally:
            os.kill(owner.pid, signal.SIGKILL)
            owner.wait(10)
    with runtime.own(tmp_path, "gateway"):
        pass


def test_a_runtime_directory_that_cannot_be_made_is_said_with_the_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RuntimeDirectoryError, match=r"\(Not a directory\); set client\.runtime to"),
        runtime.own(tmp_path / "file" / "run", "client"),
    ):
        pass


def test_what_fails_inside_is_not_taken_for_another_owner(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), runtime.own(tmp_path, "gateway"):
        raise BlockingIOError
