"""The request numbers of a session: which are in use, and how many more may be before the service has to forget replies. Pure.

The lowest number that is unanswered bounds what a client acknowledges; numbers of what is done ahead are in ahead.py, and come from
here.
"""

from collections.abc import Callable

from ringfs.base.limits import REPLY_WINDOW_MAX, REQUESTS_URGENT


class RequestWindow:
    """See the module. `first_ahead(otherwise)`: the lowest unanswered number of what was done ahead."""

    def __init__(self, first_ahead: Callable[[int], int]) -> None:
        self._first_ahead = first_ahead
        self._next = 1
        #: This session's numbers that were sent and not answered, ascending.
        self.unanswered: dict[int, None] = {}

    def renew(self) -> None:
        """Another session begins."""
        self._next = 1
        self.unanswered = {}

    def take(self) -> int:
        """The next number."""
        number = self._next
        self._next = number + 1
        return number

    @property
    def first(self) -> int:
        """All lower request numbers of the session are answered."""
        return min(next(iter(self.unanswered), self._next), self._first_ahead(self._next))

    @property
    def has_room(self) -> bool:
        """Whether one more may be taken."""
        return self._next - self.first < REPLY_WINDOW_MAX - REQUESTS_URGENT

    @property
    def has_urgent_room(self) -> bool:
        """The same for what others' answers may wait for."""
        return self._next - self.first < REPLY_WINDOW_MAX
