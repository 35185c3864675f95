# SPDX-License-Identifier: Apache-2.0
"""Compiles the load generators of this directory into build/bench when they are older than their sources."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
OUTPUT = REPOSITORY / "build/bench"
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pthread")
SOURCES = {
    "load": ("load.c", "load_stream.c", "load_link.c"),
    "idle": ("idle.c",),
}


def program(name: str) -> Path:
    """Give the path of the compiled program `name`, compiled now if need be."""
    binary, sources = OUTPUT / name, [HERE / source for source in SOURCES[name]]
    newest = max(path.stat().st_mtime for path in [*sources, *HERE.glob("*.h")])
    if not binary.exists() or binary.stat().st_mtime < newest:
        OUTPUT.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", *FLAGS, "-o", binary, *sources], check=True, timeout=120)
    return binary
