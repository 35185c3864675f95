# SPDX-License-Identifier: Apache-2.0
"""The virtual machine: boots the unpacked Debian kernel over the host's files, runs one command, and ends.

It knows nothing of tests. Emulation, never KVM: the device file being there does not say that it works (in
other virtual machines it often does not), and being equally slow everywhere is worth more than fast here.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.vm import image
from tests.vm.image import REPOSITORY

VNG = str(Path(sys.executable).with_name("vng"))
KERNEL = REPOSITORY / "build/vm/kernel"
MEMORY = "2G"
CPUS = 2
# The end of a log is what explains a failure; the beginning is the kernel's own start.
TAIL_LINES = 60
CONSOLE_TAIL_LINES = 10
# An empty directory over the guest's udev: it is half of the time to boot, for devices that no test wants.
UDEV = "/usr/lib/systemd"
ROOT_SHARE = "local,path=/,mount_tag=trikesec.root,security_model=none,readonly=on,multidevs=remap"


class MachineError(Exception):
    """The machine cannot be started: what is missing, and the cure."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: the command's exit status, or None when the time limit ended it."""

    status: int | None
    share: Path

    def log_tail(self) -> str:
        """The last lines of what the command printed, and of the guest's console."""
        tails = ((self.share / "guest.log", TAIL_LINES), (self.share / "console.log", CONSOLE_TAIL_LINES))
        return "\n".join(_tail(path, lines) for path, lines in tails)


def run(command: list[str], *, share: Path, seconds: float) -> Ended:
    """Boot, run `command` (no blanks in its words) in the repository as root, end; `share` is written to."""
    _require()
    if any(set(word) & set(" \t\n") for word in command):
        raise MachineError(f"a word of {command!r} has a blank: the guest reads one word a line")
    (share / "command").write_text("\n".join(command) + "\n", encoding="utf-8")
    # vng finds its own parts on PATH. qemu opens its console by name: with a file it would overwrite itself.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (share / "console.log").open("wb") as console:
        guest = subprocess.Popen(
            _argv(share, image.write(share)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=REPOSITORY,
            start_new_session=True,
        )
        copier = subprocess.Popen(["cat"], stdin=guest.stdout, stdout=console)
        try:
            status: int | None = guest.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(guest.pid, signal.SIGKILL)
            guest.wait()
            copier.wait()
            if guest.stdout:
                guest.stdout.close()
    return Ended(status, share)


def _require() -> None:
    for program in (VNG, "qemu-system-x86_64", "mksquashfs"):
        if shutil.which(program) is None:
            raise MachineError(f"{program}: not found; cure: make test-kernel, which installs it")
    if not any(KERNEL.glob("boot/vmlinuz-*")):
        raise MachineError(f"{KERNEL}: no kernel there; cure: make test-kernel, or tests/vm/kernel.sh")


def _argv(share: Path, python: Path) -> list[str]:
    kernel = max(KERNEL.glob("boot/vmlinuz-*"))
    words = [VNG, f"--run={kernel}", "--disable-kvm", "--force-9p", "--user=root", "--verbose"]
    words += [f"--memory={MEMORY}", f"--cpus={CPUS}", f"--rwdir={share}", f"--qemu-opts=-virtfs {ROOT_SHARE}"]
    words += [f"--qemu-opts=-drive file={python},if=virtio,format=raw,readonly=on"]
    empty = share / "empty"
    empty.mkdir(exist_ok=True)
    words += [f"--rodir={UDEV}={empty}", "--"]
    return [*words, shlex.join([str(REPOSITORY / "tests/vm/guest.sh"), str(REPOSITORY), str(share)])]


def _tail(path: Path, lines: int) -> str:
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else "(not written)"
    return "\n".join([f"--- last lines of the guest's {path.name} ---", *text.splitlines()[-lines:]])
