# SPDX-License-Identifier: Apache-2.0
"""Bad configuration, both commands: one line with file, key and cure, status 2, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab import netns
from tests.lab.daemons import Daemon
from tests.lab.lab import Lab
from tests.lab.unprivileged import POWERLESS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]


class Row(NamedTuple):
    """What is wrong with the configuration of which program, how it got there, the key that is named."""

    program: str
    sentence: str
    change: Callable[[str], str]
    key: str


ROWS = [
    Row("eseg", "an unknown key", lambda t: t.replace("[gateway]", "[gateway]\nwrokers = 2"), "gateway"),
    Row("eseg", "a wrong type", lambda t: t.replace("workers = 2", 'workers = "two"'), "gateway.workers"),
    Row(
        "eseg", "overlapping pools", lambda t: t.replace('"10.66.0.0/16"', '"198.18.7.0/24"'), "pool[0].addrs"
    ),
    Row("eseg", "an unreadable key", lambda t: t.replace("gw-example.key", "absent.key"), "local.key"),
    Row("eseg", "a port below one", lambda t: t.replace("port = 80", "port = 0", 1), "listen[0].port"),
    Row("eseg", "no TOML", lambda t: t + "\n[[[", ""),
    Row("tc-client", "an unknown key", lambda t: t.replace("[ladder]", "[ladder]\nrungs = 3"), "ladder"),
    Row("tc-client", "a wrong type", lambda t: t.replace("[80]", '"80"'), "gateway.tcp_ports"),
    Row("tc-client", "an unreadable key", lambda t: t.replace("-example.key", "-absent.key"), "identity.key"),
    Row(
        "tc-client", "no such network", lambda t: t.replace("10.9.0.0/24", "10.9.0.0/99"), "tunnel.remote_ts"
    ),
]


def state_of_the_machine(lab: Lab) -> tuple[object, ...]:
    namespaces = (lab.topology.ue, lab.topology.gw)
    return (
        [name for name in netns.names() if lab.topology.prefix in name],
        *(namespace.run(["ip", "-br", "link"]).stdout for namespace in namespaces),
        *(namespace.run(["ip", "rule"]).stdout for namespace in namespaces),
        *(sorted(namespace.pids()) for namespace in namespaces),
    )


def refused(daemon: Daemon, config: Path, *words: str) -> str:
    argv = [str(Path(sys.executable).with_name(daemon.program)), *words, "--config", str(config)]
    done = daemon.namespace.run(argv, check=False, seconds=30)
    assert done.returncode == 2, done
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.program} {row.sentence}" for row in ROWS])
def test_what_cannot_be_used_is_refused_by_name(lab: Lab, tmp_path: Path, row: Row) -> None:
    daemon = lab.gateway if row.program == "eseg" else lab.client()
    text = daemon.config.read_text()
    bad = tmp_path / "bad.toml"
    # A runtime directory of its own: the gateway of the lab runs, and is not meant here.
    bad.write_text(row.change(text).replace(str(daemon.runtime), str(tmp_path / "run")))
    assert row.change(text) != text
    before = state_of_the_machine(lab)
    line = refused(daemon, bad, "run")
    assert str(bad) in line
    assert row.key in line
    assert ";" in line  # what is wrong; what mends it
    assert state_of_the_machine(lab) == before
    assert not (tmp_path / "run" / "admin.sock").exists()


def test_a_port_in_use_is_named_with_its_cure(lab: Lab, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    text = lab.gateway.config.read_text()
    text = text.replace(str(lab.gateway.runtime), str(tmp_path / "run"))
    other.write_text(text.replace(f'"{lab.topology.prefix}"', f'"{lab.topology.prefix}-x"'))
    before = state_of_the_machine(lab)
    line = refused(lab.gateway, other, "run")
    assert "80" in line
    assert state_of_the_machine(lab) == before


def test_a_second_daemon_of_the_same_name_is_refused_and_the_first_lives(lab: Lab) -> None:
    line = refused(lab.gateway, lab.gateway.config, "run")
    assert "is running here already" in line
    assert lab.gateway.status()


@pytest.mark.parametrize("program", ["eseg", "tc-client"])
def test_without_root_the_cure_is_said(lab: Lab, program: str) -> None:
    daemon = lab.gateway if program == "eseg" else lab.client()
    argv = [str(Path(sys.executable).with_name(program)), "run", "--config", str(daemon.config)]
    done = subprocess.run(
        [*POWERLESS, *argv],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2, done
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert os.geteuid() == 0


@pytest.mark.parametrize("program", ["eseg", "tc-client"])
def test_check_finds_nothing_wrong_with_what_runs(lab: Lab, program: str) -> None:
    daemon = lab.gateway if program == "eseg" else lab.client()
    assert daemon.command("check").returncode == 0
