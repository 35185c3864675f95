# SPDX-License-Identifier: Apache-2.0
"""What docs/OPERATING.md tells operators to write is what the gateway takes, and every key is told."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec
import pytest

from eseg import config, loader
from eseg.state import state_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
OPERATING = (DOCS / "OPERATING.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", OPERATING, re.MULTILINE | re.DOTALL)
SHIPPED = (DOCS / "examples" / "eseg.toml").read_text()


@pytest.mark.parametrize("text", [*EXAMPLES, SHIPPED], ids=[*map(str, range(len(EXAMPLES))), "eseg.toml"])
def test_an_example_is_fit_for_use(keys: Path, tmp_path: Path, text: str) -> None:
    for name in ("gw.pem", "gw.key", "ca.pem", "psk", "radius.conf"):
        shutil.copy(keys / name, tmp_path)
    shutil.copy(keys / "psk", tmp_path / "alice")
    (tmp_path / "eseg.toml").write_text(text)
    (tmp_path / "eseg.toml").chmod(0o600)
    loaded = loader.load(tmp_path / "eseg.toml")
    assert [warning for warning in loaded.material.warnings if "radius" not in str(warning)] == []
    state_of(loaded)


def test_the_examples_show_each_way_to_authenticate() -> None:
    shown = "".join(EXAMPLES)
    assert len(EXAMPLES) >= 5
    for word in (
        'ca = "',
        'auth = "psk"',
        'auth = "eap-md5"',
        'auth = "eap-radius"',
        'mode = "system"',
        "p_cscf",
    ):
        assert word in shown


def test_the_shipped_example_is_the_first_of_the_page() -> None:
    bare = "".join(re.sub(r" *#.*", "", line) + "\n" for line in SHIPPED.splitlines())
    assert bare.split() == EXAMPLES[0].split()


SECTIONS = {
    "[gateway]": config.Gateway,
    "[[listen]]": config.Listen,
    "[tls]": config.Tls,
    "[[tls.certificate]]": config.TlsCertificate,
    "[link]": config.Link,
    "[http]": config.Http,
    "[charon]": config.Charon,
    "[[connection]]": config.Connection,
    "local": config.Local,
    "remote": config.Remote,
    "children": config.Child,
    "[[pool]]": config.Pool,
    "[[user]]": config.User,
    "[limits]": config.Limits,
    "[access]": config.Access,
    "[bans]": config.Bans,
}


@pytest.mark.parametrize(("title", "section"), SECTIONS.items(), ids=SECTIONS)
def test_every_key_is_told_with_its_default(title: str, section: type[msgspec.Struct]) -> None:
    _, _, rest = OPERATING.partition("### Every key")
    heading = re.search(rf"^(\*\*)?`{re.escape(title)}`", rest, re.MULTILINE)
    assert heading, title
    table = rest[heading.end() :].split("\n\n")[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    told = {name: row[1] for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    fields = msgspec.structs.fields(section)
    assert set(told) == {field.name for field in fields}
    for field in fields:
        plain = isinstance(field.default, bool | int | float | str) and field.default is not None
        if plain:
            wanted = field.default
            number = isinstance(wanted, float)
            text = msgspec.json.encode(int(wanted) if number else wanted).decode()
            assert told[field.name] == f"`{text}`", field.name
