# SPDX-License-Identifier: Apache-2.0
"""What a machine lacks, told in a sentence with its cure; each lack is made by pointing at something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from charon import CharonCannotRun, probe
from charon.probe import Binaries, KernelEsp
from tests.lab.topology import Topology

EVERYTHING = Binaries(Path("/usr/sbin/charon-systemd"), None, None)
NOTHING = Binaries(Path("/usr/sbin/charon-systemd"), None, frozenset())
NO_KERNEL_ESP = KernelEsp(False, "the kernel refused an ESP-in-UDP SA (not supported)")


@pytest.mark.root
def test_the_probe_of_the_kernel_says_why_and_leaves_nothing_behind(lab: Topology) -> None:
    found = probe.kernel_esp(lab.ue.path)
    assert found.available == ("accepted" in found.reason)
    assert "0x7ee1e5b1" not in lab.ue.run(["ip", "xfrm", "state"], check=False).stdout


def test_kernel_esp_is_taken_where_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "kernel_esp", lambda _: KernelEsp(True, "it does"))
    assert probe.choose_esp("auto", NOTHING) == ("kernel", "it does")
    assert probe.choose_esp("kernel", NOTHING) == ("kernel", "it does")


def test_userspace_esp_where_there_is_none_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(probe, "kernel_esp", lambda _: NO_KERNEL_ESP)
    monkeypatch.setattr(probe, "TUN", tmp_path / "tun")
    (tmp_path / "tun").touch()
    assert probe.choose_esp("auto", EVERYTHING) == ("libipsec", NO_KERNEL_ESP.reason)
    assert probe.choose_esp("libipsec", EVERYTHING) == ("libipsec", "as configured")


@pytest.mark.parametrize(
    ("wanted", "binaries", "sentence"),
    [
        ("kernel", EVERYTHING, "Load the modules esp4"),
        ("auto", NOTHING, "apt install libcharon-extra-plugins"),
        ("auto", EVERYTHING, "tun: No such file or directory.*modprobe tun"),
    ],
)
def test_what_is_missing_for_esp_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: str, binaries: Binaries, sentence: str
) -> None:
    monkeypatch.setattr(probe, "kernel_esp", lambda _: NO_KERNEL_ESP)
    monkeypatch.setattr(probe, "TUN", tmp_path / "tun")
    with pytest.raises(CharonCannotRun, match=sentence):
        probe.choose_esp(wanted, binaries)  # type: ignore[arg-type]  # from a table


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(CharonCannotRun, match="Run it as root"):
        probe.require_rights()


@pytest.mark.parametrize(
    ("profiles", "hinted"),
    [
        ("/usr/sbin/charon-systemd (enforce)\n", True),
        ("/usr/sbin/charon-systemd (complain)\n", False),
        ("/usr/sbin/swanctl (enforce)\n", False),
        (None, False),
    ],
)
def test_apparmor_is_mentioned_only_where_it_refuses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profiles: str | None, hinted: bool
) -> None:
    file = tmp_path / "profiles"
    if profiles is not None:
        file.write_text(profiles)
    monkeypatch.setattr(probe, "APPARMOR_PROFILES", file)
    hint = probe.apparmor_hint()
    assert (hint is not None) == hinted
    if hint:
        assert "strongswan-conf/apparmor/usr.sbin.charon-systemd" in hint
