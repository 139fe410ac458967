"""Writing files: dirty bytes are gathered, packed into objects (packing.py) or sent inline, and then committed.

There is one Commit after the other for all files, each with everything that is ready: that is the client's group commit. It needs
no task: whoever makes something ready sends it, or, if a commit is under way, whoever receives its answer. Flights of one file are
committed in the order in which they were taken. Background failures are sticky (inodes.py).
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import structlog
import trio

from ringfs.base.errors import BY_NUMBER, Code, Refused, kept
from ringfs.base.limits import CHUNK_BYTES, COMMIT_FILES_MAX, FRAME_BODY_BYTES_MAX, INLINE_CHUNK_BYTES_MAX, OBJECT_BYTES_MAX
from ringfs.client.dirty import Flight, Times
from ringfs.client.inodes import Inode, InodeTable
from ringfs.client.metadata import MetadataLink
from ringfs.client.packing import Packer, inline_extents
from ringfs.client.rewriter import Rewriter
from ringfs.objects.objects import Objects
from ringfs.wire.messages.namespace import Commit, Committed, FileCommit

log = structlog.get_logger("ringfs.client.writer")

#: A flush of at most this many bytes travels inline in the commit.
INLINE_FLUSH_BYTES = 16 * 1024
#: A chunk with INLINE_CHUNK_BYTES_MAX of inline bytes is destaged into an object in the background. What is flushed meanwhile
#: has room until there are so many; then it waits.
INLINE_ROOM_BYTES = 2 * INLINE_CHUNK_BYTES_MAX
#: A commit's body stays below this: some thousand extents, which the service applies in one go.
_COMMIT_BODY_BYTES = FRAME_BODY_BYTES_MAX // 16
#: Scattered bytes go in several flights of so many ranges at most, for the same reason.
_FLIGHT_PARTS_MAX = 1024
#: A flight whose objects the service does not take is put again so often: with clocks as they should be, once is enough.
_PUTS_AGAIN_MAX = 5

#: The flights of one commit.
Batch = list[tuple[Inode, list[Flight]]]
LoadExtents = Callable[[Inode, int, int], Awaitable[None]]


class Writer:
    """See the module. `run` must be running. Called back: `after_commit(inode)` when a commit of it went through,
    `after_loss(inode)` when bytes of it were given up, `remember(object, parts)` when an object was put that will probably be
    read soon."""

    def __init__(
        self,
        link: MetadataLink,
        objects: Objects,
        inodes: InodeTable,
        load_extents: LoadExtents,
        rewriter: Rewriter,
        after_commit: Callable[[Inode], None],
        after_loss: Callable[[Inode], None],
        *,
        dirty_bytes_max: int,
        commit_interval_s: float,
        remember: Callable[[bytes, Sequence[memoryview]], None] = lambda _oid, _parts: None,
    ) -> None:
        self._link = link
        self._inodes = inodes
        self._load_extents = load_extents
        self._rewriter = rewriter
        self._after_commit = after_commit
        self._after_loss = after_loss
        self._dirty_bytes_max = dirty_bytes_max
        self._interval_s = commit_interval_s
        #: Bytes in live buffers and flights of all files; writers wait while it is at its maximum.
        self.dirty_bytes = 0
        #: Those of them that are in flights.
        self._flight_bytes = 0
        self._room = trio.lowlevel.ParkingLot()
        #: Inodes with live bytes or times → trio time of the oldest, in that order.
        self._waiting: dict[Inode, float] = {}
        #: Inodes with flights.
        self._flying: dict[Inode, None] = {}
        self._wake_ticker = trio.Event()
        rewriter.after_turn = self._commit_soon
        self._packer = Packer(objects, self._commit_soon, remember)
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Flush what has waited long enough, for ever."""
        async with trio.open_nursery() as self._nursery:
            self._packer.open(self._nursery)
            self._nursery.start_soon(self._tick_loop)
            task_status.started()
            await trio.sleep_forever()

    # --- what the file system calls ---------------------------------------------------------------------------------

    async def wait_room(self) -> None:
        """Wait while too much is dirty."""
        while self.dirty_bytes >= self._dirty_bytes_max:
            self._wake_ticker.set()
            await self._room.park()

    def write(self, inode: Inode, offset: int, data: bytes | memoryview) -> None:
        """Take over data (at least a byte) as dirty; after wait_room."""
        live = inode.dirty.live
        before = live.size_bytes
        live.write(offset, data)
        self.dirty_bytes += live.size_bytes - before
        self._waiting.setdefault(inode, trio.current_time())
        if live.size_bytes >= OBJECT_BYTES_MAX:
            self._take_full_objects(inode)
        elif self._is_much_live:
            self._wake_ticker.set()

    def touch(self, inode: Inode) -> None:
        """Times were set: they are committed with the next flush."""
        self._waiting.setdefault(inode, trio.current_time())

    def discard(self, inode: Inode, start: int) -> None:
        """Forget live bytes from start on (truncate, or the file is gone)."""
        live = inode.dirty.live
        before = live.size_bytes
        live.remove(start, max(live.end, start))
        self._gone(before - live.size_bytes)

    async def flush(self, inodes: Iterable[Inode]) -> None:
        """Commit everything dirty of these inodes; errors are left on them."""
        inodes = left = list(inodes)
        while left:
            for inode in left:
                while inode.truncating:
                    await inode.progress.park()
            left = await self._take(left)
        for inode in inodes:
            await self.wait_flights(inode)

    async def flush_all(self) -> None:
        """Commit everything dirty."""
        while self._waiting or self._flying:
            await self.flush([*self._waiting, *self._flying])

    async def wait_flights(self, inode: Inode) -> None:
        """Wait until everything that is on its way now has been committed or dropped."""
        target = inode.flights_begun
        while inode.flights_done < target:
            await inode.progress.park()

    def session_renewed(self) -> None:
        """What was put under the old session may be swept: put it again, and commit only over unchanged files."""
        for inode in [*self._waiting, *self._flying]:
            inode.expected_change = inode.expected_change or inode.attributes.change
        for inode in self._flying:
            self._fly_again(inode)

    # --- from dirty bytes to flights --------------------------------------------------------------------------------

    def _begin(self, inode: Inode, start: int, stop: int) -> Flight:
        flight = inode.dirty.take(start, stop)
        flight.times, inode.times = inode.times, Times()
        flight.stored_class = self._link.class_of(inode.attributes)
        inode.flights_begun += 1
        self._flight_bytes += flight.size_bytes
        self._flying[inode] = None
        if not inode.dirty.live:
            self._waiting.pop(inode, None)
        return flight

    def _take_full_objects(self, inode: Inode) -> None:
        """Start flights for all whole 8 MiB stretches, cut where the file offset is a multiple of that."""
        if inode.truncating:
            return
        for start, stop in inode.dirty.live.long_runs(OBJECT_BYTES_MAX):
            at = start
            while stop - at >= OBJECT_BYTES_MAX:
                edge = at - at % OBJECT_BYTES_MAX + OBJECT_BYTES_MAX
                self._packer.pack([self._begin(inode, at, edge)])
                at = edge

    async def _take(self, inodes: list[Inode]) -> list[Inode]:
        """Start flights for everything live of these inodes: small ones inline, the rest packed together. Those passed over because
        they are being truncated are returned."""
        small = {
            inode
            for inode in inodes
            if inode.dirty.live.size_bytes <= INLINE_FLUSH_BYTES and not inode.truncating and await self._makes_room_inline(inode)
        }
        # Nothing is awaited from here on: a flight that was begun is put or ready, whatever is cancelled.
        packed: list[Flight] = []
        for inode in inodes:
            live = inode.dirty.live
            if inode.truncating:
                continue
            if not live and not inode.times:
                self._waiting.pop(inode, None)
                continue
            inline = inode in small and live.size_bytes <= INLINE_FLUSH_BYTES
            if not inline:
                stretches = live.portions(_FLIGHT_PARTS_MAX) or [(0, 0)]
                packed += [self._begin(inode, start, stop) for start, stop in stretches]
                continue
            flight = self._begin(inode, 0, live.end)
            flight.extents = inline_extents(flight)
            flight.ready = True
        if packed:
            self._packer.pack(packed)
        self._commit_soon()
        return [inode for inode in inodes if inode.truncating]

    async def _makes_room_inline(self, inode: Inode) -> bool:
        """Whether live fits inline in the chunks it touches, after destaging what is inline there if need be."""
        live = inode.dirty.live
        # Those on their way will be in the chunk before these are: there may be many while the service is away.
        new_bytes = live.size_bytes + sum(flight.inline_bytes for flight in inode.dirty.flights)
        if new_bytes > INLINE_ROOM_BYTES:
            return False
        for chunk in {at // CHUNK_BYTES for start, stop in live.runs() for at in (start, stop - 1)}:
            if not inode.extents.is_loaded(chunk):
                if not self._link.holds(inode.lease_epoch):
                    # Somebody else may be writing too: the question would have them flush, and a flush must wait for no other.
                    return False
                try:
                    await self._load_extents(inode, chunk, 1)
                except Refused:
                    return False
            if inode.extents.inline_bytes(chunk) + new_bytes > INLINE_ROOM_BYTES:
                await self._rewriter.destage(inode, chunk)
                if inode.extents.inline_bytes(chunk) + new_bytes > INLINE_ROOM_BYTES:
                    return False
        return True

    def _fly_again(self, inode: Inode) -> None:
        """Put the bytes of ready flights that point to objects once more (the service refused them)."""
        for flight in inode.dirty.flights:
            if flight.ready and flight.objects and flight.failure is None:
                flight.ready = False
                flight.extents = []
                flight.objects = []
                self._packer.pack([flight])

    # --- commits ----------------------------------------------------------------------------------------------------

    def _commit_soon(self) -> None:
        """Commit what is ready; if a commit is under way, what is ready when it is answered."""
        if self._flying and self._rewriter.turn.try_take():
            batch = self._ready_batch()
            if batch:
                self._commit(batch)
            else:
                self._rewriter.turn.give()

    def _ready_batch(self) -> Batch:
        """What can be committed now, within the limits of one Commit; failed flights are dropped on the way."""
        batch: Batch = []
        body_bytes = object_count = 0
        for inode in list(self._flying):
            flights: list[Flight] = []
            for flight in inode.dirty.ready_flights():
                if flight.failure is not None and not flights:
                    self._drop(inode, flight, flight.failure)
                    continue
                cost = flight.body_bytes
                full = body_bytes + cost > _COMMIT_BODY_BYTES or object_count + len(flight.objects) > COMMIT_FILES_MAX
                if flight.failure is not None or (full and batch) or (full and flights):
                    break
                flights.append(flight)
                body_bytes += cost
                object_count += len(flight.objects)
            if flights:
                batch.append((inode, flights))
            if len(batch) == COMMIT_FILES_MAX or body_bytes > _COMMIT_BODY_BYTES:
                break
        return batch

    def _commit(self, batch: Batch) -> None:
        """Send it; has the turn until it is answered."""
        objects = {new.object: new for _, flights in batch for flight in flights for new in flight.objects}
        files = [_file_commit(inode, flights) for inode, flights in batch]
        commit = Commit(list(objects.values()), files)
        self._link.mutate_soon(commit, partial(self._answered, batch, files), session=self._link.session)

    def _answered(self, batch: Batch, files: list[FileCommit], answer: Committed | Refused) -> None:
        if isinstance(answer, Refused):
            self._refused(batch, answer)
        else:
            self._committed(batch, files, answer)
        self._rewriter.turn.give()
        self._commit_soon()

    def _committed(self, batch: Batch, files: list[FileCommit], answer: Committed) -> None:
        for (inode, flights), file, result in zip(batch, files, answer.files, strict=True):
            if result.attributes is None:
                failure = Refused(BY_NUMBER.get(result.code, Code.IO), f"commit of inode {inode.number}")
                if failure.code is Code.CHANGED:
                    self._give_up(inode, failure)
                    continue
                for flight in flights:
                    self._drop(inode, flight, failure)
                continue
            inode.extents.apply(file.extents)
            inode.extents.change = result.attributes.change
            inode.expected_change = 0
            self._inodes.absorb(result.attributes, 0, own=True)
            for flight in flights:
                self._end(inode, flight)
            self._after_commit(inode)
            self._tidy(inode, file)

    def _tidy(self, inode: Inode, file: FileCommit) -> None:
        """Rewrite chunks that the commit left with too many extents, or with inline bytes enough for an object. (What is written
        meanwhile still finds room: see INLINE_ROOM_BYTES.)"""
        assert self._nursery is not None, "the writer is running"
        # The half, once nobody seems to add to them.
        destaged_bytes = INLINE_CHUNK_BYTES_MAX if inode.write_count or inode.dirty else INLINE_CHUNK_BYTES_MAX // 2
        for chunk in {extent.offset // CHUNK_BYTES for extent in file.extents}:
            if self._rewriter.is_scattered(inode, chunk):
                self._nursery.start_soon(self._rewriter.compact, inode, chunk)
            elif inode.extents.inline_bytes(chunk) >= destaged_bytes:
                self._nursery.start_soon(self._rewriter.destage, inode, chunk)

    def _refused(self, batch: Batch, refused: Refused) -> None:
        """The commit as a whole did not happen."""
        if refused.code in (Code.NO_OBJECT, Code.NO_SESSION):
            log.warning("commit refused; putting its objects again", reason=str(refused))
            for inode, flights in batch:
                for flight in flights:
                    flight.refused_count += refused.code is Code.NO_OBJECT
                    if flight.refused_count > _PUTS_AGAIN_MAX:
                        flight.failure = kept(refused)
                self._fly_again(inode)
            return
        for inode, flights in batch:
            for flight in flights:
                self._drop(inode, flight, refused)

    def _drop(self, inode: Inode, flight: Flight, failure: Refused) -> None:
        """The flight's bytes are lost: say so on every open handle, unless the file itself is gone."""
        if failure.code is not Code.STALE or inode.open_count:
            log.error("write failed", inode=inode.number, bytes=flight.size_bytes, reason=str(failure))
            inode.fail(failure)
        self._end(inode, flight)
        self._after_loss(inode)

    def _give_up(self, inode: Inode, failure: Refused) -> None:
        """Somebody else changed the file while it could not be asked for what was dirty: nothing that was written until now may be
        committed."""
        inode.expected_change = 0
        self.discard(inode, 0)
        inode.times.clear()
        log.error("write failed", inode=inode.number, reason=str(failure))
        inode.fail(failure)
        while inode.dirty.flights:
            self._end(inode, inode.dirty.flights[0])
        self._after_loss(inode)

    def _end(self, inode: Inode, flight: Flight) -> None:
        assert inode.dirty.flights[0] is flight, "flights end in order"
        inode.dirty.flights.popleft()
        inode.flights_done += 1
        self._flight_bytes -= flight.size_bytes
        if not inode.dirty.flights:
            self._flying.pop(inode, None)
        self._gone(flight.size_bytes)
        inode.progress.unpark_all()

    def _gone(self, size_bytes: int) -> None:
        self.dirty_bytes -= size_bytes
        if size_bytes and self.dirty_bytes < self._dirty_bytes_max:
            self._room.unpark_all()

    @property
    def _is_much_live(self) -> bool:
        """Whether it is time to flush. What is on its way already does not count: a stream would be cut into odd objects for it."""
        return self.dirty_bytes - self._flight_bytes >= self._dirty_bytes_max // 2

    # --- in the background ------------------------------------------------------------------------------------------

    async def _tick_loop(self) -> None:
        """Flush what has been dirty for an interval, or everything when much is dirty."""
        while True:
            with trio.move_on_after(self._interval_s / 2):
                await self._wake_ticker.wait()
            self._wake_ticker = trio.Event()
            before_s = trio.current_time() - self._interval_s
            everything = self._is_much_live
            due = [inode for inode, since_s in self._waiting.items() if everything or since_s <= before_s]
            if due:
                await self._take(due)


def _file_commit(inode: Inode, flights: list[Flight]) -> FileCommit:
    extents = [extent for flight in flights for extent in sorted(flight.extents, key=lambda extent: extent.offset)]
    times = Times()
    for flight in flights:
        times = flight.times.over(times)
    # A change of mode after the write has been made before this commit: it stays the last one.
    ctime_ns = max(times.ctime_ns, inode.attributes.ctime_ns) if times.ctime_ns >= 0 else times.ctime_ns
    return FileCommit(inode.number, extents, times.mtime_ns, ctime_ns, times.atime_ns, inode.expected_change, False)
