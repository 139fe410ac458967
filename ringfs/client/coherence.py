"""How a client's caches stay honest: questions and mutations with their lease epoch, recalls, late closes, lost sessions."""

import stat
from collections.abc import Sequence
from typing import Any

import structlog
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import CHUNK_BYTES
from ringfs.client.delegations import Busy, Delegations
from ringfs.client.inodes import Inode, InodeTable
from ringfs.client.metadata import MetadataLink
from ringfs.client.writer import Writer
from ringfs.meta.namespace.ahead import NotHeld
from ringfs.wire.messages.namespace import Rename, Rmdir, Unlink
from ringfs.wire.messages.queries import Extents as ExtentsAnswer
from ringfs.wire.messages.queries import GetAttributes, ReadExtents
from ringfs.wire.messages.session import OPEN_DIRTY, OPEN_READ, RECALL_FLUSH, RECALL_RETURN, Close, Open, OpenInode, Recall

log = structlog.get_logger("ringfs.client.coherence")

#: The service is told of last closes this often, all at once: what is opened again meanwhile needs no request.
_CLOSE_INTERVAL_S = 1.0
_CLOSES_MAX = 4096
#: Transactions that may take the last name from something that is open.
_REMOVALS = (Unlink, Rmdir, Rename)
#: Inodes of which is remembered that something did not take effect, the latest ones.
_FAILURES_MAX = 4096


class KernelCache:
    """What the mount's kernel believes and has cached; the adapter overrides it. Without a mount there is nothing."""

    async def flush(self, inode: Inode) -> None:
        """Have the pages of an inode that were changed through shared maps written to us."""

    async def drop(self, numbers: Sequence[int], pages: Sequence[int], *, names: bool) -> None:
        """Have the attributes of inodes forgotten, and the pages of some; with names, what all names stand for.

        Returns when nothing of it is believed any more. A page that is being read may take longer: whoever waits for it gets
        what is read then."""

    def drop_soon(self, numbers: Sequence[int], pages: Sequence[int] = (), *, names: bool = False) -> None:
        """The same for what is void already: not waited for."""


class Coherence:
    """Implements dependent.Dependent. `attach` completes it (the parts know each other)."""

    def __init__(self) -> None:
        #: Closed here, not told yet; inode numbers in the order of closing.
        self._to_close: dict[int, Inode] = {}
        #: Delegated and opened for reading, not told yet: if it is closed soon, it need not be.
        self._to_open: dict[Inode, None] = {}
        #: How many times the service was told of closes.
        self.closes_told = 0
        #: Transactions that we answered otherwise than the service: only after leases had ended.
        self.mistake_count = 0
        #: By inode number, what to tell of them at the next fsync of a directory.
        self._failures: dict[int, Refused] = {}

    def attach(self, link: MetadataLink, inodes: InodeTable, writer: Writer, kernel: KernelCache, delegations: Delegations) -> None:
        """Before anything else is called."""
        self._kernel = kernel
        self._link = link
        self._inodes = inodes
        self._writer = writer
        inodes.on_evict = lambda number: kernel.drop_soon([number])
        self._delegations = delegations

    # --- asking -----------------------------------------------------------------------------------------------------

    async def ask(self, operation: Any) -> tuple[Any, int]:
        """The answer to a question, and the epoch to keep with what it says (0: do not cache, a recall came meanwhile)."""
        link = self._link
        seen, epoch = link.recalls_seen, link.lease_epoch
        answer = await link.query(operation)
        return answer, epoch if seen == link.recalls_seen and epoch == link.lease_epoch else 0

    async def change(self, operation: Any) -> tuple[Any, int]:
        """The answer to a transaction, and the epoch as in ask: our own answer, at once, if all it is about is delegated to us."""
        for may_wait in (True, False):
            try:
                return self._apply_ahead(operation)
            except NotHeld:
                break
            except Busy:
                # Once: where the service must be asked again and again, questions go beside each other.
                if may_wait:
                    await self._delegations.wait_idle()
        with self._delegations.asking(operation):
            return await self._change(operation)

    def change_now(self, operation: Any) -> tuple[Any, int] | None:
        """The same, if that takes no waiting."""
        try:
            return self._apply_ahead(operation)
        except (NotHeld, Busy):
            return None

    def _apply_ahead(self, operation: Any) -> tuple[Any, int]:
        if self._to_open and type(operation) in _REMOVALS:
            # What it takes the last name from lives on for those who have it open.
            self.tell_opens()
        return self._delegations.apply(operation), self._link.lease_epoch

    async def _change(self, operation: Any) -> tuple[Any, int]:
        link = self._link
        seen, epoch = link.recalls_seen, link.lease_epoch
        answer = await link.mutate(operation)
        return answer, epoch if seen == link.recalls_seen and epoch == link.lease_epoch else 0

    def know_no_extents(self, inode: Inode) -> bool:
        """If nothing of a file is stored, all its extents are known: so they stay, while we alone commit."""
        if inode.attributes.stored_bytes or len(inode.extents) or not self._link.holds(inode.lease_epoch):
            return False
        inode.extents.all_loaded = True
        inode.extents.change = inode.attributes.change
        return True

    async def load_extents(self, inode: Inode, first_chunk: int, chunk_count: int) -> None:
        """Make chunks of inode.extents complete; an empty file needs no question."""
        if self.know_no_extents(inode):
            return
        answer: ExtentsAnswer
        while True:
            try:
                answer, epoch = await self.ask(ReadExtents(inode.number, first_chunk, chunk_count))
            except Refused as refused:
                if refused.code is not Code.RANGE or chunk_count == 1:
                    raise
                # More than one answer holds.
                for chunk in range(first_chunk, first_chunk + chunk_count):
                    await self.load_extents(inode, chunk, 1)
                return
            self._inodes.absorb(answer.attributes, epoch, own=False, leased=answer.leased)
            if answer.attributes.change == inode.attributes.change:
                inode.extents.load(first_chunk, chunk_count, answer.extents, answer.attributes.change)
                return
            # A commit of ours overtook the answer: what it put into chunks that were not loaded is in the next one.

    async def refresh(self, inode: Inode, offset: int, size_bytes: int) -> None:
        """Without a lease: learn the attributes and the extents of that range anew."""
        inode.extents.clear()
        first = offset // CHUNK_BYTES
        await self.load_extents(inode, first, (offset + max(size_bytes, 1) - 1) // CHUNK_BYTES - first + 1)

    # --- dependent.Dependent -----------------------------------------------------------------------------------------

    def open_inodes(self) -> list[OpenInode]:
        """What is open here, as far as it concerns the service."""
        for inode in self._to_open:
            if inode.open_count:
                inode.server_mode = max(inode.server_mode, OPEN_READ)
        self._to_open.clear()
        opened = [inode for inode in self._inodes if inode.server_mode]
        return [OpenInode(inode.number, inode.server_mode | (OPEN_DIRTY if inode.dirty else 0)) for inode in opened]

    def leases_lost(self) -> None:
        """Nothing cached may be used without asking again (the epoch has moved on; the memory is given back as it is touched)."""
        self._to_close.clear()
        told, opened = [], []
        for inode in self._inodes:
            if inode.server_mode and not inode.open_count:
                self.close_later(inode)
            if inode.lease_epoch == self._link.lease_epoch - 1:
                told.append(inode.number)
                if _has_pages(inode):
                    opened.append(inode.number)
        self._kernel.drop_soon(told, opened, names=True)

    async def recalled(self, recall: Recall) -> None:
        """Obey a recall: flush what is dirty, forget what is cached, here and in the kernel."""
        self.tell_opens()
        if recall.items[0].kind == RECALL_RETURN:
            await self._return([item.inode for item in recall.items])
            return
        pages: list[int] = []
        names = False
        for item in recall.items:
            inode = self._inodes.get(item.inode)
            if inode is None:
                # It was forgotten to make room, but the kernel may know it, and the names in it if it is a directory.
                names = True
                pages.append(item.inode)
                continue
            if item.kind == RECALL_FLUSH:
                await self._flush(inode)
            names |= stat.S_ISDIR(inode.attributes.mode)
            if _has_pages(inode):
                pages.append(inode.number)
            self._forget(inode, foreign=item.kind != RECALL_FLUSH)
        await self._kernel.drop([item.inode for item in recall.items], pages, names=names)

    async def _flush(self, inode: Inode) -> None:
        """Have committed what is dirty; from now on, and until the lease is forgotten, nobody appends where it seems to end."""
        inode.flushes_obeyed += 1
        try:
            if inode.write_count:
                await self._kernel.flush(inode)
            await self._writer.flush([inode])
            # The confirmation ends the delegation with the lease.
            await self._link.settled()
        finally:
            inode.flushes_obeyed -= 1

    async def _return(self, numbers: list[int]) -> None:
        """Give delegations back: nothing more is done ahead, and what was done is answered."""
        for number in numbers:
            inode = self._inodes.get(number)
            if inode is not None:
                inode.delegated = False
        await self._link.settled()

    async def drop_from_kernel(self, inode: Inode) -> None:
        """Have the kernel forget all that it believes of a file; returns when it has."""
        await self._kernel.drop([inode.number], [inode.number], names=False)

    def _forget(self, inode: Inode, *, foreign: bool) -> None:
        self._inodes.forget_cached(inode)
        if foreign:
            inode.content_version += 1
        if not inode.open_count and not inode.dirty and inode.server_mode:
            self._close([inode])

    def session_renewed(self) -> None:
        """What is dirty is put again, and committed only over unchanged files."""
        self._writer.session_renewed()

    def mistaken(self, operation: Any, refused: Refused | None) -> None:
        """What we answered ahead is not what the service did: somebody else came first, after our leases had ended."""
        self.mistake_count += 1
        log.error(
            "done ahead, but not by the service",
            operation=repr(operation),
            reason=str(refused) if refused else "it answers otherwise",
        )
        if refused is not None:
            for number in {getattr(operation, field, 0) for field in ("inode", "parent", "new_parent")} - {0}:
                self._fail(number, Refused(Code.IO, str(refused)))
        self._inodes.distrust()
        self._link.void_leases()

    def _fail(self, number: int, failure: Refused) -> None:
        inode = self._inodes.get(number)
        if inode is not None:
            inode.fail(failure)
        self._failures[number] = failure
        if len(self._failures) > _FAILURES_MAX:
            del self._failures[next(iter(self._failures))]

    def take_failure(self, number: int) -> Refused | None:
        """Why something that was done ahead to a directory did not take effect; told once."""
        return self._failures.pop(number, None)

    async def find_lost(self) -> None:
        """Look at everything that is open; files that are gone fail (dirty ones when their commit fails)."""
        for inode in self._inodes:
            if not inode.server_mode:
                continue
            try:
                found, epoch = await self.ask(GetAttributes(inode.number))
            except Refused as refused:
                log.warning("open file lost with its session", inode=inode.number, reason=str(refused))
                if refused.code is Code.STALE and not inode.dirty:
                    inode.fail(Refused(Code.IO, f"inode {inode.number} was lost with its session"))
                continue
            self._inodes.absorb(found.attributes, epoch, own=False, leased=found.leased)
            if inode.expected_change and found.attributes.change != inode.expected_change:
                log.warning("file changed while its session was lost", inode=inode.number)

    # --- opening and closing ----------------------------------------------------------------------------------------------------

    def open_later(self, inode: Inode) -> None:
        """It was opened for reading, and is delegated: tell the service before anybody could take its last name, or in a while."""
        self._to_open[inode] = None
        if len(self._to_open) >= _CLOSES_MAX:
            self.tell_opens()

    def tell_opens(self) -> None:
        """Tell of what was opened and is open still."""
        inodes, self._to_open = list(self._to_open), {}
        for inode in inodes:
            if not inode.open_count or inode.server_mode:
                continue
            if self._link.tell(Open(inode.number, OPEN_READ)):
                inode.server_mode = OPEN_READ
            else:
                self._to_open[inode] = None

    def close_later(self, inode: Inode) -> None:
        """The last handle was closed: tell the service in a while, if it is not opened again."""
        if inode.server_mode:
            self._to_close[inode.number] = inode

    def committed(self, inode: Inode) -> None:
        """A commit of it went through."""
        if inode.attributes.links == 0 and not inode.open_count and not inode.dirty:
            self.close_now()

    def lost(self, inode: Inode) -> None:
        """Bytes of it were given up: it is not what the kernel was told that it would be."""
        self._kernel.drop_soon([inode.number])
        self.committed(inode)

    async def run(self) -> None:
        """Tell of closes, for ever."""
        while True:
            await trio.sleep(_CLOSE_INTERVAL_S)
            self.tell_opens()
            self.close_now()

    def close_now(self) -> None:
        """Tell of the closes that are due."""
        ready = [inode for inode in self._to_close.values() if not inode.open_count and not inode.dirty and not inode.times]
        for number, inode in list(self._to_close.items()):
            if inode.open_count:
                del self._to_close[number]
        for start in range(0, len(ready), _CLOSES_MAX):
            self._close(ready[start : start + _CLOSES_MAX])

    def _close(self, inodes: list[Inode]) -> None:
        if not self._link.tell(Close([OpenInode(inode.number, inode.server_mode) for inode in inodes])):
            for inode in inodes:
                self.close_later(inode)
            return
        self.closes_told += 1
        for inode in inodes:
            self._to_close.pop(inode.number, None)
            inode.server_mode = 0
            if inode.attributes.links == 0:
                self._inodes.drop(inode.number)


def _has_pages(inode: Inode) -> bool:
    """Whether the kernel may go on using pages of it without asking. Of a closed file, the next open says what they are worth."""
    return inode.open_count > 0 or stat.S_ISDIR(inode.attributes.mode)
