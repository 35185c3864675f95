# SPDX-License-Identifier: Apache-2.0
"""What a newcomer copies: the certificates of docs/OPERATING.md, README's gateway and client with them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import eseg.loader
import tc_client.loader

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> list[str]:
    """Give the blocks of `language` on a page."""
    text = (ROOT / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_certificates_of_the_page_fit_the_configurations_of_the_readme(tmp_path: Path) -> None:
    (recipe,) = blocks("docs/OPERATING.md", "sh")
    subprocess.run(["sh", "-ec", recipe], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    gateway, client = blocks("README.md", "toml")
    (tmp_path / "eseg.toml").write_text(gateway)
    (tmp_path / "tc-client.toml").write_text(client)
    served = eseg.loader.load(tmp_path / "eseg.toml")
    asking = tc_client.loader.load(tmp_path / "tc-client.toml")
    assert (served.material.warnings, asking.material.warnings) == ([], ())
    # The client expects of the gateway the name that its certificate holds, and trusts who issued it.
    assert asking.config.gateway.id == served.config.connection[0].local.id
    assert asking.material.cas == served.material.cas["clients"]
