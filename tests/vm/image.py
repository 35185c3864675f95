# SPDX-License-Identifier: Apache-2.0
"""An image of all the Python that the guest imports: the interpreter's, the packages', the repository's own.

Through 9p each file that is opened costs several round trips to the host, and starting one daemon opens a
thousand. The image mirrors the host's paths.
"""

from __future__ import annotations

import compileall
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = ("charon", "eseg", "tc_client", "tests", "tpkt")
FILE, LIST = "python.squashfs", "python.paths"
# Reading is what it is for: nothing is compressed.
OPTIONS = ("-no-strip", "-noI", "-noD", "-noF", "-noX", "-noappend", "-no-progress", "-quiet")


def write(share: Path) -> Path:
    """Write the image into `share`, and beside it the list of what is in it; give the image."""
    rooms = [REPOSITORY / room for room in ROOMS if (REPOSITORY / room).is_dir()]
    # The guest cannot keep what it compiles, and compiling is slow there.
    for room in rooms:
        compileall.compile_dir(room, quiet=1)
    image = share / FILE
    paths = [str(path).removeprefix("/") for path in [*_libraries(), *rooms]]
    subprocess.run(["mksquashfs", *paths, image, *OPTIONS], check=True, cwd="/", timeout=120)
    (share / LIST).write_text("".join(f"/{path}\n" for path in paths), encoding="utf-8")
    return image


def _libraries() -> list[Path]:
    """The directories that this interpreter imports from, none inside another, without the repository."""
    found: list[Path] = []
    for path in sorted({Path(entry).resolve() for entry in sys.path if Path(entry).is_dir()}):
        if path != REPOSITORY and not any(path.is_relative_to(other) for other in found):
            found.append(path)
    return found
