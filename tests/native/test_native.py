# SPDX-License-Identifier: Apache-2.0
"""The compiled data plane: its C tests, its fuzzers for some seconds, the pump's tests under sanitizers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tpkt.errors import CloseReason
from tpkt.pump import ConnectionState, EventKind, native
from tpkt.sniff import Protocol

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "native"
FUZZ_SECONDS = 5
# Everything is built here when it was not before, on a machine that may be busy.
pytestmark = pytest.mark.timeout(600)


def run(argv: list[str], env: Mapping[str, str] | None = None) -> str:
    """Give what a command printed; its whole output is the failure's message when it fails."""
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{argv}: exit status {done.returncode}\n{said[-20_000:]}"
    return said


def make(*targets: str) -> str:
    return run(["nice", "make", "-j2", "-C", "native", *targets])


def test_the_c_tests_pass_under_address_and_undefined_behaviour_sanitizer() -> None:
    said = make("test")
    for name in ("every_row_of_the_table_holds", "ike_is_never_dropped", "a_slow_reader_of_tpkt"):
        assert f"ok  {name}" in said


def test_the_threaded_c_tests_pass_under_thread_sanitizer() -> None:
    assert "ok  snapshots_are_whole_while_the_owner_works_on" in make("tsan")


@pytest.mark.skipif(not shutil.which("clang"), reason="libFuzzer comes with clang")
def test_the_fuzzers_find_nothing_in_some_seconds() -> None:
    said = make("fuzz", f"FUZZ_SECONDS={FUZZ_SECONDS}")
    executed = [int(number) for number in re.findall(r"number_of_executed_units: (\d+)", said)]
    assert len(executed) == len(list((ROOT / "native" / "fuzz").glob("fuzz_*.c")))
    assert min(executed) > 1000


def sanitized(kind: str) -> str:
    """Build the module with a sanitizer beside the installed one; its path."""
    flags = f"-fsanitize={kind}"
    place = BUILD / kind.split(",", maxsplit=1)[0]
    run(
        [
            "nice",
            sys.executable,
            "setup.py",
            "-q",
            "build_ext",
            f"--build-lib={place}",
            f"--build-temp={place}/objects",
        ],
        {"CFLAGS": f"{flags} -fno-omit-frame-pointer", "LDFLAGS": flags},
    )
    return str(next((place / "tpkt").glob("_native*.so")))


def runtime(library: str) -> str:
    """The sanitizer's library, which must be in a process before all others."""
    return run(["cc", f"-print-file-name={library}"]).strip()


@pytest.mark.root
@pytest.mark.parametrize(
    ("kind", "libraries", "options"),
    [
        (
            "address,undefined",
            ("libasan.so", "libubsan.so"),
            # Python itself leaves memory at its end.
            {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"},
        ),
        ("thread", ("libtsan.so",), {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66"}),
    ],
    ids=["address", "thread"],
)
def test_the_pump_serves_its_tests_on_a_sanitized_build(
    kind: str, libraries: tuple[str, ...], options: dict[str, str]
) -> None:
    env = {
        **options,
        "LD_PRELOAD": " ".join(map(runtime, libraries)),
        "TPKT_NATIVE": sanitized(kind),
    }
    # Those of the one are not in this process; the other measures memory, which a sanitizer takes for itself,
    # and asks `ip`, which does not live through one (it copies a string onto itself).
    left_out = [f"--ignore=tests/tpkt/pump/test_pump_{name}.py" for name in ("process", "soak")]
    said = run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.native.swap", *left_out, "tests/tpkt/pump"],
        env,
    )
    assert " passed" in said
    assert "Sanitizer" not in said


def test_reasons_and_protocols_have_the_same_names_in_c_and_in_python() -> None:
    lib, ffi = native.lib, native.ffi
    reasons = [ffi.string(lib.tp_reason_name(number)).decode() for number in range(lib.TP_REASON_COUNT)]
    assert reasons == [reason.value for reason in CloseReason]
    protocols = [ffi.string(lib.tp_protocol_name(number)).decode() for number in range(lib.TP_PROTOCOL_COUNT)]
    assert protocols == [protocol.value for protocol in Protocol]
    assert ffi.string(lib.tp_reason_name(9999)) == ffi.string(lib.tp_protocol_name(9999)) == b"?"


@pytest.mark.parametrize(
    ("prefix", "twin"), [("TP_EVENT_", EventKind), ("TP_", ConnectionState)], ids=["events", "states"]
)
def test_events_and_states_have_the_same_numbers_in_c_and_in_python(
    prefix: str, twin: type[EventKind] | type[ConnectionState]
) -> None:
    assert [getattr(native.lib, prefix + member.name) for member in twin] == list(range(len(twin)))


def test_counters_have_names_of_their_own() -> None:
    names = native.COUNTER_NAMES
    assert len(names) == len(set(names))
    assert {f"closed_{reason}" for reason in CloseReason} <= set(names)
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)
