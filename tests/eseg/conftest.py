# SPDX-License-Identifier: Apache-2.0
"""A directory with the keys that the configurations of these tests name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.pki import Authority

GATEWAY = "gw.example.org"


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with ca.pem, gw.pem, gw.key, other.key, broken.pem,
    an expired old.pem and a weak.pem."""
    directory = tmp_path_factory.mktemp("keys")
    authority = Authority(directory)
    gateway = authority.gateway(GATEWAY, ["198.51.100.2"])
    old = authority.gateway("old.example.org", expired=True)
    for source, name in (
        (authority.cert, "ca.pem"),
        (gateway.cert, "gw.pem"),
        (gateway.key, "gw.key"),
        (authority.mismatching(gateway).key, "other.key"),
        (old.cert, "old.pem"),
        (old.key, "old.key"),
    ):
        source.rename(directory / name)
    weak = authority.weak("weak.example.org")
    weak.cert.rename(directory / "weak.pem")
    weak.key.rename(directory / "weak.key")
    (directory / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    (directory / "psk").write_text("a shared secret\n")
    (directory / "psk").chmod(0o600)
    (directory / "radius.conf").write_text("plugins { eap-radius { servers { } } }\n")
    (directory / "radius.conf").chmod(0o600)
    (directory / "empty").write_text("\n")
    return directory
