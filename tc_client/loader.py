# SPDX-License-Identifier: Apache-2.0
"""From the path of a configuration file to something that can be run: the one door for all commands."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tc_client import validate
from tc_client.config import Config
from tc_client.credentials import Material, Reader
from tpkt.daemon import configfile
from tpkt.daemon.configfile import ConfigError


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A configuration that holds together, with what its files held."""

    path: Path
    config: Config
    material: Material


def load(path: Path) -> Loaded:
    """Read and check everything a daemon needs. Raises ConfigError for the first thing that is wrong."""
    config = read(path)
    for key, problem, cure in validate.problems(config):
        raise ConfigError(path, key, problem, cure)
    material = Reader(path, config.identity).read() if config.identity is not None else Material()
    return Loaded(path, config, material)


def load_public(path: Path) -> Config:
    """Read what commands need that run without root: no key or secret is opened."""
    config = read(path)
    for key, problem, cure in validate.gateway_problems(config):
        raise ConfigError(path, key, problem, cure)
    return config


def read(path: Path) -> Config:
    """Read the file alone."""
    return configfile.load(path, Config)
