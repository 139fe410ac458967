"""Limits fit what they are used for; relations between limits are asserted where they are defined."""

import struct

from ringfs.base import limits


def test_every_limit_is_a_positive_number() -> None:
    """No limit is by accident zero or a text."""
    named = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert len(named) > 20
    for name, value in named.items():
        assert isinstance(value, int | float), name
        assert value > 0, name


def test_frame_lengths_fit_their_fields() -> None:
    """Body and payload lengths are 32 bits on the wire."""
    struct.pack(">II", limits.FRAME_BODY_BYTES_MAX, limits.FRAME_PAYLOAD_BYTES_MAX)


def test_blocks_of_an_object_fit_a_block_number() -> None:
    """Block numbers are 16 bits in data messages."""
    assert limits.OBJECT_BYTES_MAX // limits.BLOCK_BYTES < 1 << 16
