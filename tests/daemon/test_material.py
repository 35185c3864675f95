# SPDX-License-Identifier: Apache-2.0
"""Keys, certificates and secrets: what is taken, what is refused with key and cure, what is warned of."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, load_pem_private_key

from tests.lab.pki import Authority, Identity
from tpkt.daemon import certificates
from tpkt.daemon.configfile import ConfigError
from tpkt.daemon.material import MAX_FILE, Files
from tpkt.daemon.schema import SecretHolder

SECRET = b"a secret of two"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def ue(authority: Authority) -> Identity:
    return authority.client("ue@example")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Files beside a configuration that nobody else may read."""
    (tmp_path / "some.toml").touch(mode=0o600)
    return Files(tmp_path / "some.toml")


def put(files: Files, name: str, data: bytes, mode: int = 0o600) -> str:
    path = files.path.parent / name
    path.write_bytes(data)
    path.chmod(mode)
    return name


def pem(*paths: Path) -> bytes:
    return b"".join(path.read_bytes() for path in paths)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (SECRET, SECRET),
        (SECRET + b"\r\n", SECRET),
        (b" blanks count ", b" blanks count "),
        (b"0x00ff", b"\x00\xff"),
        (b"0sAP8=", b"\x00\xff"),
    ],
)
def test_a_secret_is_what_swanctl_would_read(files: Files, written: bytes, meant: bytes) -> None:
    name = put(files, "psk", written)
    assert files.secret("user", SecretHolder(secret_file=name)) == meant
    inline = SecretHolder(secret=written.decode().rstrip("\r\n"))
    assert files.secret("user", inline) == meant
    assert files.warnings == []


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (b"0xabc", "is neither hex after 0x nor base64 after 0s"),
        (b"0s!", "is neither hex after 0x nor base64 after 0s"),
        (b"0x", "is empty"),
        (b"0s", "is empty"),
        (b"\n", "is empty"),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_shown(files: Files, written: bytes, problem: str) -> None:
    holders = [("secret_file", SecretHolder(secret_file=put(files, "psk", written)))]
    if written.strip():
        holders.append(("secret", SecretHolder(secret=written.decode())))
    for place, holder in holders:
        with pytest.raises(ConfigError, match=problem) as caught:
            files.secret("user[1]", holder)
        assert caught.value.key == f"user[1].{place}"
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__, "nor is what the parser said of it"


def test_what_others_may_read_is_warned_of_under_its_own_key(files: Files) -> None:
    files.secret("user", SecretHolder(secret_file=put(files, "psk", SECRET, 0o644)))
    files.path.chmod(0o604)
    files.secret("user", SecretHolder(secret=SECRET.decode()))
    files.private("charon.settings_file", put(files, "own.conf", b"", 0o640))
    assert [warning.key for warning in files.warnings] == ["user.secret_file", "user.secret"]
    assert "psk can be read by everybody" in str(files.warnings[0])
    assert str(files.warnings[0]).endswith(f"; chmod 600 {files.path.parent}/psk")


def test_a_file_is_read_up_to_a_limit_and_a_device_not_for_ever(files: Files) -> None:
    assert len(files.read("k", put(files, "large", bytes(MAX_FILE)))) == MAX_FILE
    with pytest.raises(ConfigError, match=f"/dev/zero is larger than {MAX_FILE} bytes"):
        files.read("k", "/dev/zero")


@pytest.mark.parametrize(("name", "why"), [("none", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_refused(files: Files, name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"some\.toml: k: {name} cannot be read \({why}"):
        files.read("k", name)


def test_certificates_come_in_pem_in_der_and_several_in_a_file(
    files: Files, authority: Authority, ue: Identity
) -> None:
    both = certificates.load(files, "k", put(files, "chain", b"a comment\n" + pem(ue.cert, authority.cert)))
    single = certificates.load(files, "k", put(files, "der", certificates.der(both[0])))
    assert single == both[:1]
    assert both[1] == x509.load_pem_x509_certificate(pem(authority.cert))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30\x03\x02\x01\x01",
        b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n",
    ],
    ids=["nothing", "other DER", "other PEM", "damaged"],
)
def test_what_is_no_certificate_is_refused(files: Files, data: bytes) -> None:
    with pytest.raises(ConfigError, match="bad is no certificate; name a PEM or DER file"):
        certificates.load(files, "k", put(files, "bad", data))


def test_a_key_is_given_as_it_is_in_either_form(files: Files, ue: Identity) -> None:
    certificate = x509.load_pem_x509_certificate(pem(ue.cert))
    private = load_pem_private_key(pem(ue.key), None)
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, serialization.NoEncryption())
    for data in (pem(ue.key), der):
        name = put(files, "ue.key", data)
        assert certificates.private_key(files, "k", name, "ue.pem", certificate) == data
    put(files, "ue.key", der, 0o644)
    certificates.private_key(files, "k", "ue.key", "ue.pem", certificate)
    assert [warning.key for warning in files.warnings] == ["k"]


@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_keys_that_prove_nothing_are_refused(
    files: Files, authority: Authority, ue: Identity, form: Encoding
) -> None:
    certificate = x509.load_pem_x509_certificate(pem(ue.cert))
    own = load_pem_private_key(pem(ue.key), None)
    word = serialization.BestAvailableEncryption(b"word")
    locked = own.private_bytes(form, PrivateFormat.PKCS8, word)
    another = load_pem_private_key(pem(authority.mismatching(ue).key), None)
    others = another.private_bytes(form, PrivateFormat.PKCS8, serialization.NoEncryption())
    for data, problem in (
        (locked, "x.key is encrypted; decrypt it"),
        (others, "x.key does not belong to ue.pem; name the key that the certificate was made for"),
        (certificate.public_bytes(form), "x.key is no private key"),
    ):
        with pytest.raises(ConfigError) as caught:
            certificates.private_key(files, "local.key", put(files, "x.key", data), "ue.pem", certificate)
        assert f"some.toml: local.key: {problem}" in str(caught.value)


def test_what_a_daemon_proves_itself_with_is_read_together(
    files: Files, authority: Authority, ue: Identity
) -> None:
    put(files, "ue.pem", pem(ue.cert))
    put(files, "ue.key", pem(ue.key))
    put(files, "ca.pem", pem(authority.cert))

    def read(*chain: str) -> certificates.Own:
        return certificates.own(
            files, "local", cert="ue.pem", key="ue.key", chain=chain, so_what="nobody will have it"
        )

    own = read("ca.pem", "ca.pem")
    assert certificates.names(own.leaf) == ["ue@example"]
    assert own.ders == tuple(certificates.der(certificate) for certificate in own.chain)
    assert (len(own.chain), own.key) == (3, pem(ue.key))
    assert repr(own.key) not in repr(own)
    with pytest.raises(ConfigError) as caught:
        read("ca.pem", "ue.key")
    assert caught.value.key == "local.chain[1]"
    assert files.warnings == []
    old = authority.client("old@example", expired=True)
    put(files, "ue.pem", pem(old.cert))
    put(files, "ue.key", pem(old.key))
    read()
    assert [str(warning).endswith("nobody will have it") for warning in files.warnings] == [True]


def test_an_authority_is_one_by_its_own_word(files: Files, authority: Authority, ue: Identity) -> None:
    [ca] = certificates.authorities(files, "k", put(files, "ca", pem(authority.cert)), "clients'")
    assert certificates.der(ca) == certificates.der(x509.load_pem_x509_certificate(pem(authority.cert)))
    mixed = put(files, "mixed", pem(authority.cert, ue.cert))
    with pytest.raises(ConfigError, match=r"mixed holds a certificate that is no CA \(.*ue@example"):
        certificates.authorities(files, "k", mixed, "gateway's")
    assert files.warnings == []


def test_dates_are_warned_of_with_what_follows(files: Files, authority: Authority, ue: Identity) -> None:
    old = authority.client("old@example", expired=True)
    for name, identity in (("old.pem", old), ("ue.pem", ue)):
        [certificate] = certificates.load(files, "k", put(files, name, pem(identity.cert)))
        certificates.warn_of_dates(files, "k", name, certificate, "clients will refuse it")
    [warning] = files.warnings
    assert "k: old.pem expired on " in str(warning)
    assert str(warning).endswith("; renew it: clients will refuse it")


def test_an_authority_that_is_out_of_date_is_warned_of(files: Files, tmp_path: Path) -> None:
    name = put(files, "ca", pem(Authority(tmp_path / "old", expired=True).cert))
    assert len(certificates.authorities(files, "remote.ca", name, "clients'")) == 1
    [warning] = files.warnings
    assert "remote.ca: ca expired on " in str(warning)
    assert str(warning).endswith("; renew it: what it has issued will be refused")


def test_the_names_that_a_certificate_confirms(authority: Authority, ue: Identity) -> None:
    gateway = authority.gateway("gw.example", ["198.51.100.2", "2001:db8::2"])
    found = certificates.names(x509.load_pem_x509_certificate(pem(gateway.cert)))
    assert found == ["gw.example", "198.51.100.2", "2001:db8::2"]
    assert certificates.names(x509.load_pem_x509_certificate(pem(authority.cert))) == []
