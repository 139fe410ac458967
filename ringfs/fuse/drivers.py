"""The drivers by name. Each is imported when it is used: pyfuse3 need not be installed."""

from collections.abc import Callable
from typing import Protocol

from ringfs.base.errors import UserError
from ringfs.client.coherence import KernelCache
from ringfs.fuse.at_once import Timeouts
from ringfs.fuse.operations import Operations


class Driver(Protocol):
    """What carries requests from the kernel to Operations."""

    @property
    def kernel(self) -> KernelCache:
        """Takes back what the kernel was told."""
        ...

    async def serve(self, operations: Operations, point: str, timeouts: Timeouts, *, mounted: Callable[[], object]) -> None:
        """Mount, answer until unmounted from outside, clean up. timeouts: for what this driver cannot take back from the kernel."""
        ...

    def stop_serving(self) -> None:
        """Have serve return although somebody still uses the (detached) mount: what they do from now on fails."""
        ...


def make_driver(name: str) -> Driver:
    """The driver of that name. Raises UserError if it is not installed."""
    if name == "kernel":
        from ringfs.fuse.kernel.driver import KernelDriver

        return KernelDriver()
    assert name == "pyfuse3", name
    try:
        from ringfs.fuse.pyfuse3_driver import Pyfuse3Driver
    except ModuleNotFoundError as error:
        raise UserError(f"the pyfuse3 driver is not installed ({error}): run \"pip install 'ringfs[pyfuse3]'\"") from None
    return Pyfuse3Driver()
