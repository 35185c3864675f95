# SPDX-License-Identifier: Apache-2.0
"""What docs/CLIENT.md and the README tell users to write is what the client takes; every key is told."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from tc_client import config, loader
from tc_client.cli import main
from tc_client.record import Result
from tc_client.rounds import State
from tc_client.rungs import Why, from_config
from tc_client.state import state_of

ROOT = Path(__file__).resolve().parents[2]
CLIENT = (ROOT / "docs" / "CLIENT.md").read_text()
README = (ROOT / "README.md").read_text()
SHIPPED = (ROOT / "docs" / "examples" / "tc-client.toml").read_text()
BLOCK = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = BLOCK.findall(CLIENT)
OF_README = [text for text in BLOCK.findall(README) if "[identity]" in text]
NAMED = [
    *((f"CLIENT {number}", text) for number, text in enumerate(EXAMPLES)),
    *(("README", text) for text in OF_README),
    ("shipped", SHIPPED),
]


@pytest.mark.parametrize(("name", "text"), NAMED, ids=[name for name, _ in NAMED])
def test_an_example_is_fit_for_use(place: Path, name: str, text: str) -> None:
    (place / "alice").write_text("a word to pass")
    (place / "alice").chmod(0o600)
    file = place / "tc-client.toml"
    file.write_text(text)
    file.chmod(0o600)
    loaded = loader.load(file)
    assert loaded.material.warnings == (), name
    assert from_config(loaded.config.gateway, loaded.config.ladder)
    state_of(loaded.config, loaded.material, ip_address("198.51.100.2"), 1)


def test_the_examples_show_each_way_to_authenticate_and_both_modes() -> None:
    shown = "".join(EXAMPLES)
    assert len(OF_README) == 1
    for words in ('auth = "pubkey"', 'auth = "psk"', 'auth = "eap-', 'mode = "system"', 'connection = "'):
        assert words in shown, words


def test_the_shipped_example_is_the_first_of_the_page() -> None:
    bare = "".join(re.sub(r" *#.*", "", line) + "\n" for line in SHIPPED.splitlines())
    assert bare.split() == EXAMPLES[0].split()


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "[client]": config.Client,
    "[gateway]": config.Gateway,
    "[link]": config.Link,
    "[charon]": config.Charon,
    "[identity]": config.Identity,
    "[tunnel]": config.Tunnel,
    "[ladder]": config.Ladder,
}


def table_after(heading: str) -> list[list[str]]:
    """The cells of the table below `heading`, which begins a line."""
    found = re.search(rf"^{re.escape(heading)}", CLIENT, re.MULTILINE)
    assert found, heading
    rows = re.search(r"^\|.*?(?=\n\n)", CLIENT[found.end() :], re.MULTILINE | re.DOTALL)
    assert rows, heading
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows[0].splitlines()[2:]]


@pytest.mark.parametrize(("title", "section"), SECTIONS.items(), ids=SECTIONS)
def test_every_key_is_told_with_its_default(title: str, section: type[msgspec.Struct]) -> None:
    rows = table_after(f"**`{title}`**")
    told = {name: row[1] for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    fields = msgspec.structs.fields(section)
    assert set(told) == {field.name for field in fields}
    for field in fields:
        default = field.default
        if isinstance(default, float) and default.is_integer():
            default = int(default)
        if default not in (None, msgspec.NODEFAULT) and told[field.name].startswith("`") and default != ():
            assert told[field.name] == f"`{_toml(default)}`", field.name


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return msgspec.json.encode(value).decode()


def test_every_state_is_told_in_words() -> None:
    assert [row[0].strip("`") for row in table_after("### States")] == list(State)


def test_every_result_and_every_reason_is_told_to_programs() -> None:
    programs = CLIENT.partition("### For programs")[2].partition("\n### ")[0]
    for word in (*Result, *Why):
        assert f"`{word}`" in programs, word


def test_every_command_is_told() -> None:
    told = {row[0].strip("`").removeprefix("tc-client ") for row in table_after("## Looking at it")}
    assert told | {"run"} == set(main.commands)
    for name in main.commands:
        shown = CliRunner().invoke(main, [name, "--help"]).output
        assert "--config" in shown, name
