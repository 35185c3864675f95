# SPDX-License-Identifier: Apache-2.0
"""A PKI, and configurations that are whole, for tests to break."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.lab.pki import Authority

CERTIFICATE = """\
[gateway]
address = "198.51.100.2"
id = "gw.example"

[identity]
auth = "pubkey"
id = "ue@example"
cert = "ue.pem"
key = "ue.key"
ca = "ca.pem"

[tunnel]
remote_ts = ["10.9.0.0/24"]
"""


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what configurations name: good files and bad ones."""
    place = tmp_path_factory.mktemp("keys")
    authority = Authority(place / "pki")
    good, old = authority.client("ue@example"), authority.client("old@example", expired=True)
    for source, name in (
        (good.cert, "ue.pem"),
        (good.key, "ue.key"),
        (authority.cert, "ca.pem"),
        (old.cert, "old.pem"),
        (old.key, "old.key"),
        (authority.mismatching(good).key, "other.key"),
    ):
        shutil.copy(source, place / name)
    key = load_pem_private_key((place / "ue.key").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"word"),
    )
    (place / "locked.key").write_bytes(locked)
    (place / "psk").write_text("a secret of two\n")
    (place / "empty").write_text("\n")
    (place / "broken").write_text("0xabc\n")
    (place / "huge").write_bytes(bytes((1 << 20) + 1))
    for file in place.glob("*"):
        if file.is_file():
            file.chmod(0o600)
    return place


@pytest.fixture
def place(keys: Path, tmp_path: Path) -> Path:
    """A copy of `keys` in which a test may write its configuration."""
    return Path(shutil.copytree(keys, tmp_path / "etc"))
