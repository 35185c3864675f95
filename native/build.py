# SPDX-License-Identifier: Apache-2.0
"""Builds `tpkt._native` with cffi (API mode, out of line); setup.py names `ffi`.

What Python may call is read from the headers themselves, so there is no second list of declarations to keep.
Paths are relative to the project's root, which is where setuptools runs.
"""

from __future__ import annotations

from pathlib import Path

import cffi

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "native"

HEADERS = ("reason.h", "api.h")
# -fno-semantic-interposition and hidden symbols: calls between our own files are direct.
COMPILE = [
    "-std=gnu11",
    "-O2",
    "-g",
    "-D_GNU_SOURCE",
    "-fvisibility=hidden",
    "-fno-semantic-interposition",
    "-fstack-protector-strong",
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=2",
    "-pthread",
]
LINK = ["-pthread", "-Wl,-z,relro,-z,now"]


def declarations() -> str:
    """What the headers declare, without their preprocessor lines, which cffi does not read."""
    lines: list[str] = []
    for header in HEADERS:
        text = (NATIVE / header).read_text(encoding="utf-8")
        lines += [line for line in text.splitlines() if not line.startswith("#")]
    return "\n".join(lines)


def make_builder() -> cffi.FFI:
    """Describe the module."""
    builder = cffi.FFI()
    builder.cdef(declarations())
    builder.set_source(
        "tpkt._native",
        '#include "api.h"',
        sources=sorted(str(source.relative_to(ROOT)) for source in NATIVE.glob("*.c")),
        depends=sorted(str(header.relative_to(ROOT)) for header in NATIVE.glob("*.h")),
        include_dirs=["native"],
        extra_compile_args=COMPILE,
        extra_link_args=LINK,
        libraries=["ssl", "crypto"],
    )
    return builder


ffi = make_builder()
