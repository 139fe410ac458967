"""The pace of a steward: the setting, less while clients are at work, in virtual time."""

import trio

from ringfs.data.steward.throttle import BURST_S, YIELD, Throttle, TokenBucket

RATE = 1000.0


def test_a_debt_is_paid_at_the_rate() -> None:
    bucket = TokenBucket(RATE, 0.0)
    bucket.take(RATE * BURST_S, 0.0)
    assert bucket.wait_s(0.0) == 0
    bucket.take(2 * RATE, 0.0)
    assert bucket.wait_s(0.0) == 2
    assert bucket.wait_s(1.5) == 0.5
    assert bucket.wait_s(9.0) == 0


def test_a_pause_saves_up_no_more_than_a_burst() -> None:
    bucket = TokenBucket(RATE, 0.0)
    bucket.take(RATE, 1000.0)
    assert bucket.wait_s(1000.0) == 1 - BURST_S


def test_a_new_rate_counts_from_now_on() -> None:
    bucket = TokenBucket(RATE, 0.0)
    bucket.take(RATE * (BURST_S + 2), 0.0)
    bucket.set_rate(RATE / 2, 1.0)
    assert bucket.wait_s(1.0) == 2


async def test_work_goes_at_the_setting(autojump_clock: trio.testing.MockClock) -> None:
    throttle = Throttle(RATE, lambda: False)
    for _ in range(101):
        await throttle.take(100)
    assert 9.5 <= trio.current_time() <= 10.5


async def test_clients_have_it_yield(autojump_clock: trio.testing.MockClock) -> None:
    throttle = Throttle(RATE, lambda: True)
    for _ in range(101):
        await throttle.take(100)
    assert 9.5 * YIELD <= trio.current_time() <= 10.5 * YIELD


async def test_a_wait_is_over_sooner_when_clients_stop(autojump_clock: trio.testing.MockClock) -> None:
    busy_until_s = 10.0
    throttle = Throttle(RATE, lambda: trio.current_time() < busy_until_s)
    await throttle.take(20_000)
    await throttle.take(1)
    # 2500 bytes of the debt are paid in the first ten seconds, the rest at the whole rate.
    assert 26 < trio.current_time() < 28.5
