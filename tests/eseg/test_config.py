# SPDX-License-Identifier: Apache-2.0
"""Every configuration that cannot work is refused on one line with file, key and cure; the others load."""

from __future__ import annotations

from pathlib import Path

import pytest

from eseg import loader
from eseg.config import Config
from tpkt.daemon.configfile import ConfigError
from tpkt.daemon.schema import HIDDEN

LISTEN = '[[listen]]\naddress = "198.51.100.2"\n'
POOL = '[[pool]]\nname = "inner"\naddrs = "10.66.0.0/16"\n'
CERT = 'cert = "gw.pem", key = "gw.key", id = "gw.example.org"'
BASE = LISTEN + POOL
CHILDREN = 'children = [{ local_ts = ["10.9.0.0/24"] }]\n'


def connection(
    local: str = CERT, remote: str = 'ca = "ca.pem"', rest: str = 'pools = ["inner"]\n' + CHILDREN
) -> str:
    return f'[[connection]]\nname = "ue"\nlocal = {{ {local} }}\nremote = {{ {remote} }}\n{rest}'


GOOD = BASE + connection()
PSK = 'auth = "psk", id = "gw"'

TLS = '[[tls.certificate]]\ncert = "gw.pem"\nkey = "gw.key"\n'

GOOD_ONES = {
    "certificates": GOOD,
    "psk": BASE + connection(PSK, 'auth = "psk", secret = "s"'),
    "psk from a file": BASE + connection(PSK, 'auth = "psk", secret_file = "psk"'),
    "gateway by certificate, clients by psk": BASE + connection(CERT, 'auth = "psk", secret = "s"'),
    "eap with users": BASE + connection(CERT, 'auth = "eap-md5"') + '[[user]]\nid = "alice"\nsecret = "s"\n',
    "eap with one user": BASE + connection(CERT, 'auth = "eap-md5", id = "alice", secret = "s"'),
    "eap-tls": BASE + connection(CERT, 'auth = "eap-tls", ca = ["ca.pem"]'),
    "two families": LISTEN + '[[listen]]\naddress = "::"\nport = 443\n' + POOL + connection(),
    "system charon without connections": LISTEN + '[charon]\nmode = "system"\n',
    "radius in system mode": '[charon]\nmode = "system"\n' + BASE + connection(CERT, 'auth = "eap-radius"'),
    "radius with a charon of our own": '[charon]\nplugins = ["eap-radius"]\nsettings_file = "radius.conf"\n'
    + BASE
    + connection(CERT, 'auth = "eap-radius"'),
    "a web backend": GOOD + '[http]\nbackend = "127.0.0.1:8080"\nproxy_protocol = true\n',
    "a web backend on a Unix socket": GOOD + '[http]\nbackend = "/run/web.sock"\n',
    "load balancers": LISTEN + 'proxy_protocol_from = ["192.0.2.10", "10.1.0.0/24"]\n' + POOL + connection(),
    "tls": GOOD + TLS,
    "tls of 1.3 alone, not everywhere": LISTEN.replace('2"', '2"\ntls = "never"')
    + '[[listen]]\naddress = "::"\n'
    + POOL
    + connection()
    + '[tls]\nminimum = "1.3"\ntickets = false\nkernel = "auto"\n'
    + TLS,
    "a range of inner addresses": LISTEN
    + connection()
    + '[[pool]]\nname = "inner"\naddrs = "10.66.0.10-10.66.0.99"\ndns = ["10.9.0.2"]\n'
    + 'p_cscf = ["10.9.0.3"]\n',
}


@pytest.mark.parametrize("text", GOOD_ONES.values(), ids=GOOD_ONES)
def test_it_loads(keys: Path, text: str) -> None:
    path = keys / "good.toml"
    path.write_text(text)
    assert loader.errors(path) == []
    assert loader.load(path).config.listen[0].port == 80


BAD_ONES = [
    # types and unknown keys
    ("", "", "missing required field `listen`"),
    (GOOD + "[gatway]\n", "", "unknown field `gatway`"),
    (GOOD + "[limits]\nconnection = 5\n", "limits", "unknown field `connection`"),
    (LISTEN + "prot = 80\n", "listen[0]", "unknown field `prot`"),
    (LISTEN + 'port = "80"\n', "listen[0].port", "Expected `int`, got `str`"),
    (LISTEN + "port = 0\n", "listen[0].port", "Expected `int` >= 1"),
    (LISTEN + "port = 65536\n", "listen[0].port", "Expected `int` <= 65535"),
    ("listen = []\n", "listen", "length >= 1"),
    (GOOD + "[link]\nmtu = 1000\n", "link.mtu", ">= 1280"),
    (GOOD + '[link]\ndevice = "a-name-too-long-for-linux"\n', "link.device", "matching regex"),
    (GOOD + '[gateway]\ninstance = "a/b"\n', "gateway.instance", "matching regex"),
    (GOOD + "[tls]\n", "tls", "missing required field `certificate`"),
    (GOOD + TLS.replace("gw.pem", "none.pem"), "tls.certificate[0].cert", "cannot be read"),
    (GOOD + TLS.replace("gw.key", "other.key"), "tls.certificate[0].key", "does not belong to gw.pem"),
    (GOOD + TLS + 'chain = ["broken.pem"]\n', "tls.certificate[0].chain[0]", "is no certificate"),
    (GOOD + TLS.replace("gw.", "weak."), "tls.certificate[0].cert", "RSA of 1024 bits: no TLS client"),
    (GOOD + '[tls]\nminimum = "1.1"\n' + TLS, "tls.minimum", "Invalid enum value '1.1'"),
    (LISTEN + 'tls = "maybe"\n', "listen[0].tls", "Invalid enum value 'maybe'"),
    (GOOD + '[charon]\nesp = "hardware"\n', "charon.esp", "Invalid enum value 'hardware'"),
    # listeners
    (
        '[[listen]]\naddress = "gw.example.org"\n',
        "listen[0].address",
        "`gw.example.org` is not an IP address",
    ),
    (LISTEN + LISTEN, "listen[1]", "198.51.100.2 port 80 is also served by listen[0]"),
    (
        LISTEN + '[[listen]]\naddress = "0.0.0.0"\n',
        "listen[1]",
        "is also served by listen[0]",
    ),
    (GOOD + '[[listen]]\naddress = "ff02::1"\n', "listen[1].address", "no address for clients"),
    (GOOD + '[[listen]]\naddress = "fe80::1%eth0"\n', "listen[1].address", "no address for clients"),
    # load balancers
    (LISTEN + 'proxy_protocol_from = ["lb"]\n', "listen[0].proxy_protocol_from", "does not appear to be"),
    (
        LISTEN + 'proxy_protocol_from = ["10.1.0.1/16"]\n',
        "listen[0].proxy_protocol_from",
        "has host bits set",
    ),
    (
        LISTEN + 'proxy_protocol_from = ["::1"]\n',
        "listen[0].proxy_protocol_from",
        "one is IPv4, the other IPv6",
    ),
    (LISTEN + 'proxy_protocol_from = ["0.0.0.0/0"]\n', "listen[0].proxy_protocol_from", "is everybody"),
    # the web backend
    (GOOD + '[http]\nbackend = "localhost:8080"\n', "http.backend", "neither an address and a port"),
    (GOOD + '[http]\nbackend = "127.0.0.1"\n', "http.backend", "neither an address and a port"),
    (GOOD + f'[http]\nbackend = "/{"a" * 120}"\n', "http.backend", "is too long"),
    (GOOD + '[http]\nbackend = "198.51.100.2:80"\n', "http.backend", "round for ever"),
    (GOOD + "[http]\nconnections = 0\n", "http.connections", "Expected `int` >= 1"),
    # paths
    (GOOD + '[gateway]\nruntime = "run"\n', "gateway.runtime", "not an absolute path"),
    (GOOD + f'[gateway]\nadmin = "/{"a" * 120}"\n', "gateway.admin", "is too long"),
    (GOOD + '[gateway]\nmetrics = "localhost"\n', "gateway.metrics", "not an address and a port"),
    # pools
    (GOOD + '[link]\npool4 = "10.0.0.0/8"\n', "pool[0].addrs", "10.66.0.0/16 overlaps link.pool4 10.0.0.0/8"),
    (GOOD + POOL.replace("inner", "two"), "pool[1].addrs", "overlaps pool[0].addrs 10.66.0.0/16"),
    (GOOD + '[[pool]]\nname="b"\naddrs="10.65.255.0-10.66.0.5"\n', "pool[1].addrs", "overlaps pool[0].addrs"),
    (GOOD + '[[pool]]\nname="b"\naddrs="10.1.0.9-10.1.0.1"\n', "pool[1].addrs", "lower to a higher"),
    (GOOD + '[[pool]]\nname="b"\naddrs="2001:2::8000/120"\n', "pool[1].addrs", "overlaps link.pool6"),
    (GOOD + '[[pool]]\nname = "b"\naddrs = "10.1.0.1/16"\n', "pool[1].addrs", "has host bits set"),
    (GOOD + '[[pool]]\nname = "inner"\naddrs = "10.1.0.0/16"\n', "pool[1]", "name of pool[0] already"),
    (GOOD + '[[pool]]\nname="b"\naddrs="10.1.0.0/16"\ndns=["dns"]\n', "pool[1].dns", "not an IP address"),
    (GOOD + '[[pool]]\nname="b"\naddrs="10.1.0.0/16"\np_cscf=["x"]\n', "pool[1].p_cscf", "not an IP address"),
    (GOOD + '[link]\npool4 = "2001:2::/64"\n', "link.pool4", "is not IPv4"),
    (GOOD + '[link]\npool4 = "198.18.0.0/30"\n', "link.pool4", "has only 4 flow addresses"),
    (GOOD + '[link]\npool4 = "198.51.0.0/16"\n', "listen[0].address", "lies inside link.pool4"),
    # limits
    (GOOD + "[limits]\nworker_queue_bytes = 65536\n", "limits.worker_queue_bytes", "less than queue_bytes"),
    (GOOD + "[limits]\nhalf_identified = 10\n", "limits.half_identified_per_source", "more than half_ident"),
    # connections
    (LISTEN, "connection", "there is none"),
    (LISTEN + connection(), "connection[0].pools", "there is no pool `inner`"),
    (GOOD + connection(), "connection[1]", "`ue` is the name of connection[0] already"),
    (
        BASE + connection(rest='local_addrs = ["gw"]\n' + CHILDREN),
        "connection[0].local_addrs",
        "`gw`",
    ),
    (
        BASE + connection(rest='children = [{ local_ts = ["10.9.0.1/24"] }]\n'),
        "connection[0].children[0].local_ts",
        "host bits",
    ),
    (
        BASE + connection(rest="children = [{ local_ts = [] }]\n"),
        "connection[0].children[0].local_ts",
        "length >= 1",
    ),
    # authentication that does not go together
    (BASE + connection('key = "gw.key"'), "connection[0].local.cert", "is missing"),
    (BASE + connection('cert = "gw.pem"'), "connection[0].local.key", "is missing"),
    (BASE + connection(remote='auth = "pubkey"'), "connection[0].remote.ca", "is missing"),
    (BASE + connection(PSK), "connection[0].local.auth", "share no secret"),
    (BASE + connection(PSK, 'auth = "psk"'), "connection[0].remote.secret_file", "is missing"),
    (
        BASE + connection(PSK, 'auth = "psk", secret = "s", secret_file = "psk"'),
        "connection[0].remote.secret_file",
        "stands beside secret",
    ),
    (BASE + connection(PSK, 'auth = "psk", secret = ""'), "connection[0].remote.secret", "is empty"),
    (
        BASE + connection(PSK, 'auth = "eap-md5", id = "a", secret = "s"'),
        "connection[0].local.auth",
        "expects a certificate of the gateway",
    ),
    (
        BASE + connection(PSK + ', cert = "gw.pem"', 'auth = "psk", secret = "s"'),
        "connection[0].local.cert",
        "has no use with auth psk",
    ),
    (BASE + connection(remote='auth = "eap-md5"'), "connection[0].remote.auth", "no user with a"),
    (
        BASE + connection(remote='auth = "eap-md5", secret = "s"'),
        "connection[0].remote.eap_id",
        "belongs to one user",
    ),
    (
        BASE + connection(remote='ca = "ca.pem", secret = "s"'),
        "connection[0].remote.secret",
        "no use with auth pubkey",
    ),
    (
        BASE + connection(CERT, 'auth = "eap-radius"'),
        "connection[0].remote.auth",
        "charon is told of no RADIUS server",
    ),
    (GOOD + '[[user]]\nid = "a"\nsecret = "s"\n', "user", "no connection authenticates users by password"),
    # files
    (
        BASE + connection('cert = "no.pem", key = "gw.key"'),
        "connection[0].local.cert",
        "cannot be read",
    ),
    (
        BASE + connection('cert = "broken.pem", key = "gw.key"'),
        "connection[0].local.cert",
        "no certificate",
    ),
    (
        BASE + connection('cert = "gw.pem", key = "gw.pem"'),
        "connection[0].local.key",
        "is no private key",
    ),
    (
        BASE + connection('cert = "gw.pem", key = "other.key"'),
        "connection[0].local.key",
        "other.key does not belong to gw.pem",
    ),
    (
        BASE + connection('cert = "gw.pem", key = "gw.key", id = "vpn.example.org"'),
        "connection[0].local.id",
        "write one of its names: gw.example.org, 198.51.100.2",
    ),
    (BASE + connection(remote='ca = "gw.pem"'), "connection[0].remote.ca", "that is no CA"),
    (
        BASE + connection(PSK, 'auth = "psk", secret_file = "empty"'),
        "connection[0].remote.secret_file",
        "is empty",
    ),
    (
        BASE + connection(PSK, 'auth = "psk", secret = "0xfog"'),
        "connection[0].remote.secret",
        "neither hex after 0x",
    ),
    (BASE + connection(PSK, 'auth = "psk", secret = "0x"'), "connection[0].remote.secret", "is empty"),
]


@pytest.mark.parametrize(("text", "key", "problem"), BAD_ONES, ids=[f"{k}: {p}" for _, k, p in BAD_ONES])
def test_it_is_refused_with_file_key_and_cure(keys: Path, text: str, key: str, problem: str) -> None:
    path = keys / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        loader.load(path)
    message = str(caught.value)
    assert caught.value.key == key, message
    assert problem in message
    assert message.startswith(f"{path}: ")
    assert "; " in message
    assert "\n" not in message


def test_every_error_is_shown_at_once(keys: Path) -> None:
    path = keys / "many.toml"
    path.write_text(LISTEN + LISTEN + connection() + '[gateway]\nruntime = "run"\n')
    assert [error.key for error in loader.errors(path)] == [
        "gateway.runtime",
        "listen[1]",
        "connection[0].pools",
    ]


def test_what_works_but_should_not_stay_is_a_warning(keys: Path) -> None:
    path = keys / "warn.toml"
    path.write_text(BASE + connection('cert = "old.pem", key = "old.key"'))
    path.chmod(0o644)
    loaded = loader.load(path)
    assert [warning.key for warning in loaded.material.warnings] == ["connection[0].local.cert"]
    assert "expired on" in str(loaded.material.warnings[0])


def test_a_secret_that_everybody_can_read_is_a_warning(keys: Path) -> None:
    path = keys / "open.toml"
    path.write_text(BASE + connection(PSK, 'auth = "psk", secret = "s"'))
    path.chmod(0o644)
    assert "chmod 600" in str(loader.load(path).material.warnings[0])


def test_secrets_are_in_no_repr_and_in_no_hash(keys: Path) -> None:
    configs: list[Config] = []
    for secret in ("swordfish", "marlin"):
        path = keys / "secret.toml"
        path.write_text(BASE + connection(PSK, f'auth = "psk", secret = "{secret}"'))
        loaded = loader.load(path)
        assert secret not in repr(loaded)
        assert HIDDEN in repr(loaded.config)
        configs.append(loaded.config)
    assert configs[0].fingerprint() == configs[1].fingerprint()
    assert len(configs[0].fingerprint()) == 12
