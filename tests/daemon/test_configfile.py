# SPDX-License-Identifier: Apache-2.0
"""Every way in which a configuration file can be wrong gives one line with file, key and cure."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tpkt.daemon import configfile


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    port: int


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: list[Listen]


def test_a_good_file_becomes_its_type(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[[listen]]\nport = 80\n")
    assert configfile.load(tmp_path / "c.toml", Config) == Config(listen=[Listen(port=80)])


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (b"[[listen]]\nport = 'x'\n", "listen[0].port", "Expected `int`, got `str`"),
        (b"[[listen]]\nport = 80\nprot = 1\n", "listen[0]", "unknown field `prot`"),
        (b"lisen = []\n", "", "unknown field `lisen`"),
        (b"", "", "missing required field `listen`"),
        (b"listen = [\n", "", "is not TOML"),
        (b"\xff", "", "is not UTF-8"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: bytes, key: str, problem: str) -> None:
    (tmp_path / "c.toml").write_bytes(text)
    with pytest.raises(configfile.ConfigError) as caught:
        configfile.load(tmp_path / "c.toml", Config)
    assert caught.value.key == key
    assert problem in str(caught.value)
    assert str(tmp_path / "c.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(configfile.ConfigError, match=r"cannot be read \(No such file or directory\)"):
        configfile.load(tmp_path / "none.toml", Config)
