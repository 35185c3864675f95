# SPDX-License-Identifier: Apache-2.0
"""Turns a configuration and the keys it names into what charon is told. Pure: asks and opens nothing."""

from __future__ import annotations

from typing import Literal

from charon.types import (
    Auth,
    Certificate,
    Child,
    Connection,
    Pool,
    PrivateKey,
    Secret,
    State,
)
from eseg import config
from eseg.credentials import Material
from eseg.loader import Loaded

# A client that opens a new IKE_SA has lost the old one: its inner address and policies are replaced at once.
UNIQUE = "replace"
# Two paths at the same time, while a tunnel moves, reorder more than charon's default of 32 packets at speed.
REPLAY_WINDOW = 1024


def state_of(loaded: Loaded) -> State:
    """Give all that charon is to hold for this gateway."""
    settings, material = loaded.config, loaded.material
    authorities = {der: None for ders in material.cas.values() for der in ders}
    # The rest of a chain goes to the client beside the gateway's own certificate; nobody is trusted by it.
    helpers = {der: None for ders in material.certs.values() for der in ders[1:]}
    return State(
        connections=tuple(_connection(item, material) for item in settings.connection),
        pools=tuple(
            Pool(name=pool.name, addrs=pool.addrs, dns=pool.dns, p_cscf=pool.p_cscf) for pool in settings.pool
        ),
        secrets=(*_secrets(settings, material), *_passwords(material)),
        keys=tuple(PrivateKey(data=key) for key in dict.fromkeys(material.keys.values())),
        certificates=(
            *(Certificate(data=der) for der in authorities),
            *(Certificate(data=der, ca=False) for der in helpers if der not in authorities),
        ),
    )


def _connection(item: config.Connection, material: Material) -> Connection:
    remote = item.remote
    eap = remote.auth.startswith("eap-")
    return Connection(
        name=item.name,
        local_addrs=item.local_addrs,
        local=Auth(
            kind=item.local.auth,
            id=item.local.id or "",
            certs=material.certs.get(item.name, ())[:1],
        ),
        remote=Auth(
            kind=remote.auth,
            id=remote.id,
            eap_id=remote.eap_id if eap else "",
            cacerts=material.cas.get(item.name, ()),
        ),
        children=tuple(_child(child) for child in item.children),
        proposals=item.proposals,
        pools=item.pools,
        # Without MOBIKE charon follows the source of any authenticated message: that is how a tunnel moves to
        # another connection, or to UDP, within one round trip.
        mobike=item.mobike,
        reauth_time=0,  # reauthentication would cut the traffic
        dpd_delay=round(item.dpd_seconds),
        rekey_time=None if item.rekey_seconds is None else round(item.rekey_seconds),
        unique=UNIQUE,
        # Clients of other makers (Windows, iOS) ask for no certificate and expect one.
        send_cert="always" if eap else "",
    )


def _child(child: config.Child) -> Child:
    return Child(
        name=child.name,
        local_ts=child.local_ts,
        esp_proposals=child.esp_proposals,
        copy_dscp="out",  # queues on the way know voice by it; what comes from outside is not believed
        replay_window=REPLAY_WINDOW,
        rekey_time=None if child.rekey_seconds is None else round(child.rekey_seconds),
    )


def _secrets(settings: config.Config, material: Material) -> list[Secret]:
    """Give the shared keys; one without a client's identity serves whoever matches no better one."""
    found = []
    for item in settings.connection:
        if item.name not in material.secrets:
            continue
        named: tuple[str | None, ...] = (item.local.id, item.remote.id)
        kind: Literal["psk", "eap"] = "psk"
        if item.remote.auth != "psk":
            remote = item.remote
            kind, named = "eap", (remote.id if remote.eap_id == config.ANYBODY else remote.eap_id,)
        ids = tuple(name for name in named if name and name != config.ANYBODY)
        data = material.secrets[item.name]
        found.append(Secret(name=f"connection-{item.name}", kind=kind, ids=ids, data=data))
    return found


def _passwords(material: Material) -> list[Secret]:
    return [
        Secret(name=f"user-{user}", kind="eap", ids=(user,), data=data)
        for user, data in material.passwords.items()
    ]
