# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: the arrows of the architecture, read off the syntax trees.

Every import counts, also one inside a function or under TYPE_CHECKING: an arrow is an arrow.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("charon", "ebpf", "eseg", "native", "tc_client", "tests", "tpkt")
CORE = ("tpkt.decoder", "tpkt.errors", "tpkt.sniff", "tpkt.wire")
SYSTEM_FACES = ("tpkt.daemon", "tpkt.link", "tpkt.pump")
# What a sans-IO module has no use for: descriptors, clocks, threads, processes, logs, chance.
SYSTEM = (
    "asyncio",
    "concurrent",
    "ctypes",
    "datetime",
    "fcntl",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
)


class Rule(NamedTuple):
    """Modules under `inside`, those under `apart` excepted, may not import anything under `never`."""

    sentence: str
    inside: tuple[str, ...]
    never: tuple[str, ...]
    apart: tuple[str, ...] = ()


def rooms_but(*allowed: str) -> tuple[str, ...]:
    return tuple(room for room in ROOMS if room not in allowed)


RULES = (
    Rule("charon imports no other room", ("charon",), rooms_but("charon")),
    Rule("ebpf imports no other room", ("ebpf",), rooms_but("ebpf")),
    Rule("native imports no other room", ("native",), rooms_but("native")),
    Rule("tpkt imports no other room", ("tpkt",), rooms_but("tpkt")),
    Rule("eseg stands on tpkt, charon and ebpf", ("eseg",), rooms_but("eseg", "tpkt", "charon", "ebpf")),
    Rule("tc_client stands on tpkt and charon", ("tc_client",), rooms_but("tc_client", "tpkt", "charon")),
    Rule("only tests import tests", ROOMS, ("tests",), apart=("tests",)),
    Rule("only the pump knows the compiled module", ROOMS, ("tpkt._native",), apart=("tpkt.pump", "tests")),
    Rule("inside tpkt only link, pump and daemon touch the system", ("tpkt",), SYSTEM, apart=SYSTEM_FACES),
    Rule("the core of tpkt knows nothing of its faces", CORE, (*SYSTEM_FACES, "tpkt._native")),
    Rule("strongSwan's own client is spoken to in charon only", ROOMS, ("vici",), apart=("charon", "tests")),
    Rule(
        "nothing points up to a command line", ("eseg",), ("eseg.cli",), apart=("eseg.cli", "eseg.__main__")
    ),
    Rule(
        "nothing points up to the client's command line",
        ("tc_client",),
        ("tc_client.cli",),
        apart=("tc_client.cli", "tc_client.__main__"),
    ),
)


def under(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def modules(root: Path) -> Iterator[tuple[str, bool, Path]]:
    """Every module of every room: its dotted name, whether it is a package, its file."""
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            yield ".".join(parts[:-1] if is_package else parts), is_package, path


def imports(name: str, is_package: bool, source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all `source` imports; `from a import b` is named a.b, be b a module or not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                kept = len(name.split(".")) - node.level + is_package
                base = ".".join([*name.split(".")[:kept], *([base] if base else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def broken(root: Path) -> list[str]:
    """Every arrow that points the wrong way, as file:line and the rule."""
    found = []
    for name, is_package, path in modules(root):
        for line, imported in imports(name, is_package, path.read_text()):
            found += [
                f"{path.relative_to(root)}:{line} imports {imported}: {rule.sentence}"
                for rule in RULES
                if under(name, rule.inside) and not under(name, rule.apart) and under(imported, rule.never)
            ]
    return found


def circle(root: Path) -> list[str]:
    """Some modules that import each other in a circle; empty when there is none."""
    found = list(modules(root))
    names = {name for name, _, _ in found}

    def module_of(imported: str) -> str | None:
        while imported and imported not in names:
            imported = imported.rpartition(".")[0]
        return imported or None

    graph = {
        name: {module_of(imported) for _, imported in imports(name, is_package, path.read_text())}
        - {None, name}
        for name, is_package, path in found
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def test_every_arrow_points_down() -> None:
    assert broken(ROOT) == []


def test_no_arrows_form_a_circle() -> None:
    assert circle(ROOT) == []


def test_a_circle_is_seen_through_three_modules(tmp_path: Path) -> None:
    (tmp_path / "eseg").mkdir()
    for name, source in {
        "__init__": "",
        "sessions": "from eseg.policy import Policy",
        "policy": "from . import metrics",
        "metrics": "def f():\n    import eseg.sessions",
    }.items():
        (tmp_path / "eseg" / f"{name}.py").write_text(source)
    assert set(circle(tmp_path)) == {"eseg.sessions", "eseg.policy", "eseg.metrics"}
    (tmp_path / "eseg" / "metrics.py").write_text("import eseg")
    assert circle(tmp_path) == []


def test_the_rooms_were_found() -> None:
    names = {name for name, _, _ in modules(ROOT)}
    assert {*CORE, "tpkt", "tests.test_arrows", "charon", "eseg", "tc_client"} <= names


def test_the_core_needs_nothing_but_the_standard_library() -> None:
    for name, is_package, path in modules(ROOT):
        if name == "tpkt" or under(name, CORE):
            roots = {imported.split(".")[0] for _, imported in imports(name, is_package, path.read_text())}
            assert roots - {"tpkt"} <= set(sys.stdlib_module_names), name


@pytest.mark.parametrize(
    ("path", "source", "sentence"),
    [
        ("charon/control.py", "import tpkt.wire", "charon imports no other room"),
        ("charon/control.py", "from tpkt import wire", "charon imports no other room"),
        ("eseg/sessions.py", "def f():\n    from tc_client.ladder import Rung", "eseg stands on tpkt"),
        ("tc_client/ladder.py", "import eseg", "tc_client stands on tpkt and charon"),
        ("tc_client/ladder.py", "import ebpf.rules", "tc_client stands on tpkt and charon"),
        ("tpkt/wire.py", "import socket", "only link, pump and daemon touch the system"),
        ("tpkt/wire.py", "from os import path", "only link, pump and daemon touch the system"),
        ("tpkt/wire.py", "from . import link", "the core of tpkt knows nothing of its faces"),
        ("tpkt/wire.py", "from .pump import Pump", "the core of tpkt knows nothing of its faces"),
        ("tpkt/link/rules.py", "from .. import _native", "only the pump knows the compiled module"),
        ("tpkt/link/__init__.py", "from .._native import lib", "only the pump knows the compiled module"),
        ("tpkt/__init__.py", "from ._native import lib", "only the pump knows the compiled module"),
        ("eseg/daemon.py", "from tpkt._native import lib", "only the pump knows the compiled module"),
        ("eseg/daemon.py", "from eseg import cli", "nothing points up to a command line"),
        ("eseg/daemon.py", "import vici", "spoken to in charon only"),
        ("eseg/daemon.py", "from tests.lab import wait", "only tests import tests"),
    ],
)
def test_a_wrong_arrow_is_seen(tmp_path: Path, path: str, source: str, sentence: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(source)
    found = broken(tmp_path)
    assert any(sentence in line and line.startswith(path) for line in found), found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tpkt/link/rules.py", "import os, socket\nfrom tpkt.errors import TpktError"),
        ("tpkt/pump.py", "from tpkt import _native\nimport threading"),
        ("tpkt/daemon/api.py", "import asyncio"),
        ("tpkt/sniff.py", "import enum\nfrom tpkt.wire import KEEPALIVE"),
        ("eseg/cli.py", "from eseg import daemon\nimport charon, ebpf, tpkt.pump"),
        ("charonette/thing.py", "import tpkt"),
        ("tests/e2e/test_main.py", "import eseg, tc_client, charon, vici\nfrom tpkt._native import lib"),
    ],
)
def test_a_right_arrow_is_left_alone(tmp_path: Path, path: str, source: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(source)
    assert broken(tmp_path) == []
