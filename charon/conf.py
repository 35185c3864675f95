# SPDX-License-Identifier: Apache-2.0
"""The strongswan.conf of a charon of our own: every setting with its reason, nothing left to chance.

A pure function from settings to text: the same settings give the same text, which is how a charon that
survived its parent is recognised as still being what is wanted. `strongswan-conf/` says the same to operators
who run their own charon; a test keeps the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Role = Literal["gateway", "client"]
Esp = Literal["kernel", "libipsec"]

# openssl before the plugins that do the same in plain C: the first that registers an algorithm gets it, and
# userspace ESP moves 44 Mbit/s with the AES-GCM of `gcm`, 290 with OpenSSL's.
CRYPTO_PLUGINS: Final = (
    "random nonce openssl aes sha1 sha2 md5 hmac kdf gcm curve25519 "
    "pem pkcs1 pkcs8 pkcs12 x509 pubkey constraints revocation"
)
# kernel-libipsec must come before kernel-netlink: the first that registers for ESP gets it.
KERNEL_PLUGINS: Final = {"kernel": "kernel-netlink", "libipsec": "kernel-libipsec kernel-netlink"}
IKE_PLUGINS: Final = (
    "socket-default vici updown attr counters eap-identity eap-md5 eap-gtc eap-mschapv2 eap-tls eap-ttls"
)

# An SA must outlive an outage of the path. charon's defaults give up after 165 s, with pauses of up to 42 s
# in which a path that works again stays unused; ours have short pauses and last five minutes.
OUTAGE_SECONDS: Final = 300.0

# At level 4 charon logs keys and secrets.
LOUDEST: Final = 3


@dataclass(frozen=True, slots=True)
class Retransmission:
    """When charon sends a request again: after timeout × base^n seconds, at most `limit`, `tries` times."""

    timeout: float
    base: float
    limit: float

    def pauses(self, tries: int) -> list[float]:
        """Return the pauses before each retransmission and before giving up."""
        return [min(self.timeout * self.base**n, self.limit) for n in range(tries + 1)]

    @property
    def tries(self) -> int:
        """How many retransmissions it takes to last OUTAGE_SECONDS."""
        tries = 1
        while sum(self.pauses(tries)) < OUTAGE_SECONDS:
            tries += 1
        return tries


RETRANSMISSION: Final[dict[Role, Retransmission]] = {
    # A client has one peer, and what it repeats first after a move is what moves the gateway: pause little.
    "client": Retransmission(timeout=1.0, base=1.5, limit=2.5),
    # A gateway may have thousands of clients without a path at the same time.
    "gateway": Retransmission(timeout=2.0, base=1.8, limit=10.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that a generated strongswan.conf depends on."""

    directory: Path
    role: Role
    esp: Esp
    expected_clients: int = 1000
    ports: tuple[int, int] = (500, 4500)
    ignore_interfaces: tuple[str, ...] = ()  # devices whose addresses and routes charon must not use
    log_level: int = 1
    wire_log: bool = False  # client: every IKE message decoded, to learn attributes no plugin handles
    extra_plugins: tuple[str, ...] = ()
    extra_settings: str = ""  # lines for the end of the section, as the operator wrote them

    @property
    def vici(self) -> Path:
        """The VICI socket."""
        return self.directory / "charon.vici"

    @property
    def log(self) -> Path:
        """The log file."""
        return self.directory / "charon.log"

    @property
    def wire(self) -> Path:
        """The decoded IKE messages, when asked for."""
        return self.directory / "wire.log"


def strongswan_conf(settings: Settings, has_plugin: Callable[[str], bool]) -> str:
    """Return the text of strongswan.conf; a plugin this machine does not have is left out."""
    wanted = f"{CRYPTO_PLUGINS} {KERNEL_PLUGINS[settings.esp]} {IKE_PLUGINS}".split()
    plugins = [name for name in (*wanted, *settings.extra_plugins) if has_plugin(name)]
    lines = [f"load = {' '.join(plugins)}", *_common(settings)]
    lines += _gateway(settings) if settings.role == "gateway" else _client()
    lines += ["plugins {", *_indented(_plugin_settings(settings)), "}"]
    lines += ["filelog {", *_indented(_logs(settings)), "}"]
    lines += ["journal {", "  default = -1", "}"]  # one log, ours; the journal belongs to the system's charon
    lines += settings.extra_settings.splitlines()
    return "\n".join(["charon-systemd {", *_indented(lines), "}", ""])


def _common(settings: Settings) -> list[str]:
    again = RETRANSMISSION[settings.role]
    lines = [
        f"port = {settings.ports[0]}",
        f"port_nat_t = {settings.ports[1]}",
        f"retransmit_timeout = {again.timeout}",
        f"retransmit_base = {again.base}",
        f"retransmit_limit = {again.limit:g}",
        f"retransmit_tries = {again.tries}",
        "retransmit_jitter = 20",
        # Packets of two paths arrive in disorder while a tunnel moves; 32, the default, is soon spent.
        "replay_window = 1024",
        # A NAT on the UDP path forgets after 30 s; on the link the pump swallows them.
        "keep_alive = 20s",
    ]
    if settings.ignore_interfaces:
        lines.append(f"interfaces_ignore = {', '.join(settings.ignore_interfaces)}")
    return lines


def _gateway(settings: Settings) -> list[str]:
    size = _power_of_two(settings.expected_clients)
    many = max(1000, settings.expected_clients)
    return [
        # The default is one list that is walked for every message.
        f"ikesa_table_size = {size}",
        f"ikesa_table_segments = {min(64, max(1, size // 64))}",
        f"threads = {32 if settings.expected_clients > 5000 else 16}",
        # Every TCP connection has a source address of its own, so the limits per address (3 and 5) hit only
        # who deserves it. The global one would ask everybody for cookies once 30 clients connect at a time.
        "cookie_threshold_ip = 3",
        "block_threshold = 5",
        f"cookie_threshold = {many}",
        f"init_limit_half_open = {2 * many}",
        "half_open_timeout = 30",
    ]


def _client() -> list[str]:
    return [
        # When routes change, ask the peer at once whether it is still there: this is what moves it along.
        "check_current_path = yes",
        # Kernel ESP: the inner address must not go with the device of an access network. Userspace ESP has it
        # on its TUN device in any case.
        "install_virtual_ip_on = lo",
    ]


def _plugin_settings(settings: Settings) -> list[str]:
    lines = [f"vici {{ socket = unix://{settings.vici} }}"]
    if settings.esp == "libipsec":
        lines.append("kernel-libipsec { load = yes }")
    if settings.role == "client":
        # The transport switch is a routing rule, and counts as a change of the path.
        lines.append("kernel-netlink { process_rules = yes }")
        # Hand DNS servers to the script below instead of writing /etc/resolv.conf behind the user's back.
        lines.append("updown { dns_handler = yes }")
    else:
        # A gateway's addresses do not roam; the link's device coming up is no news for its clients.
        lines.append("kernel-netlink { roam_events = no }")
    return lines


def _logs(settings: Settings) -> list[str]:
    shape = ["time_format = %Y-%m-%dT%H:%M:%S", "ike_name = yes", "flush_line = yes"]
    levels = [f"default = {min(settings.log_level, LOUDEST)}"]
    lines = ["main {", *_indented([f"path = {settings.log}", *shape, *levels]), "}"]
    if settings.wire_log:
        levels = ["default = -1", "enc = 3"]
        lines += ["wire {", *_indented([f"path = {settings.wire}", *shape, *levels]), "}"]
    return lines


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _power_of_two(least: int) -> int:
    return 1 << max(0, least - 1).bit_length()
