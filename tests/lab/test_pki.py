# SPDX-License-Identifier: Apache-2.0
"""The lab's certificates: good ones verify, each bad one is bad in exactly its own way."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.lab.pki import Authority, Identity


def _load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _signed_by(cert: x509.Certificate, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        key.verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _key_fits(identity: Identity) -> bool:
    key = serialization.load_pem_private_key(identity.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    own, certified = (
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        for public in (key.public_key(), _load(identity.cert).public_key())
    )
    return own == certified


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def test_a_gateway_is_certified_by_name_and_by_address(authority: Authority) -> None:
    cert = _load(authority.gateway("gw.example", ["198.51.100.2", "2001:db8:2::2"]).cert)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["gw.example"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["198.51.100.2", "2001:db8:2::2"]
    usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.SERVER_AUTH in usage


def test_a_client_is_certified_for_being_one(authority: Authority) -> None:
    identity = authority.client("ue@example")
    cert = _load(identity.cert)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.RFC822Name) == ["ue@example"]
    usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert _signed_by(cert, _load(authority.cert))
    assert _key_fits(identity)


def test_keys_are_for_their_owner_only(authority: Authority) -> None:
    assert stat.S_IMODE(authority.client("ue").key.stat().st_mode) == 0o600


def _expired(path: Path) -> bool:
    """Ask OpenSSL, which is what a charon asks."""
    asked = ["openssl", "x509", "-in", str(path), "-noout", "-checkend", "0"]
    return subprocess.run(asked, check=False, capture_output=True, timeout=10).returncode == 1


def test_an_expired_certificate_is_good_but_for_its_date(authority: Authority) -> None:
    identity = authority.client("ue", expired=True)
    assert _expired(identity.cert)
    assert not _expired(authority.client("ue").cert)
    assert _signed_by(_load(identity.cert), _load(authority.cert))
    assert _key_fits(identity)


def test_another_authority_of_the_same_name_is_another_one(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other").client("ue")
    assert not _signed_by(_load(stranger.cert), _load(authority.cert))


def test_a_mismatching_key_leaves_the_good_pair_alone(authority: Authority) -> None:
    good = authority.client("ue")
    bad = authority.mismatching(good)
    assert bad.cert == good.cert
    assert not _key_fits(bad)
    assert _key_fits(good)
