"""The data node as a process: all disks of one [[data]] section, each a node of the cluster map, from start to SIGTERM.

A disk that cannot be opened, or is gone, stops nothing but itself; without any disk the process ends. One disk: serving.py.
"""

import signal
from collections.abc import AsyncIterator, Callable

import structlog
import trio

from ringfs.base.config import ClusterConfig, DataConfig
from ringfs.base.errors import UserError
from ringfs.data.serving import serve_disk

log = structlog.get_logger("ringfs.data")


async def run_data(config: ClusterConfig, name: str, *, started: Callable[[str], None] | None = None) -> None:
    """Serve the disks of a [[data]] section until SIGTERM or SIGINT; `started` is told their addresses once all that can be served
    are. Raises UserError when none is left."""
    process = _Process(config, config.disks_of(name), config.load_key(), started)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on, signals, nursery.cancel_scope)
            await process.run()
            nursery.cancel_scope.cancel()
    process.check_end()


class _Process:
    """The disks, and which of them are not served."""

    def __init__(
        self, config: ClusterConfig, disks: tuple[DataConfig, ...], key: bytes, started: Callable[[str], None] | None
    ) -> None:
        self._config = config
        self._disks = disks
        self._key = key
        self._started = started
        #: By name: where the disk is served, or why it is not.
        self._addresses: dict[str, str] = {}
        self._mistakes: dict[str, UserError] = {}
        self._is_started = False

    async def run(self) -> None:
        """Until cancelled, or until no disk is left."""
        async with trio.open_nursery() as nursery:
            for disk in self._disks:
                nursery.start_soon(self._serve, disk)

    def check_end(self) -> None:
        """Raises UserError if no disk was left."""
        if len(self._mistakes) < len(self._disks):
            return
        if len(self._disks) == 1:
            raise self._mistakes[self._disks[0].name]
        raise UserError("no disk is left: " + "; ".join(f"{name}: {mistake}" for name, mistake in self._mistakes.items()))

    async def _serve(self, disk: DataConfig) -> None:
        def started(address: str) -> None:
            self._addresses[disk.name] = address
            self._look_whether_started()

        try:
            await serve_disk(self._config, disk, self._key, started)
        except UserError as mistake:
            self._mistakes[disk.name] = mistake
            if len(self._mistakes) < len(self._disks):
                log.error("a disk is not served, the others are", name=disk.name, reason=str(mistake))
                self._look_whether_started()

    def _look_whether_started(self) -> None:
        """All that can be served are, and there are some."""
        if self._is_started or len(self._addresses.keys() | self._mistakes.keys()) < len(self._disks):
            return
        served = [self._addresses[disk.name] for disk in self._disks if disk.name not in self._mistakes]
        self._is_started = bool(served)
        if served and self._started is not None:
            self._started(", ".join(served))


async def _stop_on(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for number in signals:
        log.info("stopping", signal=signal.Signals(number).name)
        scope.cancel()
        return
