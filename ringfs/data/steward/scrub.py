"""The scrub: every part on the disk is read and verified, again and again, in the time that is set for it; what is bad is mended.

What reads found bad comes here too, and goes first. Not here: how a part is made anew (mending.py).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog
import trio

from ringfs.base.clock import Clock
from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.base.limits import KIB
from ringfs.data.steward.audit import Audit
from ringfs.data.steward.counts import Counts
from ringfs.data.steward.cursor import Cursor, Keeper
from ringfs.data.steward.share import Share
from ringfs.data.steward.throttle import Throttle
from ringfs.ring.parts import Part

log = structlog.get_logger("ringfs.data.steward")

#: A round is planned to take this part of its period, so that it ends in time also when the disk fills meanwhile.
_PLANNED = 0.8
#: It is never slower than this.
_SLOWEST_BYTES_PER_S = 64 * KIB
_PAGE_PARTS = 64
#: The cursor is kept so often, and after each round.
_KEEP_S = 60.0
#: Pause of a scrub with nothing to do, or whose disk does not answer.
_IDLE_S = 5.0
#: Between attempts to mend a part: after the first, and for what metadata does not know twice as long each time, to the second,
#: for only the sweep, or a commit that is late, makes an end of it. And how many parts wait for another one.
_RETRY_S = 30.0
_UNKNOWN_S_MAX = 3600.0
_WAITING_MAX = 4096
_ALL = Share(b"", b"")


class LocalPart(NamedTuple):
    """A part on this disk; length_bytes: what the disk has of it."""

    oid: bytes
    part: Part
    length_bytes: int

    @property
    def key(self) -> bytes:
        """Its place in the order of the list."""
        return self.oid + self.part.pack()


@dataclass(slots=True)
class _Bad:
    """A part to mend. from_s (trio's clock): from when on it may be tried; unknown_s: the pause after metadata did not know it."""

    from_s: float = 0.0
    unknown_s: float = _RETRY_S


class LocalParts(Protocol):
    """The disk, as a scrub sees it."""

    def parts_after(self, after: bytes, limit: int) -> list[LocalPart]:
        """Parts after a key, ascending."""
        ...

    def used_bytes(self) -> int:
        """What all parts take."""
        ...

    async def find_fault(self, oid: bytes, part: Part) -> str:
        """What is wrong with a part that is read from the disk, or "". Raises Refused (NOT_HELD)."""
        ...


#: Make a part of this disk anew from those of other nodes. Raises Refused, ConnectionLost; False: metadata does not know it.
Mend = Callable[[bytes, Part], Awaitable[bool]]


class Scrubber:
    """See the module. period_s: in which every part is to be verified once, however busy clients are."""

    def __init__(
        self,
        parts: LocalParts,
        keeper: Keeper,
        audit: Audit,
        mend: Mend,
        counts: Counts,
        clock: Clock,
        period_s: float,
    ) -> None:
        self._parts = parts
        self._keeper = keeper
        self._audit = audit
        self._mend = mend
        self._counts = counts
        self._clock = clock
        self._period_s = period_s
        self._cursor = Cursor()
        self._throttle = Throttle(_SLOWEST_BYTES_PER_S, lambda: False)
        #: What an operator asked for, for this round; 0: nothing.
        self._wanted_bytes_per_s = 0
        self._is_new_round = trio.Event()
        #: In the order found.
        self._bad: dict[tuple[bytes, Part], _Bad] = {}
        self._is_bad = trio.Event()

    def start_round(self, bytes_per_s: int) -> None:
        """Begin anew, at so many bytes a second (0: as the period demands)."""
        self._wanted_bytes_per_s = bytes_per_s
        self._cursor.after = ""
        self._is_new_round.set()

    def suspect(self, oid: bytes, part: Part) -> None:
        """A read met a part that is bad. More than _WAITING_MAX are left to the scrub."""
        if (oid, part) not in self._bad and len(self._bad) < _WAITING_MAX:
            self._bad[oid, part] = _Bad()
            self._is_bad.set()

    async def run(self) -> None:
        """For ever."""
        self._cursor = await self._keeper.load()
        self._counts.scrub_done_ns = self._cursor.done_ns
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._scrub)
            nursery.start_soon(self._mend_bad)
            nursery.start_soon(self._keep)

    # --- looking ------------------------------------------------------------------------------------------------------

    async def _scrub(self) -> None:
        while True:
            page = self._parts.parts_after(bytes.fromhex(self._cursor.after), _PAGE_PARTS)
            if not page:
                await self._end_round()
            for each in page:
                if not await self._look_at(each):
                    break

    async def _look_at(self, each: LocalPart) -> bool:
        """Verify one part when it is time. False if a new round has begun instead."""
        self._throttle.bytes_per_s = self._pace()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when, self._is_new_round, scope)
                await self._throttle.take(each.length_bytes)
                nursery.cancel_scope.cancel()
        if self._is_new_round.is_set():
            self._is_new_round = trio.Event()
            return False
        await self._verify(each)
        if self._is_new_round.is_set():
            return False
        self._cursor.after = each.key.hex()
        self._counts.scrub_permille = _ALL.permille(each.oid)
        return True

    async def _verify(self, each: LocalPart) -> None:
        try:
            fault = await self._parts.find_fault(each.oid, each.part)
        except Refused as refused:
            if refused.code is Code.NOT_HELD:
                return
            fault = str(refused)
        self._counts.scrubbed_parts += 1
        self._counts.scrubbed_bytes += each.length_bytes
        if fault:
            self.suspect(each.oid, each.part)

    def _pace(self) -> float:
        planned = self._parts.used_bytes() / (self._period_s * _PLANNED)
        return self._wanted_bytes_per_s or max(_SLOWEST_BYTES_PER_S, planned)

    async def _end_round(self) -> None:
        if self._cursor.after:
            self._cursor = Cursor("", self._clock.wall_ns())
            self._counts.scrub_done_ns = self._cursor.done_ns
            self._counts.scrub_permille = 0
            self._wanted_bytes_per_s = 0
            await self._save()
        with trio.move_on_after(_IDLE_S):
            await self._is_new_round.wait()
        self._is_new_round = trio.Event()

    async def _keep(self) -> None:
        while True:
            await trio.sleep(_KEEP_S)
            await self._save()

    async def _save(self) -> None:
        try:
            await self._keeper.save(self._cursor)
        except OSError as error:
            log.warning("the scrub's cursor cannot be kept", reason=str(error))

    # --- mending ------------------------------------------------------------------------------------------------------

    async def _mend_bad(self) -> None:
        while True:
            now_s = trio.current_time()
            due = next((key for key, bad in self._bad.items() if bad.from_s <= now_s), None)
            if due is not None:
                await self._mend_one(*due)
                continue
            self._is_bad = trio.Event()
            with trio.move_on_at(min((bad.from_s for bad in self._bad.values()), default=float("inf"))):
                await self._is_bad.wait()

    async def _mend_one(self, oid: bytes, part: Part) -> None:
        """Look at it once more, and have it made anew."""
        bad = self._bad[oid, part]
        try:
            fault = await self._parts.find_fault(oid, part)
        except Refused as refused:
            fault = "" if refused.code is Code.NOT_HELD else str(refused)
        if not fault:
            del self._bad[oid, part]
            return
        if not bad.from_s:
            self._counts.bad_parts += 1
            await self._note("bad part", oid, part, fault)
        if await self._try_to_mend(oid, part, bad):
            del self._bad[oid, part]
            self._counts.mended_parts += 1
            await self._note("mended", oid, part, "")

    async def _try_to_mend(self, oid: bytes, part: Part, bad: _Bad) -> bool:
        """Whether it is mended. If not, it is tried again later."""
        try:
            is_mended = await self._mend(oid, part)
        except (Refused, ConnectionLost) as error:
            log.warning("a bad part is not mended yet", object=oid.hex(), part=str(part), reason=str(error))
            bad.from_s = trio.current_time() + _RETRY_S
            return False
        if not is_mended:
            bad.from_s = trio.current_time() + bad.unknown_s
            bad.unknown_s = min(2 * bad.unknown_s, _UNKNOWN_S_MAX)
        return is_mended

    async def _note(self, event: str, oid: bytes, part: Part, fault: str) -> None:
        facts = {"object": oid.hex(), "part": str(part)} | ({"fault": fault} if fault else {})
        log.warning(event, **facts)
        try:
            await self._audit.add(event, **facts)
        except OSError as error:
            log.error("the audit log cannot be written", reason=str(error))


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
