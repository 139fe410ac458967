"""When what is cached may be used: never longer than a lease after a heartbeat was sent, and never again once it was void."""

import trio

from ringfs.base.limits import LEASE_NS
from ringfs.client.lease import Lease
from tests.support.meta_doubles import TrioClock

LEASE_S = LEASE_NS / 1e9


class Trial:
    """A lease, and how often it became void."""

    def __init__(self) -> None:
        self.clock = TrioClock()
        self.void_count = 0
        self.lease = Lease(self.clock, self._void)

    def _void(self) -> None:
        self.void_count += 1

    @property
    def holds(self) -> bool:
        """Whether what is cached now may be used."""
        return self.lease.holds(self.lease.epoch)


async def test_from_the_sending(autojump_clock: trio.testing.MockClock) -> None:
    """However late the answer comes."""
    trial = Trial()
    assert not trial.holds
    sent_ns = trial.clock.monotonic_ns()
    await trio.sleep(LEASE_S - 2)
    trial.lease.begin(sent_ns)
    assert trial.holds
    await trio.sleep(1.9)
    assert trial.holds
    await trio.sleep(0.2)
    assert not trial.holds


async def test_a_renewal_in_time_keeps_it_one_too_late_does_not(autojump_clock: trio.testing.MockClock) -> None:
    """What ran out stays void, although there is a lease again."""
    trial = Trial()
    trial.lease.begin(trial.clock.monotonic_ns())
    epoch = trial.lease.epoch
    await trio.sleep(LEASE_S - 1)
    trial.lease.renew(trial.clock.monotonic_ns())
    await trio.sleep(LEASE_S - 1)
    sent_ns = trial.clock.monotonic_ns()
    assert trial.lease.holds(epoch)
    await trio.sleep(2)
    trial.lease.renew(sent_ns)
    assert not trial.lease.holds(epoch)
    assert trial.holds


async def test_the_end(autojump_clock: trio.testing.MockClock) -> None:
    """Of the connection: void at once."""
    trial = Trial()
    trial.lease.begin(trial.clock.monotonic_ns())
    voided = trial.void_count
    trial.lease.end()
    assert not trial.holds
    assert trial.void_count == voided + 1


async def test_it_is_void_on_time(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """With nobody looking at it, once each time it runs out."""
    trial = Trial()
    nursery.start_soon(trial.lease.watch)
    for _ in range(2):
        trial.lease.begin(trial.clock.monotonic_ns())
        voided = trial.void_count
        await trio.sleep(LEASE_S - 0.01)
        assert trial.void_count == voided
        await trio.sleep(0.02)
        assert trial.void_count == voided + 1
        await trio.sleep(3 * LEASE_S)
        assert trial.void_count == voided + 1
