"""INIT of kernels that are not this machine's."""

import struct

import pytest

from ringfs.base.errors import UserError
from ringfs.fuse.kernel import wire
from ringfs.fuse.kernel.negotiation import WANTED, negotiate
from ringfs.fuse.kernel.requests import Request


def init(*fields: int) -> Request:
    """An INIT with so many fields."""
    return Request(2, 26, 0, 0, 0, 0, struct.pack(f"={len(fields)}I", *fields), memoryview(b""))


@pytest.mark.parametrize("request_", [init(7, 30, 0, 0), init(6, 99, 0, 0), init(7, 31), init()])
def test_too_old(request_: Request) -> None:
    """One line that says what is needed."""
    with pytest.raises(UserError, match=r"Linux 5\.4"):
        negotiate(request_)


def test_only_what_is_offered() -> None:
    """Linux 5.4 sends a shorter INIT and knows no second flags; what it does not offer is not asked for."""
    agreement = negotiate(init(7, 31, 131072, 0xFFFFFFFF & ~wire.INIT_INIT_EXT))
    assert agreement is not None
    assert agreement.minor == 31
    assert agreement.flags == WANTED & 0xFFFFFFFF & ~wire.INIT_INIT_EXT
    assert not agreement.can_expire_names
    assert agreement.tells_killed_privileges


def test_a_minor_from_the_future() -> None:
    """The older of both is spoken."""
    agreement = negotiate(init(7, 99, 131072, wire.INIT_INIT_EXT, 0xFFFFFFFF))
    assert agreement is not None
    assert agreement.minor == wire.MINOR_MAX
    assert agreement.flags == wire.INIT_INIT_EXT | wire.INIT_DIRECT_IO_ALLOW_MMAP


def test_no_writeback_cache() -> None:
    """It is offered by every kernel, and never asked for."""
    assert not WANTED & 1 << 16
