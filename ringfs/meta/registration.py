"""One server to a name: a key in etcd, under a lease, that says whose state directory has it.

A server that is started again finds its own identity there and goes on; one with another state directory waits until the
lease must have ended, and is refused if it has not: two servers of one name would be told apart by nobody who looks at them.
"""

from contextlib import suppress

import structlog
import trio

from ringfs.base.errors import UserError
from ringfs.meta.etcd.interface import Absent, CreatedAt, Etcd, EtcdFull, EtcdUnavailable, Get, LeaseEnded, Put
from ringfs.wire.packing import pack, unpack

log = structlog.get_logger("ringfs.meta")

_TTL_S = 6
#: So long another one must have the name to be believed alive: each election in etcd, which nobody may notice, gives the lease
#: of one that died its whole time again.
_PATIENCE_S = 4 * _TTL_S
_RENEW_S = 2.0
_RETRY_S = 0.5


class Registration:
    """The name of a server. identity: of its state directory; address: for people."""

    def __init__(self, etcd: Etcd, prefix: bytes, name: str, identity: str, address: str) -> None:
        self._etcd = etcd
        self._key = prefix + b"servers/" + name.encode()
        self._name = name
        self._identity = identity
        self._address = address

    async def keep(self) -> None:
        """Have the name until cancelled. Raises UserError if another server has it, and lives."""
        seen_s = 0.0
        while True:
            try:
                lease, other = await self._try()
            except (EtcdUnavailable, EtcdFull, LeaseEnded):
                # After an outage of etcd's, leases have their whole time again.
                seen_s = 0.0
                await trio.sleep(_RETRY_S)
                continue
            if lease:
                seen_s = 0.0
                await self._keep_alive(lease)
                continue
            seen_s = seen_s or trio.current_time()
            if trio.current_time() - seen_s > _PATIENCE_S:
                raise UserError(
                    f"another metadata server is named {self._name} (at {other}, with another state directory): "
                    "stop it, or give this one a name of its own in cluster.toml"
                )
            log.warning("the name is in use; waiting whether its server lives", name=self._name, address=other)
            await trio.sleep(1)

    async def _try(self) -> tuple[int, str]:
        """Our lease, or 0 and the address of whoever has the name."""
        lease, _ = await self._etcd.grant(_TTL_S)
        mine = Put(self._key, pack((self._identity, self._address)), lease)
        done = await self._etcd.transact([Absent(self._key)], [mine], [Get(self._key)])
        if not done.succeeded:
            (pair,) = done.found[0]
            identity, address = unpack(pair.value)
            if identity != self._identity:
                await self._etcd.revoke(lease)
                return 0, address
            done = await self._etcd.transact([CreatedAt(self._key, pair.create_revision)], [mine])
        return (lease if done.succeeded else 0), self._address

    async def _keep_alive(self, lease: int) -> None:
        """Until it has ended."""
        try:
            while True:
                await trio.sleep(_RENEW_S)
                with suppress(EtcdUnavailable):
                    if not await self._etcd.keep_alive(lease):
                        return
        finally:
            with trio.move_on_after(1, shield=True), suppress(EtcdUnavailable):
                await self._etcd.revoke(lease)
