"""Acting first and telling later: which transactions this client may answer itself, because all they are about is delegated to it.

What such a transaction does is decided by the namespace machine's own code (meta/namespace/ahead.py). Not here: sending them
(ahead.py), what a delegation is and how it is taken back (wire/messages/session.py, coherence.py).
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from ringfs.base.clock import Clock
from ringfs.base.errors import Refused
from ringfs.base.limits import RESERVED_INODES_MAX
from ringfs.client.inodes import ABSENT, InodeTable
from ringfs.client.metadata import MetadataLink
from ringfs.meta.namespace.ahead import NotHeld, apply_ahead
from ringfs.meta.namespace.marks import mark_of
from ringfs.wire.messages.common import DELEGATED, Attributes
from ringfs.wire.messages.namespace import Entry, InodesReserved, Mkdir, Mknod, Rename, ReserveInodes, Rmdir, Symlink, Unlink

#: Among what is busy: nobody knows what.
ANYTHING = -1


class Busy(Exception):
    """What the transaction is about is delegated, but the answer to another one about it is still to come."""


class Delegations:
    """See the module. Implements namespace.ahead.Holdings."""

    def __init__(self, link: MetadataLink, inodes: InodeTable, clock: Clock, *, enabled: bool) -> None:
        self._link = link
        self._inodes = inodes
        self._clock = clock
        self._enabled = enabled
        #: Inodes that transactions are about which were sent and are not answered: how many of them.
        self._busy: Counter[int] = Counter()
        self._idle = trio.lowlevel.ParkingLot()
        #: Reserved inode numbers, first and stop, of which session.
        self._numbers = (0, 0)
        self._numbers_session = 0
        self._is_reserving = False

    # --- Holdings -------------------------------------------------------------------------------------------------------

    def attributes(self, number: int) -> Attributes:
        """See Holdings. An inode with bytes on their way will have been changed by their commit. Raises Busy."""
        inode = self._inodes.delegated(number)
        if inode is None or inode.dirty.flights or inode.truncating:
            raise NotHeld
        if self._busy and (number in self._busy or ANYTHING in self._busy):
            raise Busy
        return inode.attributes

    def child(self, parent: int, name: bytes) -> int:
        """See Holdings."""
        directory = self._inodes.delegated(parent)
        number = None if directory is None else self._inodes.find_name(directory, name)
        if number is None:
            raise NotHeld
        return number

    # --- acting ahead ---------------------------------------------------------------------------------------------------

    def apply(self, operation: Any) -> Any:
        """Apply a transaction ahead; its answer. Raises Refused, as the service would; NotHeld: ask it; Busy: try again later."""
        link = self._link
        if not self._enabled or not link.may_act_ahead:
            raise NotHeld
        client_ns = self._clock.wall_ns()
        if client_ns <= 0:
            # A clock before 1970: no time for the service to take over.
            raise NotHeld
        is_making = type(operation) in (Mknod, Mkdir, Symlink)
        if is_making:
            operation.inode = self._next_number()
        try:
            answer = apply_ahead(self, operation, client_ns, link.session, self._numbers)
        except BaseException:
            if is_making:
                operation.inode = 0
            raise
        if is_making:
            self._numbers = (operation.inode + 1, self._numbers[1])
        link.act_ahead(operation, client_ns, mark_of(answer))
        if type(answer) is Entry:
            answer.leased = answer.parent_leased = DELEGATED
        return answer

    async def wait_idle(self) -> None:
        """Wait until something that was busy may not be any more."""
        await self._idle.park()

    @contextmanager
    def asking(self, operation: Any) -> Iterator[None]:
        """While a transaction is with the service: nothing that it may change is changed ahead."""
        numbers = self._about(operation)
        self._busy.update(numbers)
        try:
            yield
        finally:
            self._busy.subtract(numbers)
            for number in numbers:
                if not self._busy[number]:
                    del self._busy[number]
            self._idle.unpark_all()

    def _about(self, operation: Any) -> list[int]:
        """The inodes that an operation may change; ANYTHING among them if it names one that is not known."""
        parent, new_parent = getattr(operation, "parent", 0), getattr(operation, "new_parent", 0)
        numbers = {parent, new_parent, *(getattr(operation, field, 0) for field in ("inode", "source", "destination"))}
        otherwise = ANYTHING if isinstance(operation, Unlink | Rmdir | Rename) else ABSENT
        for directory, field in ((parent, "name"), (new_parent, "new_name")):
            known = self._inodes.get(directory) if directory else None
            name = getattr(operation, field, None)
            if name is not None:
                number = self._inodes.find_name(known, name) if known is not None else None
                numbers.add(otherwise if number is None else number)
        return list(numbers - {ABSENT})

    # --- inode numbers --------------------------------------------------------------------------------------------------

    def _next_number(self) -> int:
        """The next reserved number. Raises NotHeld; then more are on their way."""
        first, stop = self._numbers
        if self._numbers_session != self._link.session or first == stop:
            if not self._is_reserving:
                self._is_reserving = True
                self._numbers = (0, 0)
                self._link.start_soon(self._reserve)
            raise NotHeld
        return first

    async def _reserve(self) -> None:
        session = self._link.session
        try:
            reserved: InodesReserved = await self._link.mutate(ReserveInodes(RESERVED_INODES_MAX), session=session)
        except Refused:
            # The session has ended, or there is no space: the next one who makes something tries again.
            return
        finally:
            self._is_reserving = False
        self._numbers, self._numbers_session = (reserved.first, reserved.stop), session
