# SPDX-License-Identifier: Apache-2.0
"""The lab's network is there when asked for and gone afterwards."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import netns, topology
from tests.lab.topology import Topology
from tests.lab.wait import until

pytestmark = pytest.mark.root


def test_every_host_reaches_the_gateway_and_the_core_answers_it_in_both_families() -> None:
    with Topology() as lab:
        for address in (topology.GW, topology.GW_V6):
            lab.ue.run(["ping", "-c1", "-W2", address])
        for address in (topology.CORE, topology.CORE_V6):
            lab.gw.run(["ping", "-c1", "-W2", address])
        prefix = lab.prefix
        assert all(namespace.path.exists() for namespace in lab.namespaces)
    assert not [name for name in netns.names() if prefix in name]


def test_a_socket_made_inside_stays_inside_and_the_thread_comes_back() -> None:
    before = os.readlink("/proc/thread-self/ns/net")
    with Topology() as lab:
        with lab.gw.socket() as server, lab.ue.socket() as client:
            server.bind((topology.GW, 80))
            server.listen()
            client.settimeout(5)
            client.connect((topology.GW, 80))
            assert client.getsockname()[0] == topology.UE
        with lab.ue.enter():
            assert os.readlink("/proc/thread-self/ns/net") != before
        assert os.readlink("/proc/thread-self/ns/net") == before
        with socket.socket() as outside, pytest.raises(OSError, match="assign"):
            outside.bind((topology.GW, 80))


def runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_processes_end_with_their_namespace_also_the_ones_their_children_left_behind() -> None:
    with Topology() as lab:
        process = lab.ue.popen(["sh", "-c", "sleep 1000 & exec sleep 1000"])
        until(lambda: len(lab.ue.pids()) == 2, 5, "both sleepers run")
        pids = lab.ue.pids()
        assert process.pid in pids
    assert not [pid for pid in pids if runs(pid)]


def test_the_lab_of_a_run_that_was_killed_is_removed_by_the_next_one() -> None:
    code = (
        "import os, signal; from tests.lab.topology import Topology; lab = Topology();"
        "print(lab.prefix, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    dead = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    prefix = dead.stdout.strip()
    assert prefix
    assert f"{prefix}-gw" in netns.names()
    with Topology() as lab:
        assert f"{prefix}-gw" not in netns.names()
        assert f"{lab.prefix}-gw" in netns.names()


def test_the_default_congestion_control_is_changed_only_where_asked() -> None:
    with Topology() as lab:
        before = lab.gw.sysctl("net.ipv4.tcp_congestion_control")
        lab.ue.congestion("cubic")
        assert lab.ue.sysctl("net.ipv4.tcp_congestion_control") == "cubic"
        assert lab.gw.sysctl("net.ipv4.tcp_congestion_control") == before
