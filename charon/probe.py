# SPDX-License-Identifier: Apache-2.0
"""What this machine offers a charon of our own: programs, plugins, ESP, rights, ports, AppArmor.

Each question is answered with the sentence a person needs. Asks through iproute2's programs, in the network
namespace it is told to look at; changes nothing that it does not take back.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from charon.errors import CharonCannotRun

PLUGIN_DIRECTORIES: Final = (Path("/usr/lib/ipsec/plugins"), Path("/usr/lib/strongswan/plugins"))
APPARMOR_PROFILES: Final = Path("/sys/kernel/security/apparmor/profiles")
APPARMOR_NAME: Final = "/usr/sbin/charon-systemd"
TUN: Final = Path("/dev/net/tun")
CAP_NET_ADMIN: Final = 12
COMMAND_SECONDS: Final = 30.0  # the first SA loads modules, which takes long on emulated machines
# An SPI that charon never draws (it begins at 0xc0000000) on an address nobody tunnels to.
PROBE_SA: Final = "src 127.0.0.1 dst 127.0.0.1 proto esp spi 0x7ee1e5b1"


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of strongSwan; `plugins` is None where its directory is not one we know."""

    charon: Path
    swanctl: Path | None
    plugins: frozenset[str] | None

    def has_plugin(self, name: str) -> bool:
        """Whether charon can load `name`; assumed where the plugin directory is unknown."""
        return self.plugins is None or name in self.plugins


@dataclass(frozen=True, slots=True)
class KernelEsp:
    """Whether the kernel can do ESP in UDP, and how that was found out."""

    available: bool
    reason: str


def find_binaries() -> Binaries:
    """Find strongSwan; CharonCannotRun names the package that is missing."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"
    charon = shutil.which("charon-systemd", path=path)
    if charon is None:
        raise CharonCannotRun("charon-systemd is not installed", cure="apt install charon-systemd")
    swanctl = shutil.which("swanctl", path=path)
    directory = next((place for place in PLUGIN_DIRECTORIES if place.is_dir()), None)
    plugins = None
    if directory is not None:
        files = directory.glob("libstrongswan-*.so")
        plugins = frozenset(file.stem.removeprefix("libstrongswan-") for file in files)
    return Binaries(Path(charon), Path(swanctl) if swanctl else None, plugins)


def kernel_esp(netns: Path | None = None) -> KernelEsp:
    """Try it: add an SA as charon would, and remove it."""
    key = "00" * 20
    add = f"xfrm state add {PROBE_SA} mode tunnel aead rfc4106(gcm(aes)) 0x{key} 128"
    add += " encap espinudp 4500 4500 0.0.0.0"
    done = run(["ip", *add.split()], netns)
    if done.returncode == 0:
        run(["ip", *f"xfrm state delete {PROBE_SA}".split()], netns)
        return KernelEsp(True, "the kernel accepted an ESP-in-UDP SA with AES-GCM")
    refusal = done.stderr.strip().splitlines()[-1:] or ["it gave no reason"]
    return KernelEsp(False, f"the kernel refused an ESP-in-UDP SA ({refusal[0]})")


def choose_esp(
    wanted: Literal["auto", "kernel", "libipsec"], binaries: Binaries, netns: Path | None = None
) -> tuple[Literal["kernel", "libipsec"], str]:
    """Give who does ESP and why; CharonCannotRun when what is wanted cannot be had."""
    why = "as configured"
    if wanted != "libipsec":
        found = kernel_esp(netns)
        if found.available:
            return "kernel", found.reason
        if wanted == "kernel":
            cure = 'Load the modules esp4 and esp6, or configure esp = "auto"'
            raise CharonCannotRun(found.reason, where="esp", cure=cure)
        why = found.reason
    if not binaries.has_plugin("kernel-libipsec"):
        cure = "apt install libcharon-extra-plugins"
        raise CharonCannotRun(f"no userspace ESP: {why}, and kernel-libipsec is missing", cure=cure)
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        cure = "modprobe tun; in a container, pass the device in"
        raise CharonCannotRun(
            f"{error.strerror}: userspace ESP needs it", where=str(TUN), cure=cure
        ) from None
    return "libipsec", why


def require_rights() -> None:
    """Raise CharonCannotRun without the right to configure networks."""
    status = Path("/proc/self/status").read_text()
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    capable = effective is not None and int(effective[1], 16) >> CAP_NET_ADMIN & 1
    if os.geteuid() != 0 or not capable:
        raise CharonCannotRun("charon needs root and CAP_NET_ADMIN", cure="Run it as root")


def port_user(port: int, netns: Path | None = None) -> str | None:
    """Say who uses the UDP port, "strongswan (pid 7)" or "somebody"; None when it is free."""
    done = run(["ss", "-HlunpO", f"sport = :{port}"], netns)
    if not done.stdout.strip():
        return None
    users = re.findall(r'\("([^"]+)",pid=(\d+)', done.stdout)
    return ", ".join(sorted({f"{name} (pid {pid})" for name, pid in users})) or "somebody"


def require_ports(ports: tuple[int, int], netns: Path | None = None) -> None:
    """Raise CharonCannotRun when one of IKE's ports is taken, with the name of who has it."""
    for port in ports:
        user = port_user(port, netns)
        if user:
            cure = 'Stop it (`systemctl disable --now strongswan`?), or use it: [charon] mode = "system"'
            raise CharonCannotRun(f"UDP port {port} is in use by {user}", cure=cure)


def apparmor_hint() -> str | None:
    """Say what to do when AppArmor may refuse our charon its files; None when it does not interfere."""
    try:
        profiles = APPARMOR_PROFILES.read_text()
    except OSError:
        return None  # no AppArmor, or not for us to see
    if f"{APPARMOR_NAME} (enforce)" not in profiles:
        return None
    return (
        f"AppArmor confines {APPARMOR_NAME}: install strongswan-conf/apparmor/usr.sbin.charon-systemd as "
        "/etc/apparmor.d/local/usr.sbin.charon-systemd, then "
        "`apparmor_parser -r /etc/apparmor.d/usr.sbin.charon-systemd`"
    )


def run(argv: list[str], netns: Path | None) -> subprocess.CompletedProcess[str]:
    """Run a program of iproute2 in `netns` (None: here)."""
    prefix = ["nsenter", f"--net={netns}", "--"] if netns else []
    try:
        return subprocess.run(
            [*prefix, *argv], check=False, capture_output=True, text=True, timeout=COMMAND_SECONDS
        )
    except FileNotFoundError as error:
        cure = "apt install iproute2 util-linux"
        raise CharonCannotRun(f"{error.filename} is not installed", cure=cure) from None
    except subprocess.TimeoutExpired:
        raise CharonCannotRun(f"`{' '.join(argv)}` does not end", cure="Is the machine overloaded?") from None
