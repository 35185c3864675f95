# SPDX-License-Identifier: Apache-2.0
"""Which tests run on kernel ESP in the guest, and their names without importing or collecting them.

The guest's own tests are called `guest_*.py`, so that pytest on the host leaves them alone: they mean nothing
on a kernel without ESP.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.vm.image import REPOSITORY

MAIN_JOB = "tests/e2e/test_main_job.py"


def files() -> list[str]:
    """The files to run, in their order: what is cheap and explains the rest comes first."""
    own = [f"tests/vm/{path.name}" for path in sorted((REPOSITORY / "tests/vm").glob("guest_*.py"))]
    return [*own, *([MAIN_JOB] if (REPOSITORY / MAIN_JOB).exists() else [])]


def tests() -> list[str]:
    """`file::test` or `file::Class::test` of every test function selected; parameters count as one test."""
    return [f"{file}::{name}" for file in files() for name in _functions(REPOSITORY / file)]


def _functions(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            yield from (f"{node.name}::{name}" for name in _test_names(node.body))
        else:
            yield from _test_names([node])


def _test_names(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name
