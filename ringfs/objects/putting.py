"""Putting objects: in the form that their class asks for, or, while too few domains can take that, as copies that tolerate as much.

What is acknowledged is durable, each part on a failure domain of its own. Never less than was promised: it waits, or is refused.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
import trio

from ringfs.base.clock import Clock
from ringfs.base.errors import Code, Refused
from ringfs.base.limits import BLOCK_BYTES, OBJECT_BYTES_MAX
from ringfs.objects.coding import Job, Whole, jobs_for, prepared
from ringfs.objects.locating import Known, Places
from ringfs.objects.spreading import Spreading
from ringfs.ring.classes import ErasureClass, ReplicaClass, ServiceClass, form_for, parse_class
from ringfs.wire.messages.cluster import NODE_UP, Node
from ringfs.wire.messages.namespace import NewObject

log = structlog.get_logger("ringfs.objects.putting")

#: A put that finds too few nodes tries again this often before it is given up.
_ROUNDS = 30
_PAUSE_S = 1.0
#: So much is hashed, encoded and verified on the event loop (0.2 ms a MiB): with a thread, each block's hash has to win the
#: interpreter lock back, and 1 MiB reads were a fifth slower.
INLINE_WORK_BYTES = 16 * BLOCK_BYTES

#: run_in_thread(function, *arguments); simulations bring their own, since virtual time does not wait for threads.
RunInThread = Callable[..., Awaitable[Any]]


class Putter:
    """See the module."""

    def __init__(self, places: Places, run_in_thread: RunInThread, clock: Clock) -> None:
        self._places = places
        self._run_in_thread = run_in_thread
        self._clock = clock

    async def put(self, pieces: Sequence[memoryview], stored_class: str) -> NewObject:
        """See Objects.put."""
        size_bytes = sum(map(len, pieces))
        assert 0 < size_bytes <= OBJECT_BYTES_MAX
        wanted = parse_class(stored_class)
        likely = form_for(wanted, size_bytes, self._places.domain_count())
        whole: Whole
        whole, jobs = await self._worked(size_bytes, prepared, pieces, likely)
        put_ns = self._clock.wall_ns()
        copies: dict[int, Node] = {}
        for attempt in range(_ROUNDS):
            form, met_full = await self._round(whole, wanted, copies, {likely: jobs})
            if form is not None:
                return NewObject(whole.oid, size_bytes, stored_class, put_ns, str(form))
            if met_full:
                break
            log.warning("too few nodes for a put", object=whole.oid.hex(), held=len(copies), wanted=stored_class, attempt=attempt)
            await trio.sleep(_PAUSE_S)
        raise self._refusal(whole, wanted, len(copies), is_full=met_full)

    async def _round(
        self, whole: Whole, wanted: ServiceClass, copies: dict[int, Node], made: dict[ServiceClass, list[Job]]
    ) -> tuple[ServiceClass | None, bool]:
        """Put it once in the form that there is place for, whose jobs may be made already. That form if it is held now in it,
        and whether somebody had no room."""
        form = form_for(wanted, whole.size_bytes, self._places.domain_count())
        good, others = self._places.takers(whole.oid, form.width)
        met_full = False
        if isinstance(form, ErasureClass):
            jobs = made.get(form) or await self._worked(whole.size_bytes, jobs_for, whole, form)
            spreading = Spreading(self._places, jobs, good, {})
            if await spreading.run(gives_up_soon=True):
                self._remember(whole, form, spreading.holders)
                return form, False
            met_full = spreading.met_full
            log.warning("stored as copies for now", object=whole.oid.hex(), wanted=str(wanted))
            form = ReplicaClass(form.tolerance + 1)
            good, others = self._places.takers(whole.oid, form.width)
        candidates = [node for node in (*good, *others) if node not in copies.values()]
        spreading = Spreading(self._places, jobs_for(whole, form), candidates, copies)
        if await spreading.run(gives_up_soon=False):
            self._remember(whole, form, copies)
            return form, False
        return None, met_full or spreading.met_full

    def _remember(self, whole: Whole, form: ServiceClass, holders: dict[int, Node]) -> None:
        nodes = tuple(holders[number].node for number in range(form.width))
        known = Known(whole.size_bytes, whole.table, form if isinstance(form, ErasureClass) else None, nodes)
        self._places.remember(whole.oid, known)

    async def _worked(self, size_bytes: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """What function gives, from a thread if it works on much."""
        if size_bytes <= INLINE_WORK_BYTES:
            return function(*arguments)
        return await self._run_in_thread(function, *arguments)

    def _refusal(self, whole: Whole, wanted: ServiceClass, held: int, *, is_full: bool) -> Refused:
        good, others = self._places.takers(whole.oid, wanted.width)
        up = {node.domain for node in good} | {node.domain for node in others if node.state == NODE_UP}
        detail = (
            f"object {whole.oid.hex()} of class {wanted} needs {wanted.tolerance + 1} failure domains that take copies: "
            f"{held} did, {len(up)} are up"
        )
        return Refused(Code.NO_SPACE if is_full else Code.IO, detail)
