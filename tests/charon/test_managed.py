# SPDX-License-Identifier: Apache-2.0
"""A charon of our own: begins, survives us, is adopted or replaced, is restarted, ends without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from charon import CharonCannotRun, ManagedCharon, process
from tests.charon.conftest import Ends, client_state, eventually, gateway_state
from tests.lab.topology import Topology
from tests.lab.wait import until

pytestmark = [pytest.mark.root, pytest.mark.charon]

PARENT = """
import asyncio, sys
from pathlib import Path
from charon import ManagedCharon

async def main():
    managed = ManagedCharon(Path(sys.argv[1]), "gateway", netns=Path(sys.argv[2]))
    await managed.start()
    print(managed.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def inside(lab: Topology, tmp_path: Path) -> ManagedCharon:
    return ManagedCharon(tmp_path / "gw", "gateway", netns=lab.gw.path)


async def test_everything_of_it_is_in_a_private_directory_and_ends_with_it(
    lab: Topology, tmp_path: Path
) -> None:
    managed = inside(lab, tmp_path)
    await managed.start()
    assert stat.S_IMODE(managed.directory.stat().st_mode) == 0o700
    assert managed.esp in ("kernel", "libipsec")
    assert managed.esp_reason
    pid = managed.pid
    assert pid
    assert process.is_ours(pid, managed.conf_path)
    await managed.stop()
    assert not process.is_ours(pid, managed.conf_path)
    assert managed.pid is None
    assert not managed.vici_path.exists()


async def test_one_that_survived_kill_9_of_its_parent_is_adopted(lab: Topology, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", PARENT, str(tmp_path / "gw"), str(lab.gw.path)]
    parent = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        pid = int(await asyncio.wait_for(parent.stdout.readline(), 20))
    finally:
        parent.kill()
        await parent.wait()
    managed = inside(lab, tmp_path)
    try:
        await managed.start()
        assert managed.adopted
        assert managed.pid == pid
    finally:
        await managed.stop()
    assert not process.is_ours(pid, managed.conf_path)


async def test_an_adopted_one_has_its_sas_and_takes_its_configuration_again(ends: Ends) -> None:
    sa = await ends.establish(client_state(), gateway_state())
    again = ManagedCharon(ends.gw.directory, "gateway", netns=ends.lab.gw.path)
    await again.start()
    assert again.adopted
    await again.load(gateway_state())
    [there] = await again.charon.list_sas()
    assert there.spi_i == sa.spi_i
    assert await asyncio.to_thread(ends.pings)
    await ends.ue.charon.rekey(child=sa.children[0].unique_id)
    assert await asyncio.to_thread(ends.pings)
    await again.charon.close()


async def test_one_with_another_configuration_is_replaced(lab: Topology, tmp_path: Path) -> None:
    first = inside(lab, tmp_path)
    await first.start()
    before = first.pid
    second = ManagedCharon(tmp_path / "gw", "gateway", netns=lab.gw.path, expected_clients=5000)
    try:
        await second.start()
        assert not second.adopted
        assert second.pid != before
        assert "ikesa_table_size = 8192" in second.conf_path.read_text()
    finally:
        await second.stop()
        await first.stop()


async def test_a_hung_one_is_replaced_and_not_adopted(lab: Topology, tmp_path: Path) -> None:
    first = inside(lab, tmp_path)
    await first.start()
    before = first.pid
    assert before
    os.kill(before, signal.SIGSTOP)
    second = inside(lab, tmp_path)
    try:
        await second.start()
        assert not second.adopted
        assert second.pid != before
    finally:
        await second.stop()
        await first.stop()


async def test_after_kill_9_of_both_nothing_of_them_is_left_for_the_next(ends: Ends) -> None:
    await ends.establish(client_state(), gateway_state())
    for managed in (ends.ue, ends.gw):
        assert managed.pid
        os.kill(managed.pid, signal.SIGKILL)
        await managed.start()
        assert not managed.adopted
    for namespace in (ends.lab.ue, ends.lab.gw):
        for what in ("xfrm state", "xfrm policy", "route show table 220"):
            left = namespace.run(["ip", *what.split()], check=False).stdout
            assert "10.66." not in left
            assert "espinudp" not in left
        assert "10.66.0.1" not in namespace.run(["ip", "address"]).stdout
    await ends.establish(client_state(), gateway_state())
    assert await asyncio.to_thread(ends.pings)


async def test_supervised_it_is_started_and_loaded_again(ends: Ends) -> None:
    await ends.gw.load(gateway_state())
    restarted = asyncio.Event()
    before = ends.gw.pid
    assert before
    async with asyncio.TaskGroup() as group:
        supervision = group.create_task(ends.gw.supervise(restarted.set))
        os.kill(before, signal.SIGKILL)
        await asyncio.wait_for(restarted.wait(), 10)
        supervision.cancel()
    assert ends.gw.pid != before
    assert ends.gw.restarts == 1
    assert [pool.name for pool in await ends.gw.charon.pools()] == ["inner"]


async def test_a_port_in_use_names_who_has_it(lab: Topology, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import socket,time;s=socket.socket(2,2);s.bind(('',4500));time.sleep(60)"]
    squatter = lab.gw.popen(argv)
    try:
        until(lambda: "4500" in lab.gw.run(["ss", "-Hlun"]).stdout, 5, "the port is taken")
        with pytest.raises(CharonCannotRun, match=rf"port 4500 is in use by python.* \(pid {squatter.pid}\)"):
            await inside(lab, tmp_path).start()
    finally:
        lab.gw.stop(squatter)


async def test_a_configuration_that_charon_cannot_start_with_tells_why(lab: Topology, tmp_path: Path) -> None:
    managed = ManagedCharon(tmp_path / "gw", "gateway", netns=lab.gw.path, extra_settings="load = nonce")
    with pytest.raises(CharonCannotRun, match="ended at once"):
        await managed.start()
    assert managed.pid is None


async def test_a_missing_program_names_the_package(
    lab: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(CharonCannotRun, match="apt install charon-systemd"):
        await inside(lab, tmp_path).start()


async def test_a_path_too_long_for_a_socket_is_said_before_anything_is_done(
    lab: Topology, tmp_path: Path
) -> None:
    directory = tmp_path / ("long" * 30)
    with pytest.raises(CharonCannotRun, match="shorter runtime directory"):
        await ManagedCharon(directory, "gateway", netns=lab.gw.path).start()
    assert not directory.exists()


async def test_kernel_esp_that_is_not_there_is_refused_with_what_the_kernel_said(
    lab: Topology, tmp_path: Path
) -> None:
    managed = ManagedCharon(tmp_path / "gw", "gateway", netns=lab.gw.path, esp="kernel")
    try:
        with contextlib.suppress(CharonCannotRun):
            await managed.start()
            assert managed.esp == "kernel"
            return
        with pytest.raises(CharonCannotRun, match="the kernel refused"):
            await managed.start()
    finally:
        await managed.stop()


async def test_secrets_are_in_no_repr_and_no_log(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    state = gateway_state()
    await ends.establish(client_state(), state)
    secret = state.secrets[0].data.decode()
    for text in (repr(state), caplog.text, ends.gw.log_path.read_text(), ends.ue.log_path.read_text()):
        assert secret not in text


async def test_a_client_learns_what_it_was_assigned(ends: Ends) -> None:
    await ends.establish(client_state(), gateway_state())

    async def known() -> bool:
        return bool(ends.ue.attributes["gateway"].dns)

    await eventually(known, 5, "the DNS server is known")
    attributes = ends.ue.attributes["gateway"]
    assert attributes.addresses == ("10.66.0.1",)
    assert attributes.dns == ("10.9.0.53",)
    assert attributes.p_cscf == ("10.9.0.5", "2001:db8:9::5")

    await ends.ue.charon.terminate(ike="gateway")

    async def forgotten() -> bool:
        return not ends.ue.attributes["gateway"].dns

    await eventually(forgotten, 5, "it is forgotten with the CHILD_SA")
