"""Locks: fcntl's, OFD's and flock's, between processes of one mount and of two; deadlocks, interrupts, and the end of holders.

Every test that can runs on a local file system too (RINGFS_TEST_DIRECTORY), where both mounts are one directory.
"""

import fcntl
import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.locker import NONE, READ, WRITE, Locker, first_to_answer
from tests.support.mounts import DevCluster, dev_cluster, substitute_directory

#: (start, length) that one has, and that another wants; whether they meet. Length 0: to the end, however far that is.
RANGES = {
    "same": ((10, 10), (10, 10), True),
    "inside": ((10, 10), (12, 2), True),
    "around": ((10, 10), (5, 30), True),
    "left edge": ((10, 10), (0, 11), True),
    "right edge": ((10, 10), (19, 5), True),
    "before": ((10, 10), (0, 10), False),
    "after": ((10, 10), (20, 10), False),
    "to the end": ((10, 0), (1 << 40, 1), True),
    "before what goes to the end": ((10, 0), (0, 10), False),
    "wants to the end": ((10, 10), (19, 0), True),
    "wants after to the end": ((10, 10), (20, 0), False),
    "one byte at the far end": (((1 << 63) - 2, 1), (0, 0), True),
}
KINDS = {"read": READ, "write": WRITE}
FLOCK_KINDS = {READ: fcntl.LOCK_SH, WRITE: fcntl.LOCK_EX}
WHO = ["same process", "other process", "other mount"]
#: A killed mount's session ends after 30 s of silence.
SESSION_END_S = 300.0


class Lockers:
    """Processes with one file, made as they are needed."""

    def __init__(self, here: Path, there: Path) -> None:
        self._stack = ExitStack()
        self._here, self._there = here, there
        #: The first process, on the first mount.
        self.one = self.new()

    def new(self, *, there: bool = False) -> Locker:
        """One more process."""
        return self._stack.enter_context(Locker(self._there if there else self._here))

    def second(self, who: str) -> Locker:
        """The one that comes second."""
        return self.one if who == "same process" else self.new(there=who == "other mount")

    def close(self) -> None:
        """End all."""
        self._stack.close()


@pytest.fixture
def lockers(place: Path, mount_point: Path, second_mount_point: Path, driver: str) -> Iterator[Lockers]:
    if driver == "pyfuse3":
        pytest.skip("under pyfuse3 the kernel keeps locks by itself: test_declined.py")
    made = Lockers(place / "file", second_mount_point / place.relative_to(mount_point) / "file")
    yield made
    made.close()


def locks_of(asker: Locker) -> list[tuple[int, int, int]]:
    """(kind, start, length) of what others have, as F_GETLK finds it from the left."""
    found: list[tuple[int, int, int]] = []
    start = 0
    while True:
        kind, at, length, _ = asker.ask("getlk", WRITE, start, 0)
        if kind == NONE:
            return found
        found.append((kind, at, length))
        if not length:
            return found
        start = at + length


@pytest.mark.parametrize("who", WHO)
def test_matrix(lockers: Lockers, who: str) -> None:
    """Whoever wants what is in another's way is refused EAGAIN at once, and told by F_GETLK of just that; all else is given."""
    one, two = lockers.one, lockers.second(who)
    for (name, (had, wanted, meet)), (first, second) in itertools.product(RANGES.items(), itertools.product(KINDS, KINDS)):
        case = f"{name}: has {first}, wants {second}"
        assert one.ask("lock", KINDS[first], *had) == "ok", case
        in_the_way = meet and "write" in (first, second) and who != "same process"
        kind, start, length, pid = two.ask("getlk", KINDS[second], *wanted)
        if in_the_way:
            assert (kind, start, length) == (KINDS[first], *had), case
            # A process of another mount, maybe of another machine, has no number here.
            assert pid == (one.pid if who == "other process" or substitute_directory() else 0), case
        else:
            assert kind == NONE, case
        assert two.ask("lock", KINDS[second], *wanted) == ("EAGAIN" if in_the_way else "ok"), case
        assert one.ask("unlock", 0, 0) == "ok", case
        if in_the_way:
            assert two.ask("lock", KINDS[second], *wanted) == "ok", case
        assert two.ask("unlock", 0, 0) == "ok", case


@pytest.mark.parametrize("who", WHO[1:])
def test_pieces(lockers: Lockers, who: str) -> None:
    """Locks of one process split, change and grow together as POSIX says, seen by another."""
    one, two = lockers.one, lockers.second(who)
    for kind, start, length in [(READ, 0, 100), (WRITE, 40, 20), (NONE, 10, 10)]:
        assert one.ask("lock", kind, start, length) == "ok"
    assert locks_of(two) == [(READ, 0, 10), (READ, 20, 20), (WRITE, 40, 20), (READ, 60, 40)]
    assert one.ask("lock", READ, 5, 50) == "ok"
    assert locks_of(two) == [(READ, 0, 55), (WRITE, 55, 5), (READ, 60, 40)]
    assert one.ask("lock", READ, 55, 0) == "ok"
    assert locks_of(two) == [(READ, 0, 0)]
    assert two.ask("lock", READ, 3, 3) == "ok"
    assert one.ask("lock", WRITE, 0, 10) == "EAGAIN"
    assert locks_of(two) == [(READ, 0, 0)]
    assert two.ask("unlock", 0, 0) == "ok"
    assert one.ask("lock", WRITE, 0, 10) == "ok"
    assert locks_of(two) == [(WRITE, 0, 10), (READ, 10, 0)]


@pytest.mark.parametrize("who", WHO)
def test_flock_matrix(lockers: Lockers, who: str) -> None:
    """flock excludes between open files, also of one process; fcntl's locks do not see it."""
    one, two = lockers.one, lockers.second(who)
    fd = two.ask("open")
    for first, second in itertools.product(KINDS.values(), KINDS.values()):
        assert one.ask("flock", FLOCK_KINDS[first]) == "ok"
        in_the_way = WRITE in (first, second)
        assert two.ask("flock", FLOCK_KINDS[second] | fcntl.LOCK_NB, fd) == ("EAGAIN" if in_the_way else "ok")
        assert two.ask("flock", fcntl.LOCK_UN, fd) == "ok"
        assert two.ask("lock", WRITE, 0, 0) == "ok"
        assert one.ask("flock", fcntl.LOCK_UN) == "ok"
        assert two.ask("unlock", 0, 0) == "ok"


@pytest.mark.parametrize("who", WHO)
def test_ofd_matrix(lockers: Lockers, who: str) -> None:
    """OFD locks exclude between open files, also of one process, and they and fcntl's are in each other's way."""
    one, two = lockers.one, lockers.second(who)
    fd = two.ask("open")
    ranges = [RANGES[name] for name in ("same", "right edge", "after", "to the end")]
    for (had, wanted, meet), (first, second) in itertools.product(ranges, itertools.product(KINDS, KINDS)):
        in_the_way = meet and "write" in (first, second)
        assert one.ask("ofd_lock", KINDS[first], *had) == "ok"
        for verb in ("ofd_lock", "lock"):
            assert two.ask(verb, KINDS[second], *wanted, fd) == ("EAGAIN" if in_the_way else "ok")
            assert two.ask(verb, NONE, 0, 0, fd) == "ok"
        assert one.ask("ofd_lock", NONE, 0, 0) == "ok"


@pytest.mark.parametrize("who", WHO[1:])
@pytest.mark.parametrize("verb", ["lock_wait", "ofd_wait", "flock"])
def test_waiting(lockers: Lockers, who: str, verb: str) -> None:
    """Who waits gets the lock when it is given back, and not before."""
    one, two = lockers.one, lockers.second(who)
    take, give = ([WRITE, 0, 10], [NONE, 0, 10]) if verb != "flock" else ([fcntl.LOCK_EX], [fcntl.LOCK_UN])
    for _ in range(3):
        assert one.ask(verb, *take) == "ok"
        two.begin(verb, *take)
        assert two.is_waiting()
        assert one.ask(verb, *give) == "ok"
        assert two.answer() == "ok"
        assert two.ask(verb, *give) == "ok"


@pytest.mark.parametrize("who", WHO[1:])
def test_waiting_for_a_part(lockers: Lockers, who: str) -> None:
    """A waiter goes on when just what is in its way has gone; a downgrade lets readers in."""
    one, two, three = lockers.one, lockers.second(who), lockers.new()
    assert one.ask("lock", WRITE, 0, 100) == "ok"
    two.begin("lock_wait", WRITE, 10, 10)
    three.begin("lock_wait", READ, 50, 10)
    assert two.is_waiting()
    assert one.ask("unlock", 10, 10) == "ok"
    assert two.answer() == "ok"
    assert three.is_waiting()
    assert one.ask("lock", READ, 20, 80) == "ok"
    assert three.answer() == "ok"


@pytest.mark.parametrize("who", WHO[1:])
@pytest.mark.parametrize("verb", ["lock_wait", "flock"])
def test_interrupted(lockers: Lockers, who: str, verb: str) -> None:
    """A signal ends the waiting, and whoever waits behind gets the lock in its time."""
    one, two, three = lockers.one, lockers.second(who), lockers.new(there=True)
    take = [fcntl.LOCK_EX] if verb == "flock" else [WRITE, 0, 10]
    assert one.ask(verb, *take) == "ok"
    two.begin_interruptible(verb, *take)
    three.begin(verb, *take)
    assert two.interrupt() == "interrupted"
    assert three.is_waiting()
    assert one.ask("close", 0) == "ok"
    assert three.answer() == "ok"
    two.begin_interruptible(verb, *take)
    assert two.interrupt() == "interrupted"


@pytest.mark.parametrize("who", WHO[1:])
def test_deadlock(lockers: Lockers, who: str) -> None:
    """Who would close a circle of two, or of three, is refused EDEADLK; the others get on when it gives way."""
    one, two, three = lockers.one, lockers.second(who), lockers.new()
    assert [each.ask("lock", WRITE, at, 1) for at, each in enumerate((one, two, three))] == ["ok"] * 3
    one.begin("lock_wait", WRITE, 1, 1)
    assert one.is_waiting()
    assert two.ask("lock_wait", READ, 0, 1) == "EDEADLK"
    two.begin("lock_wait", WRITE, 2, 1)
    assert two.is_waiting()
    assert three.ask("lock_wait", WRITE, 0, 1) == "EDEADLK"
    assert three.ask("unlock", 0, 0) == "ok"
    assert two.answer() == "ok"
    assert two.ask("unlock", 0, 0) == "ok"
    assert one.answer() == "ok"


@pytest.mark.parametrize("who", WHO[1:])
def test_ofd_locks_make_no_deadlock(lockers: Lockers, who: str) -> None:
    """A circle that an OFD lock is part of waits, as on Linux, until somebody gives way; nobody is refused EDEADLK."""
    one, two = lockers.one, lockers.second(who)
    for verb in ("ofd_wait", "lock_wait"):
        assert one.ask("ofd_lock", WRITE, 0, 1) == "ok"
        assert two.ask(verb, WRITE, 1, 1) == "ok"
        one.begin("ofd_wait", WRITE, 1, 1)
        assert one.is_waiting()
        two.begin_interruptible(verb, WRITE, 0, 1)
        assert two.is_waiting()
        assert two.interrupt() == "interrupted"
        assert two.ask(verb, NONE, 0, 0) == "ok"
        assert one.answer() == "ok"
        assert one.ask("ofd_lock", NONE, 0, 0) == "ok"


@pytest.mark.parametrize("who", WHO[1:])
def test_any_close_gives_back(lockers: Lockers, who: str) -> None:
    """As POSIX has it, closing any descriptor of the file gives back all fcntl locks of the process, and no OFD lock of another."""
    one, two = lockers.one, lockers.second(who)
    fd = one.ask("open")
    assert one.ask("lock", WRITE, 0, 10) == "ok"
    assert one.ask("ofd_lock", WRITE, 20, 10) == "ok"
    assert one.ask("close", fd) == "ok"
    assert two.ask("lock", WRITE, 0, 10) == "ok"
    assert two.ask("lock", WRITE, 20, 10) == "EAGAIN"


@pytest.mark.parametrize("who", WHO[1:])
@pytest.mark.parametrize("verb", ["ofd", "flock"])
def test_last_close_gives_back(lockers: Lockers, who: str, verb: str) -> None:
    """flock's and OFD locks are of the open file: only the last close of its descriptors gives them back."""
    one, two = lockers.one, lockers.second(who)
    verb, *wanted = ("flock", fcntl.LOCK_EX) if verb == "flock" else ("ofd_wait", WRITE, 0, 10)
    assert one.ask(verb, *wanted) == "ok"
    fd = one.ask("dup")
    two.begin(verb, *wanted)
    assert one.ask("close", 0) == "ok"
    assert two.is_waiting()
    assert one.ask("close", fd) == "ok"
    assert two.answer() == "ok"


@pytest.mark.parametrize("who", WHO[1:])
@pytest.mark.parametrize("verb", ["lock_wait", "ofd_wait", "flock"])
def test_holder_killed(lockers: Lockers, who: str, verb: str) -> None:
    """kill -9 of the holder gives back what it had; of a waiter, it is waited for by nobody."""
    one, two, three = lockers.one, lockers.second(who), lockers.new()
    wanted = [fcntl.LOCK_EX] if verb == "flock" else [WRITE, 0, 10]
    assert one.ask(verb, *wanted) == "ok"
    two.begin(verb, *wanted)
    assert two.is_waiting()
    three.begin(verb, *wanted)
    two.kill()
    one.kill()
    assert three.answer() == "ok"


def test_what_is_locked_is_current(lockers: Lockers) -> None:
    """Two processes on each mount increment one number under a lock: no increment is lost."""
    everybody = [lockers.one, lockers.new(), lockers.new(there=True), lockers.new(there=True)]
    for each in everybody:
        each.begin("count", 50)
    assert [each.answer() for each in everybody] == ["ok"] * 4
    assert lockers.new(there=True).ask("read", 0, 8) == "00000200"


def test_sizes_and_bytes_under_locks(lockers: Lockers) -> None:
    """In turns under a lock, each mount sees the size and the bytes that the other left."""
    one, two = lockers.one, lockers.new(there=True)
    content = ""
    for turn in range(10):
        writer, reader = (one, two) if turn % 2 else (two, one)
        assert writer.ask("lock_wait", WRITE, 0, 0) == "ok"
        assert writer.ask("size") == len(content)
        piece = chr(65 + turn) * (1000 * turn + 1)
        assert writer.ask("write", len(content), piece) == "ok"
        content += piece
        assert writer.ask("unlock", 0, 0) == "ok"
        assert reader.ask("lock_wait", READ, 0, 0) == "ok"
        assert reader.ask("read", 0, 1 << 17) == content
        assert reader.ask("unlock", 0, 0) == "ok"


# --- what ends: a cluster of their own --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_cluster(driver: str) -> Iterator[tuple[DevCluster, Path]]:
    """A cluster with two mounts whose processes may be killed."""
    if driver != "kernel":
        pytest.skip("needs a cluster, and a driver that is asked for locks")
    with dev_cluster("--data", "2") as cluster:
        yield cluster, cluster.another_mount("mnt2")


def test_locks_outlive_the_metadata_server(own_cluster: tuple[DevCluster, Path]) -> None:
    """kill -9 of the metadata server: who had locks has them afterwards, who waited waits, deadlocks are still seen: by whichever
    of the two asks the new server last, for one asks for the first time and the other, which waited before, asks anew.
    """
    cluster, second = own_cluster
    with Locker(cluster.mount / "restart") as one, Locker(second / "restart") as two, Locker(second / "restart") as three:
        assert one.ask("lock", WRITE, 0, 10) == "ok"
        assert one.ask("flock", fcntl.LOCK_EX) == "ok"
        assert two.ask("lock", WRITE, 20, 10) == "ok"
        two.begin("lock_wait", WRITE, 0, 10)
        three.begin("flock", fcntl.LOCK_SH)
        assert two.is_waiting()
        cluster.dev("kill", "meta1")
        cluster.dev("start", "meta1")
        assert three.is_waiting()
        assert two.is_waiting()
        one.begin("lock_wait", READ, 20, 10)
        refused = first_to_answer(one, two)
        waiting = two if refused is one else one
        assert refused.answer() == "EDEADLK"
        assert waiting.is_waiting()
        assert refused.ask("unlock", 0, 0) == "ok"
        assert waiting.answer() == "ok"
        one.kill()
        assert three.answer() == "ok"


def test_mount_of_the_holder_killed(own_cluster: tuple[DevCluster, Path]) -> None:
    """kill -9 of a mount: its locks go when its session has ended, and whoever waits gets them."""
    cluster, second = own_cluster
    with Locker(cluster.mount / "killed") as two, Locker(second / "killed") as one:
        assert one.ask("lock", WRITE, 0, 10) == "ok"
        two.begin("lock_wait", WRITE, 0, 10)
        assert two.is_waiting()
        cluster.dev("kill", "mount2")
        assert two.answer(SESSION_END_S) == "ok"
    cluster.dev("start", "mount2")
