# SPDX-License-Identifier: Apache-2.0
"""From a path to a configuration that can be used: types, sense, and readable keys, in that order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eseg.access import Rules, RulesReader
from eseg.config import Config
from eseg.credentials import Material, Reader
from eseg.validate import problems
from tpkt.daemon import configfile
from tpkt.daemon.configfile import ConfigError


@dataclass(frozen=True)
class Loaded:
    """A configuration, where it came from, and what the files it names hold."""

    path: Path
    config: Config
    material: Material
    rules: Rules


def load(path: Path) -> Loaded:
    """Read the configuration at `path`. Raises the first ConfigError."""
    config = configfile.load(path, Config)
    for problem in problems(config):
        raise ConfigError(path, *problem)
    return Loaded(path, config, Reader(path, config).read(), RulesReader(path, config.access).read())


def errors(path: Path) -> list[ConfigError]:
    """Give every reason why `path` cannot be used, as far as they can be told at once."""
    try:
        config = configfile.load(path, Config)
        found = [ConfigError(path, *problem) for problem in problems(config)]
        if not found:
            Reader(path, config).read()
            RulesReader(path, config.access).read()
    except ConfigError as error:
        return [error]
    return found
