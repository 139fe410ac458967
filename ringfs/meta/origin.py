"""Where a cluster's journal in etcd begins: one key, written once, that every server takes its first state from.

A cluster that was begun on etcd begins with an empty namespace that all servers make alike. One that came from a file journal
(cli: ringfs meta migrate) begins at a position, with terms above all that were used.
"""

from dataclasses import astuple, dataclass

from ringfs.base.errors import UserError
from ringfs.meta.etcd.interface import Absent, Etcd, Get, Put
from ringfs.wire.packing import pack, unpack

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Origin:
    """base_position: of the state before the journal's first entry ever. now_ns: the time of an empty namespace's root."""

    cluster: str
    default_class: str
    now_ns: int
    base_term: int = 0
    base_position: int = 0


async def settle_origin(etcd: Etcd, prefix: bytes, mine: Origin) -> Origin:
    """The origin that etcd has, or `mine`, which it has from now on. UserError if it has another cluster."""
    key = origin_key(prefix)
    done = await etcd.transact([Absent(key)], [Put(key, pack_origin(mine))], [Get(key)])
    if done.succeeded:
        return mine
    return _checked(done.found[0][0].value, prefix, mine.cluster)


async def look_at_origin(etcd: Etcd, prefix: bytes, cluster: str) -> Origin | None:
    """The origin that etcd has, if it has one. UserError if it is another cluster's."""
    found = (await etcd.transact([], [Get(origin_key(prefix))])).found[0]
    return _checked(found[0].value, prefix, cluster) if found else None


def origin_key(prefix: bytes) -> bytes:
    """Where it is."""
    return prefix + b"format"


def pack_origin(origin: Origin) -> bytes:
    """The value."""
    return pack((_VERSION, *astuple(origin)))


def _checked(value: bytes, prefix: bytes, cluster: str) -> Origin:
    version, *fields = unpack(value)
    if version != _VERSION:
        raise UserError(f"etcd has a journal of version {version}, this ringfs knows {_VERSION}: use the ringfs that wrote it")
    found = Origin(*fields)
    if found.cluster != cluster:
        raise UserError(
            f"etcd has cluster {found.cluster} under {prefix.decode()}, the configuration is of {cluster}: "
            "set another [etcd] prefix or other endpoints"
        )
    return found
