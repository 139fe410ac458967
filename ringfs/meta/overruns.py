"""Files that others changed while a session may have had dirty bytes of them, and could not be asked: its lease had ended.

What it commits of such a file afterwards would come over what is newer, without anybody's knowing: it is refused CHANGED, once, and
the client gives up all that it had dirty of the file and says so. Volatile, pure. What is known of sessions that have not resumed
after a restart is that they may have anything open. Not here: recalls (leases.py), opens (opens.py).
"""

from collections.abc import Collection, Iterable

from ringfs.wire.messages.namespace import Commit, Committed

#: What changes while sessions are missing after a restart is remembered up to so many files; past it, all count as changed.
CHANGED_MAX = 100_000
#: No inode is ever at this change.
_NEVER = (1 << 64) - 1


class Overruns:
    """See the module."""

    def __init__(self, changed_max: int = CHANGED_MAX) -> None:
        self._changed_max = changed_max
        #: session → inodes that it was to flush, or to give back, and did not before its lease ended; no empty ones.
        self._unasked: dict[int, set[int]] = {}
        #: session → inode → the number of the request that was refused because of it, 0 if none was; no empty ones.
        self._overrun: dict[int, dict[int, int]] = {}
        #: Files that were changed while somebody was missing; None: too many.
        self._changed: set[int] | None = set()

    # --- what happens to a session --------------------------------------------------------------------------------------

    def missed(self, session: int, inodes: Iterable[int]) -> None:
        """Its lease ended before it confirmed a recall of these."""
        self._unasked.setdefault(session, set()).update(inodes)

    def obeyed(self, session: int, inodes: Iterable[int]) -> None:
        """It has nothing dirty of these from before now."""
        unasked = self._unasked.get(session)
        if unasked is not None:
            unasked.difference_update(inodes)
            if not unasked:
                del self._unasked[session]

    def resumed(self, session: int, dirty: Collection[int], *, was_missing: bool) -> None:
        """It is back, and of these files alone it has dirty bytes."""
        overrun = {inode: number for inode, number in self._overrun.pop(session, {}).items() if inode in dirty}
        if was_missing:
            overrun |= {inode: 0 for inode in dirty if self._changed is None or inode in self._changed}
        if overrun:
            self._overrun[session] = overrun
        self.obeyed(session, [inode for inode in self._unasked.get(session, ()) if inode not in dirty])

    def closed(self, session: int, inode: int) -> None:
        """It has committed all that it had dirty of the file, or given it up."""
        self.obeyed(session, [inode])
        overrun = self._overrun.get(session)
        if overrun is not None and overrun.pop(inode, None) is not None and not overrun:
            del self._overrun[session]

    def forget(self, session: int) -> None:
        """It has ended."""
        self._unasked.pop(session, None)
        self._overrun.pop(session, None)

    def nobody_missing(self) -> None:
        """All sessions from before the restart are back, or have ended."""
        self._changed = set()

    # --- what happens to files ------------------------------------------------------------------------------------------

    def changed(self, by: int, inodes: Iterable[int], *, somebody_missing: bool) -> None:
        """A session changed the content of files."""
        for session, unasked in self._unasked.items():
            for inode in unasked.intersection(inodes) if session != by else ():
                self._overrun.setdefault(session, {})[inode] = 0
        if somebody_missing and self._changed is not None:
            self._changed.update(inodes)
            if len(self._changed) > self._changed_max:
                self._changed = None

    def guard(self, session: int, number: int, commit: Commit) -> None:
        """Before a Commit is applied: have it refused for the files that others changed. A repetition is refused again; a later
        request is of a client that has been told."""
        overrun = self._overrun.get(session)
        for file in commit.files if overrun is not None else ():
            if file.extents and not file.rewrite and overrun is not None and file.inode in overrun:
                if overrun[file.inode] in (0, number):
                    file.expected_change = _NEVER
                else:
                    self.closed(session, file.inode)

    def answered(self, session: int, number: int, commit: Commit, answer: Committed) -> None:
        """After it: which files it was refused for."""
        overrun = self._overrun.get(session, {})
        for file, result in zip(commit.files, answer.files, strict=True):
            if file.expected_change == _NEVER and result.attributes is None and file.inode in overrun:
                overrun[file.inode] = number
