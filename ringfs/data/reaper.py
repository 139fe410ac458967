"""Deleting what metadata has declared dead: ask, delete, say so. A copy that is newer than the verdict stays."""

from itertools import islice

import structlog
import trio

from ringfs.base.errors import Refused
from ringfs.data.store import ObjectStore
from ringfs.wire.messages.cluster import Condemned, CondemnedPage, ListCondemned, Reaped
from ringfs.wire.rpc import RpcClient

log = structlog.get_logger("ringfs.data")

#: Pause after a page that was empty, or that could not be dealt with.
PAUSE_S = 2.0
_PAGE_ENTRIES = 1024
#: Objects deleted with one checkpoint of the index.
_BATCH = 256
_TIMEOUT_S = 30.0


async def reap_forever(client: RpcClient, store: ObjectStore, node: int) -> None:
    """Until the connection is lost (ConnectionLost). What was not said to be reaped is told again after the next join."""
    after = 0
    while True:
        try:
            through = await reap_page(client, store, node, after)
        except Refused as refused:
            log.warning("cannot delete dead objects now", reason=str(refused))
            through = after
        if through == after:
            await trio.sleep(PAUSE_S)
        after = through


async def reap_page(client: RpcClient, store: ObjectStore, node: int, after: int) -> int:
    """Delete one page of condemned objects; up to which sequence number that was. Raises Refused, ConnectionLost."""
    answer = await client.call(ListCondemned(node, after, _PAGE_ENTRIES), timeout_s=_TIMEOUT_S)
    page: CondemnedPage = answer.message
    if page.through == after:
        return after
    entries = iter(page.entries)
    while batch := list(islice(entries, _BATCH)):
        await _delete(store, batch)
    await client.call(Reaped(node, page.through), timeout_s=_TIMEOUT_S)
    return page.through


async def _delete(store: ObjectStore, batch: list[Condemned]) -> None:
    deleted = await store.delete([(each.object, each.verdict_ns) for each in batch])
    log.info("dead objects deleted", deleted=sum(deleted), asked=len(batch))
