"""How fast a steward may work: a setting, and less while clients want something of this node. The bucket is pure."""

from collections.abc import Callable

import trio

#: What a steward may do at once after a pause.
BURST_S = 0.25
#: While clients are at work the rate is divided by this.
YIELD = 4
#: The rate is looked at again so often while somebody waits.
_LOOK_S = 0.25
#: Shorter waits are none: a clock may not tell them apart.
_INSTANT_S = 1e-6


class TokenBucket:
    """Tokens are bytes; whoever takes more than there are leaves a debt, and waits until it is paid. Times are seconds."""

    def __init__(self, rate_per_s: float, now_s: float) -> None:
        self.rate_per_s = rate_per_s
        self._tokens = rate_per_s * BURST_S
        self._now_s = now_s

    def set_rate(self, rate_per_s: float, now_s: float) -> None:
        """From now on."""
        self._pass(now_s)
        self.rate_per_s = rate_per_s

    def take(self, count: float, now_s: float) -> None:
        """Take them, be there so many or not."""
        self._pass(now_s)
        self._tokens -= count

    def wait_s(self, now_s: float) -> float:
        """How long until the debt is paid at this rate; 0 if there is none."""
        self._pass(now_s)
        return max(0.0, -self._tokens / self.rate_per_s)

    def _pass(self, now_s: float) -> None:
        elapsed_s, self._now_s = max(0.0, now_s - self._now_s), now_s
        self._tokens = min(self.rate_per_s * BURST_S, self._tokens + elapsed_s * self.rate_per_s)


class Throttle:
    """One for each kind of work. is_busy tells whether clients want something of this node; then the rate is a YIELDth."""

    def __init__(self, bytes_per_s: float, is_busy: Callable[[], bool]) -> None:
        #: The setting.
        self.bytes_per_s = bytes_per_s
        self._is_busy = is_busy
        self._bucket = TokenBucket(bytes_per_s, trio.current_time())

    async def take(self, size_bytes: int) -> None:
        """Wait until so many bytes may be moved, counting those before them."""
        while True:
            now_s = trio.current_time()
            self._bucket.set_rate(self.bytes_per_s / (YIELD if self._is_busy() else 1), now_s)
            wait_s = self._bucket.wait_s(now_s)
            if wait_s < _INSTANT_S:
                break
            await trio.sleep(min(wait_s, _LOOK_S))
        self._bucket.take(size_bytes, now_s)
