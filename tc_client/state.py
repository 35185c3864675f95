# SPDX-License-Identifier: Apache-2.0
"""Turns a configuration and the keys it names into what charon is told. Pure: asks and opens nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from charon import Auth, Certificate, Child, Connection, PrivateKey, Secret, State
from tc_client.config import Config, Identity, Tunnel
from tc_client.credentials import Material

Address = IPv4Address | IPv6Address

CHILD = "tunnel"
PORT = 4500  # both ends from the start: the link then carries IKE in one form only


def names(config: Config) -> tuple[str, str]:
    """Give the names of connection and child, ours or the operator's own."""
    if config.charon.connection and config.charon.child:
        return config.charon.connection, config.charon.child
    return f"tc-{config.client.instance}", CHILD


def gateway_id(config: Config) -> str:
    """Give the identity that the gateway must prove: as configured, else what it is found by."""
    return config.gateway.id or config.gateway.address.rstrip(".")


def state_of(config: Config, material: Material, gateway: Address, mark: int | None) -> State:
    """Give all that charon is to hold for this client; `mark` is put on outgoing kernel ESP."""
    identity, tunnel = config.identity, config.tunnel
    if identity is None or tunnel is None:
        return State()  # the operator's own swanctl.conf has it all
    name, child = names(config)
    connection = Connection(
        name=name,
        remote_addrs=(str(gateway),),
        local_port=PORT,
        remote_port=PORT,
        proposals=tunnel.proposals,
        vips=tunnel.vips,
        # Both ends must agree on ESP in UDP also where no NAT is seen: the SA may move to where one is.
        encap=True,
        mobike=tunnel.mobike,
        dpd_delay=round(tunnel.dpd_seconds),
        rekey_time=_seconds(tunnel.rekey_seconds),
        # The ladder has its own deadlines, and says itself when to try again.
        keyingtries=1,
        local=_local(identity, material),
        remote=_remote(config, identity, material),
        children=(_child(child, tunnel, mark),),
    )
    # The rest of a chain goes to the gateway beside the client's own certificate; nobody is trusted by it.
    helpers = (Certificate(data=der, ca=False) for der in material.certs[1:] if der not in material.cas)
    return State(
        connections=(connection,),
        secrets=_secrets(config, identity, material),
        keys=(PrivateKey(data=material.key),) if material.key else (),
        certificates=(*(Certificate(data=der) for der in dict.fromkeys(material.cas)), *helpers),
    )


def _local(identity: Identity, material: Material) -> Auth:
    return Auth(
        kind=identity.auth,
        id=identity.id or identity.eap_id or "",
        eap_id=(identity.eap_id or identity.id or "") if identity.eap else "",
        certs=material.certs[:1],
    )


def _remote(config: Config, identity: Identity, material: Material) -> Auth:
    # With EAP the gateway proves itself by a certificate (RFC 7296 2.16).
    kind = "psk" if identity.auth == "psk" else "pubkey"
    return Auth(kind=kind, id=gateway_id(config), cacerts=material.cas)


def _child(name: str, tunnel: Tunnel, mark: int | None) -> Child:
    return Child(
        name=name,
        remote_ts=tunnel.remote_ts,
        esp_proposals=tunnel.esp_proposals,
        rekey_time=_seconds(tunnel.child_rekey_seconds),
        set_mark_out=f"{mark:#x}" if mark is not None else "",
    )


def _secrets(config: Config, identity: Identity, material: Material) -> tuple[Secret, ...]:
    if not material.secret:
        return ()
    ours = identity.eap_id or identity.id or ""
    name, ids = f"tc-{config.client.instance}", (ours,)
    if identity.auth == "psk":
        return (Secret(name=name, kind="psk", ids=(*ids, gateway_id(config)), data=material.secret),)
    return (Secret(name=name, kind="eap", ids=ids, data=material.secret),)


def _seconds(value: float | None) -> int | None:
    return None if value is None else round(value)
