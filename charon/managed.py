# SPDX-License-Identifier: Apache-2.0
"""A charon of our own: configured, started or adopted, supervised, ended.

Its runtime directory holds all there is of it: strongswan.conf, the VICI socket, logs, the script and what it
noted. charon cannot resume IKE_SAs, so it outlives us on purpose: a new ManagedCharon of the same directory
and settings adopts a healthy one with all its SAs; one that is not wanted as it is gets replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from charon import leftovers, probe, process
from charon.attributes import Attributes, AttributeStore
from charon.conf import Esp, Role, Settings, strongswan_conf
from charon.control import Charon
from charon.errors import CharonCannotRun, CharonError, CharonTimeout
from charon.session import CommandSession
from charon.supervise import supervise
from charon.types import State

logger = logging.getLogger(__name__)

START_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.05
ANSWER_SECONDS: Final = 3.0
LOG_LIMIT: Final = 16 * 1024 * 1024
RESTART: Final = "Restart the daemon"
SOCKET_PATH_LIMIT: Final = 107  # struct sockaddr_un


class ManagedCharon:
    """One charon in one runtime directory."""

    def __init__(
        self,
        directory: Path,
        role: Role,
        *,
        esp: Literal["auto", "kernel", "libipsec"] = "auto",
        expected_clients: int = 1000,
        ports: tuple[int, int] = (500, 4500),
        ignore_interfaces: tuple[str, ...] = (),
        log_level: int = 1,
        p_cscf: bool = False,
        log_events: bool = False,
        extra_plugins: tuple[str, ...] = (),
        extra_settings: str = "",
        netns: Path | None = None,
        timeout: float = 5.0,
    ) -> None:
        """Describe it; `start` makes it so.

        A client names its link's device in `ignore_interfaces`: charon would otherwise take its address for
        the local one. `p_cscf` makes a client learn P-CSCF addresses. `netns` is another network namespace to
        live in.
        """
        self.directory = directory.resolve()
        self.role = role
        self._wanted_esp = esp
        self._netns = netns
        self._settings = Settings(
            directory=self.directory,
            role=role,
            esp="libipsec",
            expected_clients=expected_clients,
            ports=ports,
            ignore_interfaces=ignore_interfaces,
            log_level=log_level,
            wire_log=role == "client" and p_cscf,
            extra_plugins=extra_plugins,
            extra_settings=extra_settings,
        )
        self._attributes = AttributeStore(self.directory, self._settings.wire)
        self.charon = Charon(
            self.vici_path, timeout, log_events=log_events, exclusive=True, prepare=self._with_script
        )
        self.process: process.Process | None = None
        self.adopted = False
        self.restarts = 0
        self.esp_reason = ""

    @property
    def vici_path(self) -> Path:
        """Its VICI socket."""
        return self._settings.vici

    @property
    def conf_path(self) -> Path:
        """Its strongswan.conf."""
        return self.directory / "strongswan.conf"

    @property
    def log_path(self) -> Path:
        """Its log."""
        return self._settings.log

    @property
    def esp(self) -> Esp:
        """Who does ESP: known after `start`; `esp_reason` says why."""
        return self._settings.esp

    @property
    def pid(self) -> int | None:
        """Its process, None when it does not run."""
        return self.process.pid if self.process is not None and self.process.running else None

    @property
    def attributes(self) -> dict[str, Attributes]:
        """What each loaded connection has been assigned by its gateway (a client's charon)."""
        connections = self.charon.loaded.connections
        return {connection.name: self._attributes.read(connection) for connection in connections}

    async def join(self) -> None:
        """Use the charon that runs, whoever has started it and with which settings: it is only spoken to.

        Raises CharonCannotRun when none runs. `load` brings in the configuration; `start` is not needed then.
        """
        probe.require_rights()
        found = await asyncio.to_thread(process.find, self.conf_path)
        if found is None:
            raise CharonCannotRun("there is no charon to go on with", where=str(self.directory), cure=RESTART)
        self.process, self.adopted = found, True
        text = await asyncio.to_thread(self.conf_path.read_text)
        binaries = await asyncio.to_thread(probe.find_binaries)
        esp, self.esp_reason = await asyncio.to_thread(
            probe.choose_esp, self._wanted_esp, binaries, self._netns
        )
        self._settings = replace(self._settings, esp=esp)
        if text != strongswan_conf(self._settings, binaries.has_plugin):
            logger.warning("charon, pid %d, keeps its settings until the next restart", found.pid)
        self._attributes.install()
        await self.charon.connect()

    async def start(self, adopt: bool = True) -> None:
        """Adopt the charon that an earlier run has left if it is as wanted and healthy, or start one.

        Afterwards `charon` is connected. `load` or `charon.replace_all` brings in the configuration.
        """
        probe.require_rights()
        binaries = await asyncio.to_thread(probe.find_binaries)
        esp, self.esp_reason = await asyncio.to_thread(
            probe.choose_esp, self._wanted_esp, binaries, self._netns
        )
        self._settings = replace(self._settings, esp=esp)
        text = strongswan_conf(self._settings, binaries.has_plugin)
        if self.process is not None and not self.process.running:
            self.ended()
        found = self.process or await asyncio.to_thread(process.find, self.conf_path)
        if found is not None:
            healthy = await self.answers()
            if healthy and adopt and self._is_configured(text):
                self.adopted = found is not self.process or self.adopted
                self.process = found
                self._attributes.install()
                await self.charon.connect()
                logger.info("adopted charon, pid %d", found.pid)
                return
            logger.info("ending the charon of an earlier run, pid %d", found.pid)
            if not healthy:
                found.kill()  # it would not hear anything gentler
            await found.end()
            self.process = None
        self._prepare(text)
        await self._launch(binaries.charon)

    async def stop(self) -> None:
        """End it; its peers are told. What it leaves in the kernel goes too."""
        await self.charon.close()
        if self.process is not None:
            await self.process.end()
            self.process = None
        await asyncio.to_thread(self._clean_up)

    async def load(self, state: State) -> None:
        """Hold `state` and nothing else, whatever an earlier run has loaded; established SAs live on."""
        await self.charon.replace_all(state)

    async def reload(self) -> None:
        """Load again what was loaded, into a charon that was started anew."""
        await self.charon.reload()

    async def supervise(self, on_restart: Callable[[], None] | None = None) -> None:
        """Keep it running, for ever, and loaded; cancel this before `stop`."""
        await supervise(self, on_restart)

    async def answers(self) -> bool:
        """Whether it answers a question at once, asked on a session of its own."""
        session = CommandSession(self.vici_path, ANSWER_SECONDS)
        try:
            await session.open()
            await session.request("version")
        except CharonError as error:
            logger.warning("charon does not answer: %s", error)
            return False
        finally:
            session.close()
        return True

    def trim_logs(self) -> None:
        """Keep its logs small; the last LOG_LIMIT bytes of the main one are kept beside it."""
        self._attributes.trim()
        with contextlib.suppress(OSError):
            if self.log_path.stat().st_size > LOG_LIMIT:
                # charon appends: it goes on at the beginning of the emptied file.
                shutil.copyfile(self.log_path, self.log_path.with_suffix(".log.1"))
                os.truncate(self.log_path, 0)

    def ended(self) -> int | None:
        """Note that its process has ended, and give the exit status if it was started here."""
        status = self.process.release() if self.process is not None else None
        self.process = None
        return status

    def _with_script(self, state: State) -> State:
        """Have a client's charon call the script that `attributes` reads from."""
        return self._attributes.with_script(state) if self.role == "client" else state

    def _is_configured(self, text: str) -> bool:
        """Whether the charon that runs was started with this configuration."""
        try:
            return self.conf_path.read_text() == text
        except OSError:
            return False

    def _prepare(self, text: str) -> None:
        if len(str(self.vici_path)) > SOCKET_PATH_LIMIT:
            cure = "Configure a shorter runtime directory"
            raise CharonCannotRun("the path is too long for a socket", where=str(self.vici_path), cure=cure)
        probe.require_ports(self._settings.ports, self._netns)
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.chmod(0o700)
            self._clean_up()
            self._attributes.install()
            self.conf_path.write_text(text)
            self.conf_path.chmod(0o600)
        except OSError as error:
            cure = "Configure a runtime directory that can be written, such as one below /run"
            raise CharonCannotRun(str(error.strerror), where=str(self.directory), cure=cure) from None

    def _clean_up(self) -> None:
        """Remove what an ended charon has left behind, in the directory and in the kernel."""
        for left in (self.vici_path, self._settings.wire):
            left.unlink(missing_ok=True)
        if self.esp == "kernel":
            removed = leftovers.remove_xfrm(self._settings.ports[1], self._netns)
            if removed:
                logger.info("removed %d SAs that a killed charon has left", removed)
            leftovers.remove_routes(self._netns)
            leftovers.remove_addresses(self._attributes.noted_addresses(), "lo", self._netns)
        self._attributes.forget()

    async def _launch(self, program: Path) -> None:
        output = self.directory / "charon.out"
        self.process, self.adopted = process.start(program, self.conf_path, output, self._netns), False
        loop = asyncio.get_running_loop()
        end = loop.time() + START_SECONDS
        while self.process.running and loop.time() < end:
            with contextlib.suppress(CharonError):
                await self.charon.connect()
                await self.charon.version()
                logger.info("started charon, pid %d, %s ESP: %s", self.process.pid, self.esp, self.esp_reason)
                return
            await asyncio.sleep(POLL_SECONDS)
        ran = self.process.running
        await self.process.end()
        self.process = None
        tail = _last_words(self.log_path) or _last_words(output)
        cure = f"See {self.log_path}" + (f"; {hint}" if (hint := probe.apparmor_hint()) else "")
        if ran:
            raise CharonTimeout(
                f"not ready within {START_SECONDS:g} s: {tail}", where=str(program), cure=cure
            )
        raise CharonCannotRun(f"ended at once: {tail}", where=str(program), cure=cure)


def _last_words(log: Path) -> str:
    """Give the last line that tells of a failure, or the last at all."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-200:]
    except OSError:
        return ""
    telling = [line for line in lines if "fail" in line or "unable" in line or "error" in line]
    return (telling or lines or [""])[-1].strip()
