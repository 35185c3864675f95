# SPDX-License-Identifier: Apache-2.0
"""The generated strongswan.conf and what is read of programs' output: pure text in, text out."""

from __future__ import annotations

from pathlib import Path

import pytest

from charon.attributes import AttributeStore
from charon.conf import OUTAGE_SECONDS, RETRANSMISSION, Role, Settings, strongswan_conf
from charon.leftovers import State, our_policies, our_states
from charon.wirelog import WireLog

HERE = Path("/run/eseg/charon")


def conf(role: Role, **settings: object) -> str:
    whole = Settings(directory=HERE, role=role, **{"esp": "kernel", **settings})  # type: ignore[arg-type]  # a test's shorthand
    return strongswan_conf(whole, lambda name: name != "eap-ttls")


def test_the_same_settings_give_the_same_text() -> None:
    assert conf("gateway") == conf("gateway")
    assert conf("gateway") != conf("gateway", expected_clients=2000)


def test_userspace_esp_is_loaded_before_the_kernels_and_only_when_chosen() -> None:
    load = next(line for line in conf("client", esp="libipsec").splitlines() if "load =" in line)
    assert "kernel-libipsec kernel-netlink" in load
    assert "kernel-libipsec" not in conf("client", esp="kernel")


def test_a_plugin_that_is_not_installed_is_not_named() -> None:
    assert "eap-ttls" not in conf("gateway")
    assert "eap-tls" in conf("gateway")


@pytest.mark.parametrize(
    ("clients", "size", "segments", "cookies"),
    [(10, 16, 1, 1000), (1000, 1024, 16, 1000), (20_000, 32768, 64, 20_000)],
)
def test_tables_and_limits_grow_with_the_expected_clients(
    clients: int, size: int, segments: int, cookies: int
) -> None:
    text = conf("gateway", expected_clients=clients)
    for setting in (
        f"ikesa_table_size = {size}",
        f"ikesa_table_segments = {segments}",
        f"  cookie_threshold = {cookies}",
        f"init_limit_half_open = {2 * cookies}",
    ):
        assert f"{setting}\n" in text


@pytest.mark.parametrize("role", RETRANSMISSION)
def test_an_sa_survives_an_outage_and_a_path_that_returns_is_soon_used(role: Role) -> None:
    again = RETRANSMISSION[role]
    pauses = again.pauses(again.tries)
    assert OUTAGE_SECONDS <= sum(pauses) < OUTAGE_SECONDS + 15
    assert max(pauses) == again.limit <= 10


def test_what_a_killed_charon_left_in_the_kernel_is_told_from_what_others_have_there() -> None:
    ours = (
        "src 198.18.0.7 dst 198.51.100.2\n"
        "\tproto esp spi 0xc4ffeeb1 reqid 7 mode tunnel\n"
        "\treplay-window 32 flag af-unspec\n"
        "\tencap type espinudp sport 4500 dport 4500 addr 0.0.0.0\n"
    )
    others = "src 10.0.0.1 dst 10.0.0.2\n\tproto esp spi 0x00000100 reqid 9 mode tunnel\n"
    assert list(our_states(ours + others, 4500)) == [State("198.18.0.7", "198.51.100.2", "0xc4ffeeb1", 7)]
    assert list(our_states(ours + others, 4501)) == []

    policies = (
        "src 10.66.0.1/32 dst 10.9.0.0/24 \n\tdir in priority 371327 ptype main \n"
        "\ttmpl src 198.18.0.7 dst 198.51.100.2\n\t\tproto esp reqid 7 mode tunnel\n"
        "src 10.66.0.9/32 dst 10.9.0.0/24 \n\tdir fwd priority 371327 \n"
        "\ttmpl src 10.0.0.1 dst 10.0.0.2\n\t\tproto esp reqid 9 mode tunnel\n"
        "src 0.0.0.0/0 dst 0.0.0.0/0 \n\tsocket in priority 0 \n"
    )
    assert list(our_policies(policies, {7})) == ["src 10.66.0.1/32 dst 10.9.0.0/24 dir in"]


def decoded(kind: int, length: int, values: str, connection: str = "gateway", ike: int = 1) -> str:
    lines = [
        "parsing CONFIGURATION_ATTRIBUTE payload, 92 bytes left",
        "  parsing rule 1 ATTRIBUTE_TYPE",
        f"   => {kind}",
        "  parsing rule 2 ATTRIBUTE_LENGTH",
        f"   => {length}",
        "  parsing rule 3 ATTRIBUTE_VALUE",
        f"   => {length} bytes @ 0x7ff0f003ba40",
        f"   0: {values}",
        "parsing CONFIGURATION_ATTRIBUTE payload finished",
    ]
    return "".join(f"2026-01-01T00:00:00 10[ENC] <{connection}|{ike}> {line}\n" for line in lines)


V4 = decoded(20, 4, "0A 09 00 05                                      ....")
V6 = decoded(21, 16, "20 01 0D B8 00 09 00 00 00 00 00 00 00 00 00 05   ...............")


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ("", ()),
        (V4, ("10.9.0.5",)),
        (V4 + V6 + V4, ("10.9.0.5", "2001:db8:9::5")),
        (decoded(3, 4, "0A 09 00 35      ...5"), ()),
        (decoded(20, 16, "20 01 0D B8 00 09 00 00 00 00 00 00 00 00 00 05   x"), ()),
        (V4 + decoded(20, 4, "0A 09 00 06     ....", ike=2), ("10.9.0.6",)),
        (decoded(20, 4, "0A 09 00 06     ....", connection="another"), ()),
        (V4.replace("parsing", "generating"), ()),
    ],
)
def test_p_cscf_addresses_in_a_log_fed_whole_and_in_pieces(
    tmp_path: Path, log: str, found: tuple[str, ...]
) -> None:
    for size in (len(log) or 1, 7):
        path = tmp_path / f"wire-{size}.log"
        wire = WireLog(path)
        wire.read()
        for start in range(0, len(log), size):
            with path.open("a") as file:
                file.write(log[start : start + size])
            wire.read()
        assert wire.p_cscf("gateway") == found


def test_a_note_may_hold_anything_and_only_addresses_count(tmp_path: Path) -> None:
    store = AttributeStore(tmp_path, tmp_path / "wire.log")
    store.install()
    (tmp_path / "attributes" / "note").write_bytes(
        b"address 10.66.0.1\naddress $(reboot)\n\xff\ndns 10.9.0.53\n"
    )
    assert store.noted_addresses() == ("10.66.0.1",)
    store.forget()
    assert store.noted_addresses() == ()
