# SPDX-License-Identifier: Apache-2.0
"""A configuration becomes what charon is told, for each way to authenticate."""

from __future__ import annotations

from pathlib import Path

from charon.types import State
from eseg import loader
from eseg.state import state_of
from tests.eseg.test_config import BASE, CERT, GOOD, PSK, connection


def state(keys: Path, text: str) -> State:
    path = keys / "state.toml"
    path.write_text(text)
    return state_of(loader.load(path))


def test_certificates(keys: Path) -> None:
    told = state(keys, GOOD)
    (ue,) = told.connections
    assert (ue.name, ue.unique, ue.pools) == ("ue", "replace", ("inner",))
    assert (ue.local.kind, ue.local.id, len(ue.local.certs)) == ("pubkey", "gw.example.org", 1)
    assert (ue.remote.kind, ue.remote.id, ue.remote.eap_id, len(ue.remote.cacerts)) == (
        "pubkey",
        "%any",
        "",
        1,
    )
    assert [child.local_ts for child in ue.children] == [("10.9.0.0/24",)]
    assert [key.data for key in told.keys] == [(keys / "gw.key").read_bytes()]
    assert [certificate.ca for certificate in told.certificates] == [True]
    assert told.secrets == ()


def test_a_chain_goes_along_and_is_not_trusted(keys: Path) -> None:
    told = state(keys, BASE + connection(CERT + ', chain = ["old.pem"]'))
    assert [certificate.ca for certificate in told.certificates] == [True, False]
    assert len(told.connections[0].local.certs) == 1


def test_one_key_used_twice_is_loaded_once(keys: Path) -> None:
    told = state(keys, GOOD + connection().replace('"ue"', '"two"'))
    assert len(told.connections) == 2
    assert len(told.keys) == 1
    assert len(told.certificates) == 1


def test_a_psk_belongs_to_both_identities(keys: Path) -> None:
    told = state(keys, BASE + connection(PSK, 'auth = "psk", id = "ue", secret_file = "psk"'))
    (secret,) = told.secrets
    assert (secret.name, secret.kind, secret.ids) == ("connection-ue", "psk", ("gw", "ue"))
    assert secret.data == b"a shared secret"


def test_a_psk_for_anybody_belongs_to_the_gateway_alone(keys: Path) -> None:
    told = state(keys, BASE + connection(PSK, 'auth = "psk", secret = "0x00ff"'))
    assert told.secrets[0].ids == ("gw",)
    assert told.secrets[0].data == b"\x00\xff"


def test_users_with_passwords(keys: Path) -> None:
    users = "".join(
        f'[[user]]\nid = "{name}"\nsecret = "0s{b64}"\n' for name, b64 in [("a", "Zg=="), ("b", "Zm8=")]
    )
    told = state(keys, BASE + connection(CERT, 'auth = "eap-md5"') + users)
    assert [(secret.name, secret.kind, secret.ids, secret.data) for secret in told.secrets] == [
        ("user-a", "eap", ("a",), b"f"),
        ("user-b", "eap", ("b",), b"fo"),
    ]
    assert told.connections[0].remote.eap_id == "%any"
    assert told.connections[0].send_cert == "always"


def test_one_user_beside_the_connection(keys: Path) -> None:
    told = state(keys, BASE + connection(CERT, 'auth = "eap-md5", id = "alice", secret = "s"'))
    assert [(secret.kind, secret.ids) for secret in told.secrets] == [("eap", ("alice",))]


def test_pools_and_lifetimes(keys: Path) -> None:
    rest = (
        'pools = ["inner"]\nrekey_seconds = 3600\ndpd_seconds = 0\n'
        'proposals = ["aes128gcm16-prfsha256-x25519"]\n'
        'children = [{ name = "ims", local_ts = ["0.0.0.0/0", "::/0"], rekey_seconds = 1800 }]\n'
    )
    told = state(keys, BASE + 'dns = ["10.9.0.2"]\np_cscf = ["10.9.0.3"]\n' + connection(rest=rest))
    (ue,) = told.connections
    assert (ue.rekey_time, ue.dpd_delay, ue.children[0].rekey_time) == (3600, 0, 1800)
    (pool,) = told.pools
    assert (pool.addrs, pool.dns, pool.p_cscf) == ("10.66.0.0/16", ("10.9.0.2",), ("10.9.0.3",))
