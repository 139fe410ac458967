"""One round of a put: an object's parts sent to nodes of distinct failure domains, all at once; who fails is replaced.

A node that takes much longer than is usual is replaced too, if there is one of another domain: it may have the part in the end,
which is then a surplus that the stewards drop. Which form and which nodes: putting.py.
"""

import math
from collections.abc import Sequence
from functools import partial

import structlog
import trio

from ringfs.base.errors import Code, ConnectionLost, Refused, kept
from ringfs.objects.coding import Job
from ringfs.objects.locating import Places
from ringfs.objects.nodes import Lane
from ringfs.wire.messages.cluster import Node
from ringfs.wire.rpc import Answer, OnAnswer

log = structlog.get_logger("ringfs.objects.spreading")

PUT_TIMEOUT_S = 30.0


class Spreading:
    """`holders` are the nodes that hold parts already, by the number of their job; it grows."""

    def __init__(self, places: Places, jobs: Sequence[Job], candidates: Sequence[Node], holders: dict[int, Node]) -> None:
        self._places = places
        self._jobs = jobs
        self._candidates = list(candidates)
        self.holders = holders
        #: Who is being asked for a job that is not done, with the time from which on that takes too long.
        self._asked: dict[int, dict[int, tuple[Node, float]]] = {number: {} for number in range(len(jobs))}
        #: Set by what run() has to look at: an end, a failure, and any answer while a part is late or nobody is asked for it.
        self._news = trio.Event()
        self._looks_at_all = False
        #: Somebody had no room.
        self.met_full = False

    @property
    def missing(self) -> list[int]:
        """The jobs that nobody has done."""
        return [number for number in range(len(self._jobs)) if number not in self.holders]

    async def run(self, *, gives_up_soon: bool) -> bool:
        """Whether all is held. gives_up_soon: end as soon as a part has no node that may take it in time, else wait for
        whoever is being asked."""
        while missing := self.missing:
            self._news = trio.Event()
            idle = [number for number in missing if not self._asked[number] and not self._ask_another(number)]
            late = [number for number in missing if self._is_late(number) and not self._ask_another(number)]
            if gives_up_soon and (idle or late):
                self._blame(missing)
                return False
            if len(idle) == len(missing):
                return False
            self._looks_at_all = bool(idle) or any(self._late_s(number) <= trio.current_time() for number in missing)
            with trio.CancelScope(deadline=self._next_late_s(missing)):
                await self._news.wait()
        return True

    def _ask_another(self, number: int) -> bool:
        """Have the next node of a domain that has nothing to do with the object yet take the part. False if there is none."""
        domains = {node.domain for node in self.holders.values()}
        domains |= {node.domain for asked in self._asked.values() for node, _ in asked.values()}
        node = next((node for node in self._candidates if node.domain not in domains), None)
        if node is None:
            return False
        self._candidates.remove(node)
        lane = self._places.lane(node, bulk=True)
        begun_s = trio.current_time()
        self._asked[number][node.node] = (node, begun_s + lane.put_late_s)
        job, on_answer = self._jobs[number], partial(self._answered, number, node, begun_s)
        if not lane.call_soon(job.request, on_answer, job.payload, timeout_s=PUT_TIMEOUT_S):
            # There has to be a connection first, or room on it.
            self._places.nodes.start_soon(self._put_on, lane, job, on_answer)
        return True

    def _is_late(self, number: int) -> bool:
        """Whether all who were asked for a part are late, while others were not."""
        has_answers = 2 * len(self.holders) >= len(self._jobs) - 1
        return has_answers and self._late_s(number) <= trio.current_time()

    def _late_s(self, number: int) -> float:
        """When all who were asked for a part are late; never if nobody was."""
        return max((late_s for _, late_s in self._asked[number].values()), default=math.inf)

    def _next_late_s(self, missing: list[int]) -> float:
        now_s = trio.current_time()
        times = [late_s for number in missing for _, late_s in self._asked[number].values() if late_s > now_s]
        return min(times, default=float("inf"))

    def _blame(self, missing: list[int]) -> None:
        """Whoever is late is avoided from now on."""
        now_s = trio.current_time()
        for number in missing:
            for node, late_s in self._asked[number].values():
                if late_s <= now_s:
                    self._places.lane(node, bulk=True).was_overtaken()

    async def _put_on(self, lane: Lane, job: Job, on_answer: OnAnswer) -> None:
        answer: Answer | Refused | ConnectionLost
        try:
            answer = await lane.call(job.request, job.payload, timeout_s=PUT_TIMEOUT_S)
        except (Refused, ConnectionLost) as error:
            answer = kept(error)
        on_answer(answer)

    def _answered(self, number: int, node: Node, begun_s: float, answer: Answer | Refused | ConnectionLost) -> None:
        del self._asked[number][node.node]
        if isinstance(answer, Answer):
            self._held(number, node, trio.current_time() - begun_s)
        else:
            self._failed(number, node, answer)
        if self._looks_at_all or not isinstance(answer, Answer) or not self.missing:
            self._news.set()

    def _failed(self, number: int, node: Node, error: Refused | ConnectionLost) -> None:
        if isinstance(error, Refused) and error.code is Code.DISK_FULL:
            self.met_full = True
            self._places.note_full(node)
            return
        if isinstance(error, ConnectionLost):
            self._places.lane(node, bulk=True).avoid()
        job = self._jobs[number]
        what = "put refused" if isinstance(error, Refused) else "put failed"
        log.warning(what, node=node.name, object=job.request.object.hex(), part=str(job.part), reason=str(error))

    def _held(self, number: int, node: Node, took_s: float) -> None:
        if number in self.holders:
            log.info("a late put was answered", node=node.name, took_s=round(took_s, 3))
            return
        self.holders[number] = node
        self._places.lane(node, bulk=True).note_put(took_s)
        for other, _ in self._asked[number].values():
            if other is not node:
                self._places.lane(other, bulk=True).was_overtaken()
