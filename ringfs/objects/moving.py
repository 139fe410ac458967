"""Making parts of objects anew where they belong, of whatever parts there are: for stewards. What is put is verified first.

Neither what should be where nor what may be dropped is decided here, nor does metadata learn anything.
"""

from collections.abc import Sequence

import structlog
import trio

from ringfs.base.errors import Code, ConnectionLost, Refused, again, kept
from ringfs.base.limits import BLOCK_BYTES
from ringfs.objects.asking import Asker
from ringfs.objects.coding import Job, Whole, jobs_for, put_of
from ringfs.objects.locating import Known, Places
from ringfs.objects.putting import RunInThread
from ringfs.objects.racing import Failed
from ringfs.objects.reading import LongReader
from ringfs.objects.roll_call import LONG, locate
from ringfs.objects.spreading import PUT_TIMEOUT_S
from ringfs.ring.classes import ErasureClass, ServiceClass
from ringfs.ring.parts import Part, block_count, range_of, row_count
from ringfs.wire.messages.cluster import Node

log = structlog.get_logger("ringfs.objects.moving")


class Mover:
    """See the module."""

    def __init__(self, places: Places, asker: Asker, long_reader: LongReader, run_in_thread: RunInThread) -> None:
        self._places = places
        self._asker = asker
        self._long_reader = long_reader
        self._run_in_thread = run_in_thread

    async def make_part(self, oid: bytes, part: Part, target: Node) -> int:
        """See Objects.make_part."""
        holders: Sequence[Node] = ()
        if part.is_parity:
            located = await locate(self._places, oid, LONG)
            numbers = located.fragments.get(ErasureClass(part.data, part.parity), {})
            holders = [node for node in numbers.get(part.number, ()) if node.node != target.node]
        return await self._put(await self.job(oid, part, holders), target)

    async def job(self, oid: bytes, part: Part, holders: Sequence[Node]) -> Job:
        """See Objects.make_job."""
        known = await self._long_reader.know(oid)
        return await self._parity_job(oid, known, part, holders) if part.is_parity else await self._data_job(oid, known, part)

    async def make_all(self, oid: bytes, form: ServiceClass, targets: Sequence[Node]) -> int:
        """See Objects.make_all."""
        assert len(targets) == form.width
        whole = await self._whole(oid, await self._long_reader.know(oid))
        jobs: list[Job] = await self._run_in_thread(jobs_for, whole, form)
        refusals: list[Refused] = []

        async def put(job: Job, target: Node) -> None:
            try:
                await self._put(job, target)
            except Refused as refused:
                refusals.append(kept(refused))

        async with trio.open_nursery() as nursery:
            for job, target in zip(jobs, targets, strict=True):
                nursery.start_soon(put, job, target)
        if refusals:
            raise again(refusals[0])
        return sum(job.size_bytes for job in jobs)

    async def _data_job(self, oid: bytes, known: Known, part: Part) -> Job:
        """A whole copy or a data fragment: the object's own bytes."""
        start, stop = range_of(part, known.size_bytes)
        if start == stop:
            return put_of(oid, known.size_bytes, known.table, part, ())
        content = await self._long_reader.read(oid, start // BLOCK_BYTES, block_count(stop - start))
        return put_of(oid, known.size_bytes, known.table, part, [content])

    async def _parity_job(self, oid: bytes, known: Known, part: Part, holders: Sequence[Node]) -> Job:
        """A parity fragment: from a node that has it, else computed."""
        rows = row_count(known.size_bytes, part.data)
        for node in holders:
            try:
                content, own_table = await self._asker.parity_rows(oid, known, node, part, 0, rows)
            except Failed as failed:
                log.info("parity is computed again", object=oid.hex(), part=str(part), reason=str(failed))
            else:
                return put_of(oid, known.size_bytes, known.table, part, [content], own_table)
        whole = await self._whole(oid, known)
        jobs: list[Job] = await self._run_in_thread(jobs_for, whole, ErasureClass(part.data, part.parity))
        return jobs[part.number]

    async def _whole(self, oid: bytes, known: Known) -> Whole:
        content = await self._long_reader.read(oid, 0, block_count(known.size_bytes))
        return Whole(oid, known.size_bytes, known.table, [content])

    async def _put(self, job: Job, target: Node) -> int:
        """Put a part on a node: how many bytes that was."""
        lane = self._places.lane(target, bulk=True)
        try:
            await lane.call(job.request, job.payload, timeout_s=PUT_TIMEOUT_S)
        except Refused as refused:
            code = Code.NO_SPACE if refused.code is Code.DISK_FULL else Code.IO
            raise Refused(code, f"{job.part} of object {job.request.object.hex()} on {target.name}: {refused}") from refused
        except ConnectionLost as error:
            raise Refused(Code.IO, f"{job.part} of object {job.request.object.hex()} on {target.name}: {error}") from error
        return job.size_bytes
