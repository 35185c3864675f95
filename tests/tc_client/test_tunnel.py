# SPDX-License-Identifier: Apache-2.0
"""The whole client against the lab's gateway: what its own commands do, and networks that are not simple.

What every client must do is in tests/e2e; here is what only this one's parts can get wrong together.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from charon import ManagedCharon
from tc_client.credentials import Reader
from tc_client.loader import read
from tc_client.state import state_of
from tests.e2e import expect
from tests.lab.client import Client
from tests.lab.lab import Lab
from tests.lab.topology import GW, UE
from tests.lab.unprivileged import POWERLESS
from tests.lab.wait import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
OTHER = "192.0.2.3"


def rewrite(client: Client, old: str, new: str) -> None:
    text = client.config.read_text()
    assert old in text
    client.config.write_text(text.replace(old, new))


def rules(client: Client) -> str:
    return client.namespace.run(["ip", "rule"]).stdout


def test_up_and_down_are_commands_that_say_what_came_of_them(lab: Lab) -> None:
    lab.firewall.drop_udp()
    client = lab.client(**expect.QUICK)
    rewrite(client, "[client]", '[client]\nstart = "down"')
    client.start()
    assert client.command("status").returncode == 1
    done = client.command("up")
    assert done.returncode == 0, done
    assert done.stdout.startswith("TCP 80 carries the tunnel since")
    assert "UDP 4500: no answer in 1.8 s" in done.stderr
    assert "ipproto udp dport 4500" in rules(client)
    first = client.spis()
    expect.session(lab, client, expect.TPKT)
    assert client.command("down").returncode == 0
    assert "dport" not in rules(client)
    assert client.rung() is None
    until(lambda: not [one for one in lab.gateway.sessions() if one["ike"]], 5, "the gateway was told")
    assert client.command("up").returncode == 0
    assert client.spis() != first


def test_a_strict_filter_and_an_unknown_target_do_not_keep_the_sa_from_udp(lab: Lab) -> None:
    lab.firewall.drop_udp()
    client = lab.client(**expect.QUICK)
    rewrite(client, 'probe_address = "10.9.0.2"\n', "")
    try:
        for name in ("all", "eth0"):
            client.namespace.sysctl(f"net.ipv4.conf.{name}.rp_filter", 1)
        client.start()
        client.until_up("tcp")
        status = client.status()
        assert "ESP seen both ways: the P-CSCF 10.9.0.2 answered" in status["why"]
        assert status["assigned"] == {"dns": ["10.9.0.2"], "p_cscf": ["10.9.0.2"]}
        assert status["problems"] == []
        before = client.spis()
        lab.firewall.allow_udp()
        client.until_up("udp")
        assert client.spis() == before
        expect.traffic(client)
    finally:
        for name in ("all", "eth0"):
            client.namespace.sysctl(f"net.ipv4.conf.{name}.rp_filter", 0)


def test_an_address_that_answers_nobody_is_no_reason_to_be_down(lab: Lab) -> None:
    lab.firewall.drop_udp()
    client = lab.client(**expect.QUICK)
    rewrite(client, 'probe_address = "10.9.0.2"\n', "")
    lab.topology.core.sysctl("net.ipv4.icmp_echo_ignore_all", 1)
    try:
        client.start()
        client.until_up("tcp")
        assert "ESP is not verified: the P-CSCF 10.9.0.2 answers no ping" in client.status()["why"]
    finally:
        lab.topology.core.sysctl("net.ipv4.icmp_echo_ignore_all", 0)
    expect.traffic(client)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_another_address_is_noticed_and_the_sa_lives_on(lab: Lab, transport: str) -> None:
    if transport == "tcp":
        lab.firewall.drop_udp()
    client = lab.client(**expect.QUICK)
    client.start()
    client.until_up(transport)
    before, ue = client.spis(), lab.topology.ue
    try:
        ue.ip(f"addr add {OTHER}/24 dev eth0", f"route replace default via 192.0.2.1 src {OTHER}")
        until(
            lambda: (client.status()["changes"][0]["what"], client.rung()) == ("repaired", transport),
            10,
            "the tunnel stands again after the change",
        )
        if transport == "tcp":
            assert client.status()["connection"]["local"][0] == OTHER
        assert client.spis() == before
        expect.traffic(client)
    finally:
        ue.ip(f"route replace default via 192.0.2.1 src {UE}", f"addr del {OTHER}/24 dev eth0")


def test_a_route_that_comes_back_ends_the_waiting(lab: Lab) -> None:
    client = lab.client(attempt_seconds=2.0, verify_seconds=1.0, **expect.QUICK | {"backoff_seconds": 60.0})
    lab.topology.ue.ip("route del default")
    try:
        client.start()
        until(client.problem, 10, "the client has given up")
        assert "this machine has no route to 198.51.100.2" in client.problem()
    finally:
        lab.topology.ue.ip("route add default via 192.0.2.1")
    client.until_up("udp", 10)


def test_netcheck_needs_no_root_and_looks_past_the_link_of_a_client_that_runs(lab: Lab) -> None:
    lab.firewall.drop_udp()
    client = lab.client(**expect.QUICK)
    client.start()
    client.until_up("tcp")
    argv = [*POWERLESS, client.argv[0], "netcheck", "--gateway", GW, "--json", "--seconds", "1"]
    done = client.namespace.run(argv, check=False)
    assert done.returncode == 0, done
    [found] = json.loads(done.stdout)
    assert [check["failure"] is None for check in found["checks"]] == [False, False, True]
    assert "UDP is blocked, TCP passes" in found["verdict"]["firewall"]


@pytest.fixture
async def system(lab: Lab, tmp_path: Path) -> AsyncIterator[ManagedCharon]:
    """A charon in the UE that is not tc-client's, as the distribution's service is."""
    directory = lab.directory / "system"
    charon = ManagedCharon(directory, "client", netns=lab.topology.ue.path, ignore_interfaces=("tric0",))
    await charon.start()
    try:
        yield charon
    finally:
        await charon.stop()


@pytest.mark.parametrize("whose", ["ours", "the operator's"])
async def test_the_systems_charon_is_spoken_to_and_left_as_it_was(
    lab: Lab, system: ManagedCharon, whose: str
) -> None:
    lab.firewall.drop_udp()
    client = lab.client(**expect.QUICK)
    if whose == "the operator's":
        config = read(client.config)
        assert config.identity is not None
        state = state_of(config, Reader(client.config, config.identity).read(), ip_address(GW), None)
        await system.load(state)
        name = state.connections[0].name
        text = client.config.read_text()
        begin = text.index("[identity]")
        client.config.write_text(text[:begin] + text[text.index("[tunnel]") :])
        extra = f'connection = "{name}"\nchild = "tunnel"'
    else:
        extra = ""
    rewrite(client, "[charon]", f'[charon]\nmode = "system"\nvici = "{system.vici_path}"\n{extra}')
    before = system.pid
    await asyncio.to_thread(client.start)
    await asyncio.to_thread(client.until_up, "tcp")
    assert (await system.charon.stats()).ike_sas == 1
    await asyncio.to_thread(expect.traffic, client)
    lab.firewall.allow_udp()
    await asyncio.to_thread(client.until_up, "udp")
    assert await asyncio.to_thread(client.stop) == 0
    assert (await system.charon.stats()).ike_sas == 0
    assert system.pid == before, "it lives"
