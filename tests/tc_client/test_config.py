# SPDX-License-Identifier: Apache-2.0
"""What a configuration may not be: one line with file, key, problem and cure, and exit status 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tc_client import loader
from tc_client.cli import main
from tests.tc_client.conftest import CERTIFICATE
from tpkt.daemon.configfile import ConfigError

Change = Callable[[str], str]


def adding(table: str, line: str) -> Change:
    return lambda text: (
        text.replace(f"[{table}]", f"[{table}]\n{line}")
        if f"[{table}]" in text
        else f"{text}\n[{table}]\n{line}\n"
    )


def instead(old: str, new: str) -> Change:
    return lambda text: text.replace(old, new)


def psk(line: str) -> Change:
    return lambda text: text.replace(
        text[text.index("[identity]") : text.index("[tunnel]")],
        f'[identity]\nauth = "psk"\nid = "ue@example"\n{line}\n\n',
    )


def eap(lines: str) -> Change:
    return lambda text: text.replace(
        text[text.index("[identity]") : text.index("[tunnel]")], f'[identity]\nauth = "eap-md5"\n{lines}\n\n'
    )


def without(table: str) -> Change:
    def cut(text: str) -> str:
        begin = text.index(f"[{table}]")
        end = text.find("\n[", begin)
        return text[:begin] + (text[end + 1 :] if end != -1 else "")

    return cut


ROWS: list[tuple[str, Change, str, str]] = [
    ("an unknown key", adding("gateway", 'adress = "x"'), "gateway", "adress"),
    ("an unknown table", adding("gatway", 'address = "x"'), "", "gatway"),
    ("a wrong type", instead('address = "198.51.100.2"', "address = 1"), "gateway.address", "Expected `str`"),
    ("a port that is none", adding("gateway", "tcp_ports = [0]"), "gateway.tcp_ports[0]", ">= 1"),
    ("a port twice", adding("gateway", "tcp_ports = [80, 80]"), "gateway.tcp_ports[1]", "there already"),
    ("no TOML", lambda text: text + "[[[", "", "is not TOML"),
    (
        "no way at all",
        adding("gateway", "tcp_ports = []\nudp = false"),
        "gateway.tcp_ports",
        "there is no way",
    ),
    ("no address", instead('"198.51.100.2"', '"198.51.100.256"'), "gateway.address", "neither an IP address"),
    ("no host name", instead('"198.51.100.2"', '"gw_.exa mple"'), "gateway.address", "nor a host name"),
    ("multicast", instead('"198.51.100.2"', '"ff02::1"'), "gateway.address", "no address of a gateway"),
    ("this machine", instead('"198.51.100.2"', '"127.0.0.1"'), "gateway.address", "this machine itself"),
    ("a relative path", adding("client", 'runtime = "run"'), "client.runtime", "not an absolute path"),
    ("a long path", adding("client", f'runtime = "/{"x" * 100}"'), "client.runtime", "too long"),
    ("a name with blanks", adding("client", 'instance = "a b"'), "client.instance", "regex"),
    ("no identity", without("identity"), "identity", "is missing"),
    ("no tunnel", without("tunnel"), "tunnel", "is missing"),
    ("an unknown method", instead('"pubkey"', '"pubky"'), "identity.auth", "pubky"),
    ("no key", instead('key = "ue.key"\n', ""), "identity.key", "is missing"),
    ("an absent key", instead('"ue.key"', '"absent.key"'), "identity.key", "cannot be read (No such file"),
    ("another's key", instead('"ue.key"', '"other.key"'), "identity.key", "does not belong to ue.pem"),
    ("a locked key", instead('"ue.key"', '"locked.key"'), "identity.key", "is encrypted"),
    ("no key at all", instead('"ue.key"', '"psk"'), "identity.key", "is no private key"),
    ("no certificate", instead('"ue.pem"', '"psk"'), "identity.cert", "is no certificate"),
    ("a huge certificate", instead('"ue.pem"', '"huge"'), "identity.cert", "is larger than"),
    ("no chain", adding("identity", 'chain = ["ca.pem", "psk"]'), "identity.chain[1]", "is no certificate"),
    ("no authority", instead('"ca.pem"', '"ue.pem"'), "identity.ca", "that is no CA"),
    ("nobody to believe", instead('ca = "ca.pem"\n', ""), "identity.ca", "no gateway could prove itself"),
    ("a secret too many", adding("identity", 'secret = "x"'), "identity.secret", "has no use"),
    ("PSK without one", psk(""), "identity.secret_file", "is missing"),
    ("PSK with two", psk('secret = "x"\nsecret_file = "psk"'), "identity.secret_file", "stands beside"),
    ("an empty secret", psk('secret = ""'), "identity.secret", "is empty"),
    ("an empty file", psk('secret_file = "empty"'), "identity.secret_file", "is empty"),
    ("half a byte", psk('secret_file = "broken"'), "identity.secret_file", "neither hex"),
    ("PSK with a CA", psk('secret = "x"\nca = "ca.pem"'), "identity.ca", "has no use with auth psk"),
    ("EAP without a name", eap('secret = "x"\nca = "ca.pem"'), "identity.id", "is missing"),
    ("EAP without a CA", eap('secret = "x"\neap_id = "u"'), "identity.ca", "is missing"),
    ("a bad network", instead("10.9.0.0/24", "10.9.0.0/33"), "tunnel.remote_ts[0]", "10.9.0.0/33"),
    ("host bits", instead("10.9.0.0/24", "10.9.0.7/24"), "tunnel.remote_ts[0]", "host bits"),
    ("no network", instead('["10.9.0.0/24"]', "[]"), "tunnel.remote_ts", "length >= 1"),
    (
        "a probe outside",
        adding("tunnel", 'probe_address = "192.0.2.9"'),
        "tunnel.probe_address",
        "none of remote_ts",
    ),
    ("no inner address", adding("tunnel", 'vips = ["any"]'), "tunnel.vips", "not an IP address"),
    ("a backward range", adding("ladder", "backoff_seconds = 90"), "ladder.backoff_max_seconds", "less than"),
    ("no time", adding("ladder", "attempt_seconds = 0"), "ladder.attempt_seconds", ">= 0.1"),
    ("half a name", adding("charon", 'mode = "system"\nchild = "c"'), "charon.connection", "is missing"),
    (
        "another's names",
        adding("charon", 'connection = "c"\nchild = "c"'),
        "charon.connection",
        "swanctl.conf",
    ),
    (
        "two identities",
        adding("charon", 'mode = "system"\nconnection = "c"\nchild = "c"'),
        "identity",
        "stands beside charon.connection",
    ),
]


@pytest.mark.parametrize(("sentence", "change", "key", "problem"), ROWS, ids=[row[0] for row in ROWS])
def test_what_cannot_be_used_is_said_in_one_line(
    place: Path, sentence: str, change: Change, key: str, problem: str
) -> None:
    text = change(CERTIFICATE)
    assert text != CERTIFICATE, sentence
    file = place / "tc-client.toml"
    file.write_text(text)
    done = CliRunner().invoke(main, ["check", "--config", str(file)])
    assert done.exit_code == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {file}: {key}" if key else f"error: {file}")
    assert problem in line
    assert ";" in line, "and what mends it"
    assert "a secret of two" not in line


def test_a_file_that_is_not_there_is_said_with_the_option_that_names_one(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "absent")])
    assert (done.exit_code, "--config" in done.stderr) == (2, True)


WHOLE: list[tuple[str, Change]] = [
    ("a certificate", lambda text: text),
    ("a shared secret", psk('secret_file = "psk"')),
    ("a secret in hex", psk('secret = "0x0102"')),
    ("a password", eap('eap_id = "u"\nsecret = "x"\nca = ["ca.pem"]')),
    ("a host name", instead('"198.51.100.2"', '"gw.example"')),
    ("IPv6", instead('"198.51.100.2"', '"2001:db8::1"')),
    ("ports and protocols", instead("10.9.0.0/24", "10.9.0.0/24[tcp/80]")),
    (
        "an operator's own",
        lambda text: without("identity")(text) + '\n[charon]\nmode="system"\nconnection="c"\nchild="d"\n',
    ),
]


@pytest.mark.parametrize(("sentence", "change"), WHOLE, ids=[row[0] for row in WHOLE])
def test_what_can_be_used_is_found_fit(place: Path, sentence: str, change: Change) -> None:
    file = place / "tc-client.toml"
    file.write_text(change(CERTIFICATE))
    file.chmod(0o600)
    done = CliRunner().invoke(main, ["check", "--config", str(file)])
    assert (done.exit_code, done.stderr) == (0, ""), sentence


def test_what_works_and_is_careless_is_warned_of(place: Path) -> None:
    file = place / "tc-client.toml"
    file.write_text(CERTIFICATE.replace("ue.pem", "old.pem").replace("ue.key", "old.key"))
    (place / "old.key").chmod(0o644)
    done = CliRunner().invoke(main, ["check", "--config", str(file)])
    assert done.exit_code == 0
    assert "old.pem expired on" in done.stderr
    assert "old.key can be read by everybody" in done.stderr


def test_no_secret_is_ever_shown(place: Path) -> None:
    file = place / "tc-client.toml"
    file.write_text(psk('secret = "a secret of two"')(CERTIFICATE))
    loaded = loader.load(file)
    assert loaded.material.secret == b"a secret of two"
    assert "a secret of two" not in repr(loaded)
    file.write_text(psk('secret = "0xa secret of two"')(CERTIFICATE))
    with pytest.raises(ConfigError) as caught:
        loader.load(file)
    assert "a secret of two" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_congestion_control_that_the_kernel_has_not_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "tc-client.toml"
    file.write_text(
        '[gateway]\naddress = "198.51.100.2"\n[link]\ncongestion = "no-such"\n'
        '[charon]\nmode = "system"\nconnection = "gw"\nchild = "core"\n'
    )
    done = CliRunner().invoke(main, ["check", "--config", str(file)])
    assert done.exit_code == 0, done.output
    assert "congestion control no-such cannot be had" in done.stderr
    assert "set link.congestion" in done.stderr
