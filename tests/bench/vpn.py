# SPDX-License-Identifier: Apache-2.0
"""What running somebody else's VPN takes: a process with a log, and waiting for its device."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.lab.netns import Namespace
from tests.lab.wait import until

UP_SECONDS = 30.0
LOG_LINES = 15


@contextlib.contextmanager
def started(
    namespace: Namespace,
    argv: Sequence[str],
    log: Path,
    *,
    stdin: str = "",
    listens: int | None = None,
) -> Iterator[None]:
    """Run `argv` inside; with `listens`, begin only when that TCP port is open."""
    with tempfile.TemporaryFile() as said, log.open("wb") as output:
        said.write(stdin.encode())
        said.seek(0)
        process = namespace.popen(argv, stdin=said, stdout=output, stderr=subprocess.STDOUT)
        try:
            if listens is not None:
                until(lambda: _listens(namespace, listens), UP_SECONDS, f"{argv[0]} listens\n{tail(log)}")
            yield
        finally:
            namespace.stop(process)


def _listens(namespace: Namespace, port: int) -> bool:
    return bool(namespace.run(["ss", "-Hltn", f"sport = :{port}"]).stdout)


def inner_address(namespace: Namespace, device: str, log: Path) -> str:
    """Wait until `device` is up with an address, and give that."""

    def found() -> str | None:
        said = namespace.run(["ip", "-j", "-4", "address", "show", "dev", device, "up"], check=False).stdout
        listed = json.loads(said) if said.strip() else []
        addresses = [address["local"] for each in listed for address in each.get("addr_info", [])]
        return str(addresses[0]) if addresses else None

    try:
        return until(found, UP_SECONDS, f"{device} has an address")
    except TimeoutError as error:
        error.add_note(tail(log))
        raise


def tail(log: Path) -> str:
    """Give the last lines of `log`."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-LOG_LINES:])
