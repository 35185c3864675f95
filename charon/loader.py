# SPDX-License-Identifier: Apache-2.0
"""Brings a charon to hold what a `State` says, remembers what was loaded, and removes exactly that.

VICI can unload everything but certificates. Authorities are therefore loaded under names (they can be
unloaded); the certificates inside connections stay in charon's store until `clear-creds`, which would take
other people's secrets too and so is used only in a charon that is `exclusive`ly ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from charon.errors import CharonGone, CharonRefused, CharonTimeout
from charon.sas import RawSection, text, texts
from charon.types import Certificate, Connection, Pool, PrivateKey, Secret, State, ViciSection

Request = Callable[[str, ViciSection], Awaitable[RawSection]]
ONLINE_CURE = "Terminate the SAs that use its addresses first"


class Loader:
    """What was loaded into one charon, and how it gets in and out."""

    def __init__(self, request: Request, *, exclusive: bool) -> None:
        """Load through `request`; `exclusive`: nobody else loads anything into this charon."""
        self._request = request
        self._exclusive = exclusive
        self._key_ids: dict[str, str] = {}
        self.loaded = State()

    async def reload(self) -> None:
        """Load all of it again: charon has restarted and holds nothing of ours any more."""
        await self._load_anew(self.loaded, State())

    async def load(self, state: State) -> None:
        """Add what `state` holds; an item that is loaded already with the same content is left alone."""
        new = state - self.loaded
        # Credentials before the connections that need them; what has been loaded is noted item by item.
        for certificate in new.certificates:
            await self._load_certificate(certificate)
            self.loaded |= State(certificates=(certificate,))
        for key in new.keys:
            await self._load_key(key)
            self.loaded |= State(keys=(key,))
        for secret in new.secrets:
            await self._ask(f"secret {secret.name!r}", "load-shared", secret.to_vici())
            self.loaded |= State(secrets=(secret,))
        for pool in new.pools:
            await self._ask(f"pool {pool.name!r}", "load-pool", {pool.name: pool.to_vici()})
            self.loaded |= State(pools=(pool,))
        for connection in new.connections:
            what = f"connection {connection.name!r}"
            await self._ask(what, "load-conn", {connection.name: connection.to_vici()})
            self.loaded |= State(connections=(connection,))

    async def unload(self, state: State) -> None:
        """Remove the items that bear the names in `state`, of those that were loaded here."""
        kept = self.loaded.without_names_of(state)
        going = self.loaded - kept
        for connection in going.connections:
            await self._unload_connection(connection)
        for pool in going.pools:
            await self._unload_pool(pool)
        for secret in going.secrets:
            await self._unload_secret(secret)
        for key in going.keys:
            await self._unload_key(key)
        for certificate in going.certificates:
            await self._unload_certificate(certificate)
        await self._drop_certificates_of(going)

    async def apply(self, state: State) -> None:
        """Hold `state` and nothing else of ours; when charon refuses a part of it, the old stays."""
        old = self.loaded
        try:
            await self.load(state)
            await self.unload(old.without_names_of(state))
            await self._drop_certificates_of(old - state)
        except CharonRefused:
            await self.unload(self.loaded.without_names_of(old))
            await self.load(old)
            raise

    async def replace_all(self, state: State) -> None:
        """Hold `state` and nothing else at all, whatever somebody has loaded before: exclusive charons only.

        Established SAs live on: they hold their own references to what they were made of. A pool of the past
        whose addresses are in use stays.
        """
        await self._request("clear-creds", {})
        await self._load_anew(state, State())
        connections = {connection.name for connection in state.connections}
        for name in texts(await self._request("get-conns", {}), "conns"):
            if name not in connections:
                await self._request("unload-conn", {"name": name})
        pools = {pool.name for pool in state.pools}
        for name, pool in (await self._request("get-pools", {})).items():
            if name not in pools and text(pool, "online") == "0":
                await self._request("unload-pool", {"name": name})

    async def _drop_certificates_of(self, past: State) -> None:
        """Take out of charon's store what connections of the past have put there."""
        if not self._exclusive or not _has_inline_certificates(past):
            return
        await self._request("clear-creds", {})
        await self._load_anew(self.loaded, State(pools=self.loaded.pools))

    async def _load_anew(self, wanted: State, held: State) -> None:
        """Load `wanted` into a charon that holds only `held` of it.

        When charon goes away meanwhile, what is not loaded yet is not forgotten: `reload` will try again.
        """
        self.loaded = held
        self._key_ids.clear()
        try:
            await self.load(wanted)
        except (CharonGone, CharonTimeout):
            self.loaded = wanted
            raise

    async def _ask(self, what: str, command: str, message: ViciSection) -> RawSection:
        try:
            return await self._request(command, message)
        except CharonRefused as error:
            cure = ONLINE_CURE if "online leases" in error.what else error.cure
            raise CharonRefused(f"{what}: {error.what}", where=error.where, cure=cure) from None

    async def _load_certificate(self, certificate: Certificate) -> None:
        if certificate.ca:
            section: ViciSection = {certificate.name: {"cacert": certificate.data}}
            await self._ask("CA certificate", "load-authority", section)
        else:
            await self._ask("certificate", "load-cert", {"type": "X509", "data": certificate.data})

    async def _load_key(self, key: PrivateKey) -> None:
        answer = await self._ask("private key", "load-key", key.to_vici())
        self._key_ids[key.name] = text(answer, "id")

    async def _unload_connection(self, connection: Connection) -> None:
        await self._ask(f"connection {connection.name!r}", "unload-conn", {"name": connection.name})
        self.loaded = self.loaded.without_names_of(State(connections=(connection,)))

    async def _unload_pool(self, pool: Pool) -> None:
        await self._ask(f"pool {pool.name!r}", "unload-pool", {"name": pool.name})
        self.loaded = self.loaded.without_names_of(State(pools=(pool,)))

    async def _unload_secret(self, secret: Secret) -> None:
        await self._ask(f"secret {secret.name!r}", "unload-shared", {"id": secret.name})
        self.loaded = self.loaded.without_names_of(State(secrets=(secret,)))

    async def _unload_key(self, key: PrivateKey) -> None:
        # Unknown when charon went away before it had the key again: then there is nothing to unload.
        key_id = self._key_ids.pop(key.name, None)
        if key_id is not None:
            await self._ask("private key", "unload-key", {"id": key_id})
        self.loaded = self.loaded.without_names_of(State(keys=(key,)))

    async def _unload_certificate(self, certificate: Certificate) -> None:
        if certificate.ca:
            await self._ask("CA certificate", "unload-authority", {"name": certificate.name})
        self.loaded = self.loaded.without_names_of(State(certificates=(certificate,)))


def _has_inline_certificates(state: State) -> bool:
    """Whether `state` put certificates into charon's store that no command takes out one by one."""
    if any(not certificate.ca for certificate in state.certificates):
        return True
    sides = [side for connection in state.connections for side in (connection.local, connection.remote)]
    return any(side.certs or side.cacerts for side in sides)
