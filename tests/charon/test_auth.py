# SPDX-License-Identifier: Apache-2.0
"""Every way to authenticate comes up from what `load` brings in, over IPv4 and IPv6; the wrong does not."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from charon import Auth, Certificate, Connection, IkeSa, Pool, PrivateKey, State
from charon.session import CommandSession
from tests.charon.conftest import Ends, client_state, eventually, gateway_state
from tests.lab.pki import Authority, Identity
from tests.lab.topology import GW, GW_V6
from tests.lab.wait import until, until_async

pytestmark = [pytest.mark.root, pytest.mark.charon]

SUBSCRIBER = "subscriber@home.example"


class Pki:
    """A gateway's and a client's certificate under one authority."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.ca = self.authority.cert.read_bytes()
        self.gateway = self.authority.gateway("gw.example", [GW, GW_V6])
        self.client = self.authority.client("ue.example")


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "pki")


def me(identity: Identity) -> Auth:
    return Auth(kind="pubkey", id=identity.id, certs=(identity.cert.read_bytes(),))


def key(identity: Identity) -> State:
    return State(keys=(PrivateKey(data=identity.key.read_bytes()),))


async def test_certificates(ends: Ends, pki: Pki) -> None:
    trust = State(certificates=(Certificate(data=pki.ca),))
    client = client_state(me(pki.client), Auth(kind="pubkey", id="gw.example", cacerts=(pki.ca,)))
    gateway = gateway_state(me(pki.gateway), Auth(kind="pubkey", cacerts=(pki.ca,)))
    sa = await ends.establish(client | trust | key(pki.client), gateway | trust | key(pki.gateway))
    assert sa.remote_id == "gw.example"
    assert await asyncio.to_thread(ends.pings)


@pytest.mark.parametrize("method", ["eap-md5", "eap-mschapv2"])
async def test_eap_with_a_gateway_certificate(ends: Ends, pki: Pki, method: str) -> None:
    local = Auth(kind=method, id="ue.example", eap_id=SUBSCRIBER)
    client = client_state(local, Auth(kind="pubkey", id="gw.example", cacerts=(pki.ca,)))
    gateway = gateway_state(me(pki.gateway), Auth(kind=method, eap_id="%any"))
    # The gateway knows subscribers by their EAP identity.
    [secret] = gateway.secrets
    gateway |= State(secrets=(dataclasses.replace(secret, ids=(SUBSCRIBER,)),))
    await ends.establish(client, gateway | key(pki.gateway))
    [there] = await ends.gw.charon.list_sas()
    assert there.remote_eap_id == SUBSCRIBER
    assert await asyncio.to_thread(ends.pings)


async def test_ipv6_outside(ends: Ends) -> None:
    def over_ipv6(state: State, **addresses: tuple[str, ...]) -> State:
        connections = tuple(dataclasses.replace(item, **addresses) for item in state.connections)  # type: ignore[arg-type]  # names of two fields
        return dataclasses.replace(state, connections=connections)

    client = over_ipv6(client_state(), remote_addrs=(GW_V6,))
    gateway = over_ipv6(gateway_state(), local_addrs=(GW_V6,))
    sa = await ends.establish(client, gateway)
    assert sa.remote_host == GW_V6
    assert await asyncio.to_thread(ends.pings)


async def test_ipv6_inside(ends: Ends) -> None:
    def with_ipv6(state: State) -> State:
        def both(connection: Connection) -> Connection:
            vips = ("0.0.0.0", "::") if connection.vips else ()
            pools = (*connection.pools, "inner6") if connection.pools else ()
            ts6 = "2001:db8:9::/64"
            children = tuple(
                dataclasses.replace(
                    child,
                    local_ts=(*child.local_ts, ts6) if connection.pools else child.local_ts,
                    remote_ts=(*child.remote_ts, ts6) if connection.vips else child.remote_ts,
                )
                for child in connection.children
            )
            return dataclasses.replace(connection, vips=vips, pools=pools, children=children)

        pools = (*state.pools, Pool(name="inner6", addrs="2001:db8:66::/112")) if state.pools else ()
        return dataclasses.replace(state, pools=pools, connections=tuple(map(both, state.connections)))

    sa = await ends.establish(with_ipv6(client_state()), with_ipv6(gateway_state()))
    assert sa.local_vips == ("10.66.0.1", "2001:db8:66::1")
    assert await asyncio.to_thread(ends.pings)
    argv = ["ping", "-6", "-q", "-c", "2", "-i", "0.1", "-W", "2", "2001:db8:9::2"]
    assert (await asyncio.to_thread(ends.lab.ue.run, argv, check=False)).returncode == 0


async def test_a_wrong_secret_comes_to_nothing(ends: Ends) -> None:
    client = client_state()
    secrets = tuple(dataclasses.replace(secret, data=b"another") for secret in client.secrets)
    await ends.ue.load(dataclasses.replace(client, secrets=secrets))
    await ends.gw.load(gateway_state())
    await ends.ue.charon.initiate("net", "gateway")
    until(lambda: "AUTHENTICATION_FAILED" in ends.ue.log_path.read_text(), 5, "the gateway's refusal")

    async def nothing() -> bool:
        return not await ends.ue.charon.list_sas()

    await eventually(nothing, 5, "no SA is left")


async def test_a_foreign_certificate_is_not_accepted(ends: Ends, pki: Pki, tmp_path: Path) -> None:
    other = Pki(tmp_path / "other")
    trust = State(certificates=(Certificate(data=pki.ca),))
    client = client_state(me(other.client), Auth(kind="pubkey", id="gw.example", cacerts=(pki.ca,)))
    gateway = gateway_state(me(pki.gateway), Auth(kind="pubkey", cacerts=(pki.ca,)))
    await ends.ue.load(client | trust | key(other.client))
    await ends.gw.load(gateway | trust | key(pki.gateway))
    await ends.ue.charon.initiate("net", "gateway")
    until(lambda: "AUTHENTICATION_FAILED" in ends.ue.log_path.read_text(), 5, "the gateway's refusal")


async def test_after_unload_an_authority_is_trusted_no_more(ends: Ends, pki: Pki) -> None:
    gateway = gateway_state(me(pki.gateway), Auth(kind="pubkey", cacerts=(pki.ca,)))
    whole = gateway | State(certificates=(Certificate(data=pki.ca),)) | key(pki.gateway)
    await ends.gw.charon.load(whole)
    assert await certificates(ends) == 2
    await ends.gw.charon.unload(whole)
    assert await certificates(ends) == 0


async def test_what_stays_works_after_certificates_have_been_unloaded(ends: Ends, pki: Pki) -> None:
    gateway = gateway_state(me(pki.gateway), Auth(kind="pubkey", cacerts=(pki.ca,)))
    [other] = gateway.connections
    going = State(connections=(dataclasses.replace(other, name="other"),)) | key(pki.gateway)
    await ends.gw.charon.load(gateway_state() | going)
    await ends.gw.charon.unload(going)
    await ends.ue.load(client_state())
    await ends.ue.charon.initiate("net", "gateway")
    sa: IkeSa = await until_async(ends.installed, 5, "the pre-shared key is still known")
    assert sa.remote_id == "gw.example"


async def test_a_renewed_certificate_replaces_the_old_one(ends: Ends, pki: Pki) -> None:
    def with_certificate(identity: Identity) -> State:
        return gateway_state(me(identity), Auth(kind="pubkey", cacerts=(pki.ca,))) | key(identity)

    await ends.gw.charon.apply(with_certificate(pki.gateway))
    await ends.gw.charon.apply(with_certificate(pki.authority.gateway("gw.example")))
    assert await certificates(ends) == 2


async def certificates(ends: Ends) -> int:
    """Count the certificates charon holds, whoever loaded them."""
    session = CommandSession(ends.gw.vici_path, 5.0)
    await session.open()
    try:
        return len(await session.stream("list-certs", "list-cert", {}, lambda section: [section]))
    finally:
        session.close()
