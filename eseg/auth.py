# SPDX-License-Identifier: Apache-2.0
"""Which ways to authenticate go together (RFC 7296 2.16), and which keys each of them needs.

Opens no file; `eseg.credentials` does.
"""

from __future__ import annotations

from collections.abc import Iterator

from eseg.config import ANYBODY, Config, Connection, Remote
from tpkt.daemon import checks
from tpkt.daemon.checks import Problem

PASSWORD_METHODS = ("eap-md5", "eap-mschapv2")


def auth_problems(config: Config) -> Iterator[Problem]:
    """Yield key, problem and cure of each combination that cannot authenticate anybody."""
    for index, connection in enumerate(config.connection):
        yield from _local(f"connection[{index}].local", connection)
        yield from _remote(f"connection[{index}].remote", connection, config)
    for index, user in enumerate(config.user):
        yield from checks.one_secret(f"user[{index}]", user)
    asking = [c for c in config.connection if c.remote.auth in PASSWORD_METHODS]
    if config.user and not asking:
        yield Problem(
            "user",
            "no connection authenticates users by password",
            f"remove [[user]], or set remote.auth of a connection to {' or '.join(PASSWORD_METHODS)}",
        )


def _local(key: str, connection: Connection) -> Iterator[Problem]:
    local, remote = connection.local, connection.remote
    if local.auth == "pubkey":
        for name, value in (("cert", local.cert), ("key", local.key)):
            if not value:
                yield Problem(
                    f"{key}.{name}", "is missing; auth is pubkey", f"name the PEM file of the {name}"
                )
        return
    for name, given in (("cert", local.cert), ("key", local.key), ("chain", local.chain)):
        if given:
            yield Problem(f"{key}.{name}", "has no use with auth psk", 'remove it, or set auth = "pubkey"')
    if remote.auth.startswith("eap-"):
        yield Problem(
            f"{key}.auth",
            f"a client that uses {remote.auth} expects a certificate of the gateway (RFC 7296 2.16)",
            'set auth = "pubkey" and name cert and key',
        )
    elif remote.auth != "psk":
        yield Problem(
            f"{key}.auth", f"psk here and {remote.auth} there share no secret", "use the same on both sides"
        )


def _remote(key: str, connection: Connection, config: Config) -> Iterator[Problem]:
    remote = connection.remote
    takes_ca = remote.auth in ("pubkey", "eap-tls")
    if takes_ca and not remote.cas:
        yield Problem(
            f"{key}.ca", f"is missing; auth is {remote.auth}", "name the PEM file of the clients' CA"
        )
    if remote.cas and not takes_ca:
        yield Problem(f"{key}.ca", f"has no use with auth {remote.auth}", "remove it")
    if remote.eap_id != ANYBODY and not remote.auth.startswith("eap-"):
        yield Problem(f"{key}.eap_id", f"has no use with auth {remote.auth}", "remove it")
    if remote.auth == "psk":
        yield from checks.one_secret(key, remote)
    elif remote.secret is not None or remote.secret_file is not None:
        yield from _single_user(key, remote)
    elif remote.auth in PASSWORD_METHODS and not config.user:
        yield Problem(
            f"{key}.auth",
            f"is {remote.auth} and there is no user with a password",
            "add a [[user]] with id and secret_file",
        )
    charon = config.charon
    configured = charon.mode == "system" or ("eap-radius" in charon.plugins and charon.settings_file)
    if remote.auth == "eap-radius" and not configured:
        yield Problem(
            f"{key}.auth",
            "is eap-radius and charon is told of no RADIUS server",
            'set charon.plugins = ["eap-radius"], and charon.settings_file to a file with its settings',
        )


def _single_user(key: str, remote: Remote) -> Iterator[Problem]:
    """A password beside the connection belongs to one user, who must be named."""
    if remote.auth not in PASSWORD_METHODS:
        name = "secret" if remote.secret is not None else "secret_file"
        yield Problem(f"{key}.{name}", f"has no use with auth {remote.auth}", "remove it")
        return
    yield from checks.one_secret(key, remote)
    if remote.eap_id == remote.id == ANYBODY:
        yield Problem(
            f"{key}.eap_id",
            "is missing: the secret beside it belongs to one user",
            "name the user, or write [[user]] tables instead of the secret",
        )
