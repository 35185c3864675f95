# SPDX-License-Identifier: Apache-2.0
"""What all tests share: labs that are always removed, and their logs beside the test that failed in one."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from tests.lab.lab import Lab

_LABS: list[Lab] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root, by its marks, for everybody else."""
    if os.geteuid() == 0:
        return
    for item in items:
        if any(item.get_closest_marker(mark) for mark in ("root", "charon", "e2e")):
            item.add_marker(pytest.mark.skip(reason="needs root: namespaces, nftables, charons"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the logs of all labs beside a failure, while their files exist."""
    report: pytest.TestReport = yield
    if report.failed:
        for lab in _LABS:
            report.sections += [(f"log {name}", text) for name, text in lab.logs().items()]
    return report


def _lab() -> Iterator[Lab]:
    with Lab() as lab:
        _LABS.append(lab)
        try:
            yield lab
        finally:
            _LABS.remove(lab)


@pytest.fixture(scope="module", name="standing_lab")
def _standing_lab() -> Iterator[Lab]:
    yield from _lab()


@pytest.fixture
def lab(standing_lab: Lab) -> Iterator[Lab]:
    """A lab whose gateway the tests of a module share; each begins with an open firewall and no client."""
    standing_lab.firewall.open_all()
    try:
        yield standing_lab
    finally:
        standing_lab.dismiss()


@pytest.fixture
def own_lab() -> Iterator[Lab]:
    """A lab for a test that breaks things."""
    yield from _lab()
