# SPDX-License-Identifier: Apache-2.0
"""A link leaves nothing behind, repairs what a killed one left, and never takes what belongs to another."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import pytest

from tests.lab.netns import RUN, Namespace, command, names, remove, remove_all, sweep, unique_prefix
from tests.tpkt.pump_socket import SECONDS, PumpSocket
from tpkt.link import ClientLink, ClientLinkConfig, GatewayLink, GatewayLinkConfig, LinkError

pytestmark = pytest.mark.root
GATEWAY = ip_address("198.51.100.2")

# Brings a link up, says where, and waits to be killed or told to end.
OWNER = """
import sys
from ipaddress import ip_address
from tpkt.link import *
kind, instance, device = sys.argv[1:]
if kind == "gateway":
    link = GatewayLink(GatewayLinkConfig(instance=instance, device=device))
    link.up()
else:
    gateway = ip_address("198.51.100.2")
    link = ClientLink(ClientLinkConfig(instance=instance, device=device, gateways=(gateway,)))
    link.up()
    link.divert(gateway)
open(link.namespace).close()
print(link.namespace, flush=True)
sys.stdin.read()
link.down()
"""


@pytest.fixture
def host() -> Iterator[Namespace]:
    """A machine of its own, with the calling thread inside; its name is the prefix of its instances."""
    sweep()
    prefix = unique_prefix()
    namespace = Namespace(f"{prefix}-host")
    namespace.sysctl("net.ipv4.ip_forward", 1)
    try:
        with namespace.enter():
            yield namespace
    finally:
        namespace.delete()
        remove_all(prefix)


@pytest.fixture
def instance(host: Namespace) -> str:
    return host.name.removesuffix("-host")


@contextlib.contextmanager
def owner(
    host: Namespace, kind: str, instance: str, device: str, *, wrapper: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A process that owns a link, and the path of its namespace."""
    argv = [*wrapper, sys.executable, "-c", OWNER, kind, instance, device]
    process = host.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd())
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().decode().strip()
    finally:
        host.stop(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait(5)


def everything(host: Namespace) -> str:
    """All devices, routes, rules and neighbours of a machine, in words."""
    asked = (
        "-br link",
        "route show table all",
        "-6 route show table all",
        "rule",
        "-6 rule",
        "neigh",
        "-6 neigh",
    )
    return "\n".join(host.run(["ip", *what.split()]).stdout for what in asked)


def gateway_link(instance: str, **more: str) -> GatewayLink:
    return GatewayLink(GatewayLinkConfig(instance=instance, **more))  # type: ignore[arg-type]  # device only


def client_link(instance: str) -> ClientLink:
    return ClientLink(ClientLinkConfig(instance=instance, gateways=(GATEWAY,)))


def test_down_leaves_the_machine_as_it_was_and_may_be_repeated(host: Namespace, instance: str) -> None:
    before = everything(host)
    client, gateway = client_link(instance), gateway_link(instance)
    for _ in range(2):
        client.up()
        gateway.up()
        client.divert(GATEWAY)
        assert {f"eseg-{instance}", f"tric-{instance}"} <= set(names())
        client.down()
        gateway.down()
        gateway.down()
        assert everything(host) == before
        assert not {f"eseg-{instance}", f"tric-{instance}"} & set(names())
    with pytest.raises(LinkError, match="the link is down; bring it up first"):
        client.divert(GATEWAY)
    with pytest.raises(LinkError, match="the link is down; bring it up first"):
        _ = client.namespace


def test_down_is_content_with_what_others_have_removed_already(host: Namespace, instance: str) -> None:
    link = client_link(instance)
    link.up()
    link.divert(GATEWAY)
    host.ip("link del tric0")
    command(["ip", "netns", "del", link.name])
    link.down()
    assert "4500" not in host.run(["ip", "rule"]).stdout


def test_a_failure_half_way_leaves_nothing(host: Namespace, instance: str) -> None:
    host.ip("link add tric0 type ifb")
    before = everything(host)
    link = client_link(instance)
    with pytest.raises(LinkError, match="device tric0: exists"):
        link.up()
    assert everything(host) == before
    assert link.name not in names()
    host.ip("link del tric0")
    link.up()
    link.down()


@pytest.mark.parametrize("kind", ["gateway", "client"])
def test_what_a_killed_owner_left_is_replaced_and_only_that(
    host: Namespace, instance: str, kind: str
) -> None:
    link = gateway_link(instance) if kind == "gateway" else client_link(instance)
    with (
        owner(host, "client", f"{instance}-b", "tric7") as (_, other),
        owner(host, kind, instance, link.device) as (process, path),
    ):
        assert path == str(RUN / link.name)
        beside = host.run(["ip", "rule"]).stdout.count("lookup 4500")
        kill(process)
        assert link.name in names()
        with link, PumpSocket(link.namespace, 4500, socket.AF_INET):
            assert link.check() == []
            assert Path(other).exists()
            assert host.run(["ip", "rule"]).stdout.count("lookup 4500") == beside
        assert "tric7" in everything(host)


@pytest.mark.parametrize("kind", ["gateway", "client"])
def test_an_owner_in_a_mount_namespace_of_its_own_lives_works_and_is_replaced(
    host: Namespace, instance: str, kind: str
) -> None:
    """As `ip netns exec` starts it: what is mounted there is seen nowhere else and goes with the process."""
    link = gateway_link(instance) if kind == "gateway" else client_link(instance)
    inside = ["ip", "netns", "exec", host.name]
    with owner(host, kind, instance, link.device, wrapper=inside) as (process, path):
        assert path == str(RUN / link.name)
        with pytest.raises(LinkError, match=f"belongs to process {process.pid}; stop it"):
            link.up()
        kill(process)
    with owner(host, kind, instance, link.device, wrapper=inside) as (process, path):
        assert path == str(RUN / link.name)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(5) == 0
    assert link.name not in names()
    with owner(host, kind, instance, link.device, wrapper=inside) as (process, _):
        kill(process)
    with link:
        assert link.check() == []
    assert "4500" not in host.run(["ip", "rule"]).stdout


def test_an_instance_has_one_owner_and_the_other_is_told_which(host: Namespace, instance: str) -> None:
    link = gateway_link(instance)
    with link:
        link.up()  # no second link: it is up
        with pytest.raises(LinkError, match=f"{RUN / link.name}: belongs to this process; stop it, or"):
            gateway_link(instance).up()
    with owner(host, "gateway", instance, "eseg0") as (process, _):
        with pytest.raises(LinkError, match=f"belongs to process {process.pid};"):
            link.up()
        assert process.poll() is None
        assert "eseg0" in everything(host)


def test_an_owner_in_another_network_namespace_keeps_the_name_too(host: Namespace, instance: str) -> None:
    elsewhere = Namespace(f"{instance}-other")
    with (
        owner(elsewhere, "gateway", instance, "eseg0") as (process, _),
        pytest.raises(LinkError, match=f"belongs to process {process.pid};"),
    ):
        gateway_link(instance).up()
    with owner(elsewhere, "gateway", instance, "eseg0") as (process, _):
        kill(process)
    with gateway_link(instance):
        assert "eseg0" not in everything(elsewhere)


def test_a_namespace_that_is_not_ours_is_refused_and_left_alone(host: Namespace, instance: str) -> None:
    foreign = Namespace(f"eseg-{instance}")
    link = gateway_link(instance)
    with pytest.raises(LinkError, match="exists and is not ours; remove it"):
        link.up()
    assert len(link.check()) == 1
    assert foreign.path.exists()
    remove(foreign.name)
    foreign.path.write_text("a file of somebody's")
    with pytest.raises(LinkError, match="exists and is not ours"):
        link.up()
    assert foreign.path.read_text() == "a file of somebody's"
    foreign.path.unlink()


def test_without_privileges_the_missing_ones_are_named(host: Namespace, instance: str) -> None:
    wrapper = ["setpriv", "--bounding-set=-net_admin,-sys_admin"]
    done = host.run([*wrapper, sys.executable, "-c", OWNER, "gateway", instance, "eseg0"], check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "tpkt.link.errors.LinkError: no privilege to make a link "
        "(CAP_NET_ADMIN and CAP_SYS_ADMIN missing); run as root"
    )


# What containers are given: nothing can be mounted below /run, no kernel setting changed.
CONTAINER = """
mount -t tmpfs -o ro none /run && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys &&
exec "$@"
"""


def test_in_a_container_the_link_works_under_the_path_of_a_descriptor(host: Namespace, instance: str) -> None:
    host.ip(f"addr add {GATEWAY}/32 dev lo")
    host.sysctl("net.ipv4.conf.all.rp_filter", 1)
    host.sysctl("net.ipv4.conf.default.rp_filter", 1)
    wrapper = ["unshare", "--mount", "sh", "-c", CONTAINER, "sh"]
    with owner(host, "gateway", instance, "eseg0", wrapper=wrapper) as (process, path):
        assert path.startswith(f"/proc/{process.pid}/fd/")
        assert host.sysctl("net.ipv4.conf.eseg0.rp_filter") == "1"
        with (
            PumpSocket(path, 4500, socket.AF_INET) as pump,
            host.socket(kind=socket.SOCK_DGRAM) as charon,
        ):
            charon.bind((str(GATEWAY), 4500))
            charon.settimeout(SECONDS)
            pump.send(b"up", source="198.18.7.7", to=(str(GATEWAY), 4500))
            payload, source = charon.recvfrom(64)
            charon.sendto(payload, source)
            assert pump.receive().destination == "198.18.7.7"
        with pytest.raises(LinkError, match=f"process {process.pid};"):
            gateway_link(instance).up()
        kill(process)
    with gateway_link(instance):
        pass


def test_it_works_at_home_wherever_the_calling_thread_is_later(host: Namespace, instance: str) -> None:
    link = client_link(instance)
    link.up()
    elsewhere = Namespace(f"{instance}-other")
    with elsewhere.enter():
        link.divert(GATEWAY)
        assert link.diverted(GATEWAY)
        link.down()
    assert "tric0" not in everything(host)


def test_pools_of_two_instances_may_not_overlap(host: Namespace, instance: str) -> None:
    with gateway_link(instance):
        second = GatewayLink(
            GatewayLinkConfig(instance=f"{instance}-b", device="eseg1", pool4=IPv4Network("198.18.0.0/16"))
        )
        with pytest.raises(LinkError, match=r"overlaps the route to 198\.18\.0\.0/15 through device eseg0"):
            second.up()
