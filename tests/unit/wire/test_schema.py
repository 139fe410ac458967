"""Declared messages: arity, types and limits are checked, whatever arrives; every message comes back as it went."""

import contextlib
from typing import Annotated, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ringfs.base.errors import PeerBrokeProtocol
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.session import Query
from ringfs.wire.packing import pack, unpack
from ringfs.wire.schema import (
    I64,
    U8,
    U16,
    AnyMessage,
    Blob,
    Hash,
    Sized,
    Text,
    decode,
    encode,
    from_array,
    message,
    registered,
    to_array,
)
from tests.support import messages


@message(0x7F01)
class Inner:
    """A message inside of another."""

    number: U8


@message(0x7F02)
class Outer:
    """One field of each kind."""

    small: U16
    signed: I64
    flag: bool
    text: Text
    blob: Blob
    hash: Hash
    inner: Inner
    maybe: Inner | None
    numbers: Annotated[list[U8], Sized(1, 3)]
    inners: Annotated[list[Inner], Sized(0, 3)]
    any: AnyMessage


GOOD = Outer(1, -1, True, "é", b"\x00", bytes(20), Inner(1), None, [1, 2], [Inner(3)], Inner(4))
GOOD_ARRAY = [0x7F02, 1, -1, True, "é", b"\x00", bytes(20), [1], None, [1, 2], [[3]], [0x7F01, 4]]


def test_wire_form() -> None:
    """[tag, field, …]; a message in a field without its tag, under AnyMessage with it."""
    assert to_array(GOOD) == GOOD_ARRAY
    assert from_array(GOOD_ARRAY) == GOOD
    assert decode(encode(GOOD)) == GOOD
    assert decode(memoryview(encode(GOOD))) == GOOD


@pytest.mark.parametrize(
    ("index", "value", "match"),
    [
        (1, -1, "Outer.small is not an integer in 0..65535"),
        (1, 65536, "integer in 0..65535"),
        (1, True, "integer"),
        (1, 1.0, "integer"),
        (1, None, "integer"),
        (2, 1 << 63, "integer"),
        (3, 1, "bool"),
        (4, b"x", "str"),
        (4, "x" * 4097, "str of 0..4096"),
        (5, "x", "bytes"),
        (6, bytes(19), "bytes of 20..20"),
        (6, bytes(21), "bytes of 20..20"),
        (7, None, "Inner is not an array"),
        (7, [], "Inner has 1 fields, not 0"),
        (7, [1, 2], "Inner has 1 fields, not 2"),
        (7, [256], "Inner.number is not an integer in 0..255"),
        (8, 1, "Inner is not an array"),
        (9, [], "list of 1..3"),
        (9, [1, 2, 3, 4], "list of 1..3"),
        (9, [256], r"Outer.numbers\[\] is not an integer"),
        (9, {}, "list"),
        (10, [1], "array"),
        (11, [0x7FFF], "unknown message 0x7fff"),
        (11, [], "begins with its tag"),
        (11, 4, "begins with its tag"),
        (0, 0xFFFF, "unknown message"),
        (0, "x", "begins with its tag"),
        (0, True, "begins with its tag"),
    ],
)
def test_refusals(index: int, value: Any, match: str) -> None:
    """Wrong type, wrong size, wrong number of fields: PeerBrokeProtocol says what."""
    with pytest.raises(PeerBrokeProtocol, match=match):
        decode(pack([*GOOD_ARRAY[:index], value, *GOOD_ARRAY[index + 1 :]]))


@pytest.mark.parametrize("count", [1, 2, len(GOOD_ARRAY) - 1])
def test_too_few_and_too_many_fields(count: int) -> None:
    """Exactly the declared number of fields."""
    with pytest.raises(PeerBrokeProtocol, match=rf"Outer has 11 fields, not {count - 1}"):
        from_array(GOOD_ARRAY[:count])
    with pytest.raises(PeerBrokeProtocol, match="Outer has 11 fields, not 12"):
        from_array([*GOOD_ARRAY, 1])


@pytest.mark.parametrize("hint", [int, bytes, list[int], float, Annotated[list[float], Sized(0, 1)], U8 | Blob | None])
def test_only_bounded_fields_can_be_declared(hint: Any) -> None:
    """A field without a bound, or of a type that has none, does not get past import."""
    with pytest.raises(AssertionError):
        message(0x7F03)(type("Bad", (), {"__annotations__": {"field": hint}}))


def test_a_tag_is_used_once() -> None:
    """A second message with a tag does not get past import."""
    with pytest.raises(AssertionError, match=r"tag 0x7f01 is taken by Inner"):

        @message(0x7F01)
        class Another:
            number: U8


def test_tag_ranges() -> None:
    """Tags are in the ranges of docs/formats/wire.md, each in its conversation's module."""
    ranges = {
        "common": 0x00,
        "namespace": 0x01,
        "queries": 0x01,
        "content": 0x01,
        "locks": 0x01,
        "sharing": 0x01,
        "quota": 0x01,
        "heal": 0x06,
        "files": 0x01,
        "session": 0x02,
        "cluster": 0x03,
        "data": 0x04,
        "marks": 0x05,
        "system": 0x05,
        "machine": 0x05,
    }
    for tag, cls in registered().items():
        if cls.__module__.startswith("ringfs."):
            assert tag >> 8 == ranges[cls.__module__.rpartition(".")[2]], f"{cls.__name__} {tag:#06x}"


@settings(deadline=None, max_examples=300)
@given(messages.of_any())
def test_every_message_comes_back(value: Any) -> None:
    """All registered messages survive the wire, as the same class with the same fields."""
    got = decode(encode(value))
    assert type(got) is type(value)
    assert got == value


@pytest.mark.parametrize("cls", [cls for _, cls in sorted(registered().items())], ids=lambda cls: cls.__name__)
def test_each_message_can_be_made(cls: type) -> None:
    """No message has a field that cannot be decoded from what it is encoded to (one example each, none left to chance)."""

    @settings(database=None, deadline=None, max_examples=3)
    @given(messages.of_class(cls))
    def check(value: Any) -> None:
        assert decode(encode(value)) == value

    check()


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(max_size=5) | st.binary(max_size=25),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
@example(b"\xc1")
@example(b"\x90" * 2000)
@example(b"\x91" * 100_000)
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\xd4\x01\x01")
@example(b"\xd7\xff" + bytes(8))
@example(b"\x81\x90\x01")
def test_any_bytes(data: bytes) -> None:
    """Decoding arbitrary bytes gives a message or PeerBrokeProtocol, never anything else."""
    with contextlib.suppress(PeerBrokeProtocol):
        assert type(decode(data)) in registered().values()


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(registered())), json_like)
def test_any_values(tag: int, fields: Any) -> None:
    """The same for well-formed msgpack with a known tag and any fields."""
    with contextlib.suppress(PeerBrokeProtocol):
        assert type(decode(pack([tag, *(fields if isinstance(fields, list) else [fields])]))) is registered()[tag]


@settings(deadline=None, max_examples=300)
@given(messages.of_any(), st.data())
def test_any_damage(value: Any, data: st.DataObject) -> None:
    """The same for correct bytes with a few of them changed."""
    wire = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PeerBrokeProtocol):
        decode(bytes(wire))


@given(json_like)
def test_what_unpack_gives_can_be_packed(value: Any) -> None:
    """unpack turns bytes into what pack took."""
    assert repr(unpack(pack(value))) == repr(value)


@pytest.mark.parametrize("depth", [1, 100, 500, 900, 100_000])
def test_nesting_has_an_end(depth: int) -> None:
    """A message with a message of any kind in it cannot be in such a message itself, so nothing is ever deep."""
    wire = b"\x93\xcd\x02\x08\x01" * depth + b"\x91\x01"
    if depth == 1:
        assert decode(wire) == Query(1, Done())
    else:
        with pytest.raises(PeerBrokeProtocol, match=r"Query inside of another message|malformed"):
            decode(wire)


def test_trailing_bytes() -> None:
    """One message, and nothing behind it."""
    with pytest.raises(PeerBrokeProtocol):
        decode(encode(GOOD) + b"\x00")
    with pytest.raises(PeerBrokeProtocol):
        decode(encode(GOOD)[:-1])
