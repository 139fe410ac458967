"""The leader's own work on doomed chunks (namespace/doomed.py): small transactions, with pauses in which others have their turn."""

import trio

from ringfs.base.errors import Refused
from ringfs.base.kv.prefix import scan_prefix
from ringfs.meta.live import Live
from ringfs.meta.namespace import keys
from ringfs.wire.messages.content import ReleaseDoomed

#: What one transaction lets go of: a few milliseconds of work.
STEP_EXTENTS = 256
#: Between two of them while there is more.
PAUSE_S = 0.01
#: How often it is looked whether there is anything, and how long it is waited where there was no room for it.
IDLE_S = 1.0


class Releaser:
    """See the module."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def run(self) -> None:
        """Release what is doomed, for ever."""
        while True:
            more = self._has_any() and await self._step()
            await trio.sleep(PAUSE_S if more else IDLE_S)

    def _has_any(self) -> bool:
        return next(scan_prefix(self._live.leader.view, keys.DOOMED), None) is not None

    async def _step(self) -> bool:
        """One transaction, once it is admitted; whether there is more that there is room for."""
        done = trio.Event()
        more = False

        def release() -> None:
            nonlocal more
            answer = self._live.transact_own(ReleaseDoomed(STEP_EXTENTS))
            more = not isinstance(answer, Refused) and answer.more
            done.set()

        self._live.leader.admit(release)
        await done.wait()
        return more
