# SPDX-License-Identifier: Apache-2.0
"""What charon is told for each kind of identity."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec
import pytest

from charon import State
from tc_client.config import Charon, Client, Config, Gateway, Identity, Tunnel
from tc_client.credentials import Material
from tc_client.state import names, state_of

GATEWAY = ip_address("198.51.100.2")
MATERIAL = Material(certs=(b"own", b"between"), key=b"key", cas=(b"ca",))
PSK = msgspec.convert({"auth": "psk", "id": "ue", "secret_file": "s"}, Identity)
EAP = msgspec.convert({"auth": "eap-md5", "eap_id": "user", "secret_file": "s"}, Identity)
TUNNEL = Tunnel(remote_ts=("10.9.0.0/24",), dpd_seconds=7)


def config(identity: Identity | None, *, gateway_id: str | None = "gw.example") -> Config:
    return Config(
        client=Client(instance="x"),
        gateway=Gateway(address="gw.example.", id=gateway_id),
        identity=identity,
        tunnel=TUNNEL,
    )


def test_a_certificate_and_its_chain_go_to_the_gateway_and_only_the_authority_is_believed() -> None:
    state = state_of(config(Identity(auth="pubkey", id="ue", cert="c", key="k")), MATERIAL, GATEWAY, None)
    [connection] = state.connections
    assert (connection.name, connection.remote_addrs) == ("tc-x", ("198.51.100.2",))
    assert (connection.local_port, connection.remote_port, connection.encap) == (4500, 4500, True)
    assert (connection.local.kind, connection.local.id, connection.local.certs) == ("pubkey", "ue", (b"own",))
    assert (connection.remote.kind, connection.remote.id) == ("pubkey", "gw.example")
    assert connection.remote.cacerts == (b"ca",)
    assert [(one.data, one.ca) for one in state.certificates] == [(b"ca", True), (b"between", False)]
    assert [key.data for key in state.keys] == [b"key"]


def test_a_shared_secret_belongs_to_both_ends() -> None:
    material = Material(secret=b"s")
    state = state_of(config(PSK), material, GATEWAY, None)
    [secret] = state.secrets
    assert (secret.kind, secret.ids, secret.data) == ("psk", ("ue", "gw.example"), b"s")
    assert state.connections[0].remote.kind == "psk"


def test_a_user_of_eap_believes_a_certificate_of_the_gateway() -> None:
    material = Material(secret=b"s", cas=(b"ca",))
    state = state_of(config(EAP), material, GATEWAY, None)
    local, remote = state.connections[0].local, state.connections[0].remote
    assert (local.kind, local.id, local.eap_id) == ("eap-md5", "user", "user")
    assert (remote.kind, remote.cacerts) == ("pubkey", (b"ca",))
    assert (state.secrets[0].kind, state.secrets[0].ids) == ("eap", ("user",))


@pytest.mark.parametrize(("given", "expected"), [("somebody", "somebody"), (None, "gw.example")])
def test_the_gateway_must_prove_the_name_that_was_asked_for(given: str | None, expected: str) -> None:
    state = state_of(config(PSK, gateway_id=given), Material(secret=b"s"), GATEWAY, None)
    assert state.connections[0].remote.id == expected


@pytest.mark.parametrize(("mark", "expected"), [(0x4500, "0x4500"), (None, "")])
def test_kernel_esp_carries_the_mark_of_the_link(mark: int | None, expected: str) -> None:
    state = state_of(config(PSK), Material(secret=b"s"), GATEWAY, mark)
    assert state.connections[0].children[0].set_mark_out == expected


def test_an_operators_own_charon_is_told_nothing() -> None:
    operators = Config(
        gateway=Gateway(address="gw.example"),
        charon=Charon(mode="system", connection="trikesec", child="tunnel"),
    )
    assert state_of(operators, Material(), GATEWAY, None) == State()
    assert names(operators) == ("trikesec", "tunnel")
