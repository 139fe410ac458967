"""What is wrong with a disk, in one place: it decides whether puts are taken, and it is the line that status shows."""

import structlog
import trio

from ringfs.base.errors import Code, Refused
from ringfs.data.stored_part import StoredPart

log = structlog.get_logger("ringfs.data")

#: Parts that wait to be mended, at most.
BAD_PARTS_MAX = 1024


class Health:
    """State of one disk. All of it is volatile: a start finds out again."""

    def __init__(self) -> None:
        #: Why the disk failed; set once, by the first failed write or sync, and kept until the process ends: what such a disk
        #: still holds is not known. Reads go on.
        self.failure: str | None = None
        #: No segment could be made for want of space; cleared when one could be.
        self.is_full = False
        #: Since the start: gets and verifies that met wrong bytes, reads that failed, records that a scan found damaged.
        self.corrupt_count = 0
        self.read_error_count = 0
        self.lost_count = 0
        #: When (wall clock) the start built the index anew, since it was not sound, and why it was not; 0: it was.
        self.index_built_ns = 0
        self.index_fault = ""
        #: Parts that reads found wrong or unreadable, oldest first, until the steward takes them to mend them. Past the bound new
        #: ones are not noted: the next scrub meets them again.
        self._bad_parts: dict[StoredPart, None] = {}
        self._met_bad = trio.Event()

    @property
    def trouble(self) -> str:
        """Empty, or one line."""
        lines = []
        if self.failure is not None:
            lines.append(f"disk failed: {self.failure}")
        if self.is_full:
            lines.append("disk full")
        for count, what in (
            (self.corrupt_count, "reads of corrupt objects"),
            (self.read_error_count, "read errors"),
            (self.lost_count, "objects lost to damage"),
        ):
            if count:
                lines.append(f"{count} {what}")
        return "; ".join(lines)

    @property
    def loss_count(self) -> int:
        """It grows with everything that stewards are to look for at once. An index that was built anew is such a thing by itself:
        what only the old one knew of, segments that are gone and their parts, nobody can count."""
        return self.lost_count + (self.index_built_ns > 0)

    def fail(self, reason: str) -> None:
        """The disk failed for good."""
        if self.failure is None:
            self.failure = reason
            log.error("disk failed", reason=reason)

    def full(self, is_full: bool) -> None:
        """There is no space, or there is again."""
        if is_full != self.is_full:
            self.is_full = is_full
            log.warning("disk full" if is_full else "disk has space again")

    def check_writable(self) -> None:
        """Refused DISK_FAILED once the disk failed."""
        if self.failure is not None:
            raise Refused(Code.DISK_FAILED, self.failure)

    def read_failed(self, stored: StoredPart, error: OSError) -> Refused:
        """A read failed: counted, logged, and as a refusal."""
        self.read_error_count += 1
        self._note_bad(stored)
        log.error("read failed", object=str(stored), reason=str(error))
        return Refused(Code.DISK_FAILED, f"{stored}: {error.strerror or error}")

    def corrupt(self, stored: StoredPart, what: str) -> Refused:
        """Wrong bytes were read: counted, logged, and as a refusal."""
        self.corrupt_count += 1
        self._note_bad(stored)
        log.error("object corrupt", object=str(stored), what=what)
        return Refused(Code.CORRUPT, f"{stored}: {what}")

    # --- parts to mend -----------------------------------------------------------------------------------------------

    @property
    def bad_part_count(self) -> int:
        """How many parts wait to be taken."""
        return len(self._bad_parts)

    def take_bad_parts(self) -> list[StoredPart]:
        """All that were noted and not taken yet, each once."""
        taken = list(self._bad_parts)
        for stored in taken:
            self.mended(stored)
        return taken

    async def wait_bad_parts(self) -> None:
        """Until there are some to take."""
        await self._met_bad.wait()

    def mended(self, stored: StoredPart) -> None:
        """It was put anew, or somebody else takes care of it: it need not be taken any more."""
        if stored in self._bad_parts:
            del self._bad_parts[stored]
            if not self._bad_parts:
                self._met_bad = trio.Event()

    def _note_bad(self, stored: StoredPart) -> None:
        if len(self._bad_parts) < BAD_PARTS_MAX:
            self._bad_parts[stored] = None
            self._met_bad.set()
