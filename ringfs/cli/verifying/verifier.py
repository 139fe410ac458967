"""Verifies files, several small ones at once, in the order in which they come; compares them with a list."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import MIB
from ringfs.cli.verifying.content import Content, read_content
from ringfs.cli.verifying.files import Found
from ringfs.cli.verifying.parts import Outcome, PartVerifier
from ringfs.cli.verifying.report import FileResult
from ringfs.client.file_system import FileSystem

#: Files are verified at once until there are so many, or so many bytes.
_FILES_AT_ONCE = 16
_BYTES_AT_ONCE = 32 * MIB


@dataclass(slots=True)
class _Job:
    """A file, and what was learned of it; `is_gone`: it was removed meanwhile."""

    found: Found
    content: Content | None = None
    outcomes: list[Outcome] | None = None
    why: str = ""
    is_gone: bool = False


class Verifier:
    """`expected`: digests by path, None: there is no list. `step` is told of bytes that were read."""

    def __init__(
        self, fs: FileSystem, parts: PartVerifier, expected: dict[str, bytes] | None, step: Callable[[int], object]
    ) -> None:
        self._fs = fs
        self._parts = parts
        self._expected = expected
        self._step = step

    async def results(self, files: AsyncIterator[Found]) -> AsyncIterator[FileResult]:
        """One for each file that is not removed meanwhile."""
        jobs: list[_Job] = []
        async for found in files:
            jobs.append(_Job(found))
            if len(jobs) == _FILES_AT_ONCE or sum(job.found.attributes.size_bytes for job in jobs) >= _BYTES_AT_ONCE:
                for result in await self._work(jobs):
                    yield result
                jobs = []
        for result in await self._work(jobs):
            yield result

    async def _work(self, jobs: list[_Job]) -> list[FileResult]:
        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(self._read, job)
                nursery.start_soon(self._ask_disks, job)
        return [self._result(job) for job in jobs if not job.is_gone]

    async def _read(self, job: _Job) -> None:
        try:
            job.content = await read_content(self._fs, job.found.attributes.inode, self._step)
        except Refused as refused:
            job.is_gone = refused.code is Code.STALE
            job.why = f"cannot be read: {refused}"

    async def _ask_disks(self, job: _Job) -> None:
        try:
            job.outcomes = await self._parts.verify(job.found.attributes)
        except Refused as refused:
            if refused.code is not Code.STALE:
                raise

    def _result(self, job: _Job) -> FileResult:
        outcomes, content = job.outcomes or [], job.content
        why, note = self._compare(job)
        return FileResult(
            job.found.path,
            None if content is None else content.digest,
            job.found.attributes.size_bytes if content is None else content.size_bytes,
            len(outcomes),
            sum(outcome.verified for outcome in outcomes),
            tuple(bad for outcome in outcomes for bad in outcome.bad),
            why,
            note,
        )

    def _compare(self, job: _Job) -> tuple[str, str]:
        """What is wrong with the content, and what is to be noted of it."""
        if job.content is None:
            return job.why, ""
        notes = ["written to while it was read"] if job.content.is_changing else []
        expected = None if self._expected is None else self._expected.get(job.found.path)
        if self._expected is not None and expected is None:
            notes.append("not in the list")
        is_other = expected is not None and expected != job.content.digest
        return "is not what the list says" if is_other else "", ", ".join(notes)
