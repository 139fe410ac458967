"""When a read moves atime: the rule of relatime."""

import pytest

from ringfs.client.access_times import AccessTimes, Policy
from ringfs.client.inodes import Inode
from ringfs.wire.messages.common import Attributes

NOW_NS = 1_700_000_000 * 10**9
DAY_NS = 86_400 * 10**9


class Clock:
    """It is always now."""

    def wall_ns(self) -> int:
        """Now."""
        return NOW_NS


def inode(atime_ns: int, mtime_ns: int, ctime_ns: int) -> Inode:
    return Inode(7, Attributes(7, 0o100644, 0, 0, 1, 5, 5, 0, atime_ns, mtime_ns, ctime_ns, 0, 1, 0, 0))


@pytest.mark.parametrize(
    ("age_ns", "mtime_age_ns", "ctime_age_ns", "moves"),
    [
        (10, 11, 11, False),
        (10, 10, 11, True),
        (10, 11, 10, True),
        (10, 5, 11, True),
        (10, 11, 5, True),
        (DAY_NS - 1, 2 * DAY_NS, 2 * DAY_NS, False),
        (DAY_NS, 2 * DAY_NS, 2 * DAY_NS, True),
        (-DAY_NS, 2 * DAY_NS, 2 * DAY_NS, False),
    ],
)
def test_relatime(age_ns: int, mtime_age_ns: int, ctime_age_ns: int, moves: bool) -> None:
    """Not after mtime or ctime, or a day old; one in the future stays."""
    read = inode(NOW_NS - age_ns, NOW_NS - mtime_age_ns, NOW_NS - ctime_age_ns)
    AccessTimes(None, Clock(), Policy.RELATIME).note(read)  # type: ignore[arg-type]  # neither link nor monotonic clock is used
    assert read.merged().atime_ns == (NOW_NS if moves else NOW_NS - age_ns)
