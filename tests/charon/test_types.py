# SPDX-License-Identifier: Apache-2.0
"""Typed data and the VICI sections it becomes; states as sets of things; what a repr does not tell."""

from __future__ import annotations

import pytest

from charon import Auth, Certificate, Child, Connection, Pool, PrivateKey, Secret, State

LOCAL, REMOTE = Auth(kind="psk", id="me"), Auth(kind="pubkey", cacerts=(b"der",))


def test_only_what_is_said_becomes_a_setting() -> None:
    connection = Connection(
        name="c", local=LOCAL, remote=REMOTE, remote_addrs=("192.0.2.1",), mobike=False, dpd_delay=0
    )
    assert connection.to_vici() == {
        "version": "2",
        "remote_addrs": ["192.0.2.1"],
        "mobike": "no",
        "dpd_delay": "0",
        "local": {"auth": "psk", "id": "me"},
        "remote": {"auth": "pubkey", "cacerts": [b"der"]},
        "children": {},
    }


def test_a_child_names_its_traffic_keys_and_mark() -> None:
    child = Child(
        name="net", remote_ts=("10.9.0.0/24",), esp_proposals=("aes128gcm16",), set_mark_out="0x4500"
    )
    assert child.to_vici() == {
        "local_ts": ["dynamic"],
        "remote_ts": ["10.9.0.0/24"],
        "esp_proposals": ["aes128gcm16"],
        "mode": "tunnel",
        "start_action": "none",
        "dpd_action": "clear",
        "close_action": "none",
        "set_mark_out": "0x4500",
    }


@pytest.mark.parametrize(
    ("p_cscf", "attributes"),
    [
        ((), {}),
        (("10.9.0.5",), {"20": ["10.9.0.5"]}),
        (("2001:db8::5", "10.9.0.5", "10.9.0.6"), {"20": ["10.9.0.5", "10.9.0.6"], "21": ["2001:db8::5"]}),
    ],
)
def test_p_cscf_addresses_are_numbered_by_their_family(
    p_cscf: tuple[str, ...], attributes: dict[str, list[str]]
) -> None:
    pool = Pool(name="p", addrs="10.66.0.0/16", p_cscf=p_cscf)
    assert pool.to_vici() == {"addrs": "10.66.0.0/16", **attributes}


def test_secrets_and_keys_keep_their_contents_out_of_every_repr() -> None:
    state = State(
        secrets=(Secret(name="s", kind="eap", ids=("a", "b"), data=b"hush"),),
        keys=(PrivateKey(data=b"hush"),),
    )
    assert "hush" not in repr(state)
    assert state.secrets[0].to_vici() == {"id": "s", "type": "EAP", "data": b"hush", "owners": ["a", "b"]}
    assert state.keys[0].to_vici() == {"type": "any", "data": b"hush"}


def test_states_join_by_name_and_differ_by_content() -> None:
    old, new, other = (Pool(name=name, addrs=addrs) for name, addrs in (("a", "1"), ("a", "2"), ("b", "3")))
    first, second = State(pools=(old, other)), State(pools=(new,))
    assert (first | second).pools == (new, other)
    assert (second - first).pools == (new,)
    assert not first - first
    assert first.without_names_of(second).pools == (other,)


def test_keys_and_certificates_are_known_by_their_content() -> None:
    assert PrivateKey(data=b"one").name != PrivateKey(data=b"two").name
    assert Certificate(data=b"one").name == Certificate(data=b"one", ca=False).name
