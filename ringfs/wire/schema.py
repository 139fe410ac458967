"""How a message is declared: a class with a tag and typed fields gives encoding, strict decoding and a repr.

    @message(0x0101)
    class Lookup:
        parent: U64
        name: Name

On the wire a message is the msgpack array [tag, field, …] in declared order; a message as a field of another is the
array without tag, except under AnyMessage. Decoding checks arity, type and limit of every field and raises
PeerBrokeProtocol; a peer's nonsense never reaches a handler.
"""

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, dataclass_transform

from ringfs.base.errors import PeerBrokeProtocol
from ringfs.base.limits import (
    FRAME_BODY_BYTES_MAX,
    HASH_BYTES,
    NAME_BYTES_MAX,
    SYMLINK_BYTES_MAX,
    XATTR_NAME_BYTES_MAX,
    XATTR_VALUE_BYTES_MAX,
)
from ringfs.wire.packing import pack, unpack


@dataclasses.dataclass(frozen=True, slots=True)
class Between:
    """An integer with inclusive bounds."""

    low: int
    high: int


@dataclasses.dataclass(frozen=True, slots=True)
class Sized:
    """Bytes, text or a list with inclusive bounds on its length."""

    low: int
    high: int


U8 = Annotated[int, Between(0, 0xFF)]
U16 = Annotated[int, Between(0, 0xFFFF)]
U32 = Annotated[int, Between(0, 0xFFFF_FFFF)]
U64 = Annotated[int, Between(0, 0xFFFF_FFFF_FFFF_FFFF)]
I64 = Annotated[int, Between(-(1 << 63), (1 << 63) - 1)]
#: One path component: what it may hold is the namespace's business (NAME_TOO_LONG, INVALID), here is only a sane bound.
Name = Annotated[bytes, Sized(0, 16 * NAME_BYTES_MAX)]
Target = Annotated[bytes, Sized(0, 4 * SYMLINK_BYTES_MAX)]
XattrName = Annotated[bytes, Sized(0, 16 * XATTR_NAME_BYTES_MAX)]
XattrValue = Annotated[bytes, Sized(0, 2 * XATTR_VALUE_BYTES_MAX)]
Hash = Annotated[bytes, Sized(HASH_BYTES, HASH_BYTES)]
Blob = Annotated[bytes, Sized(0, FRAME_BODY_BYTES_MAX)]
Text = Annotated[str, Sized(0, 4096)]


class AnyMessage:
    """Field marker: any registered message, encoded with its tag."""


Check = Callable[[Any], Any]
M = TypeVar("M")

_BY_TAG: dict[int, "_Plan"] = {}
_BY_CLASS: dict[type, "_Plan"] = {}


class _Plan:
    """What encoding and decoding of one message class needs, computed at import."""

    __slots__ = ("checks", "cls", "flat", "names", "tag", "to_wire")

    def __init__(self, tag: int, cls: type) -> None:
        self.tag = tag
        self.cls = cls
        hints = typing.get_type_hints(cls, include_extras=True)
        self.names = tuple(field.name for field in dataclasses.fields(cls))
        self.checks: tuple[Check, ...] = tuple(_decoder(hints[name]) for name in self.names)
        self.to_wire: tuple[Check | None, ...] = tuple(_encoder(hints[name]) for name in self.names)
        self.flat = all(convert is None for convert in self.to_wire)

    def fields_of(self, value: Any) -> list[Any]:
        if self.flat:
            return [getattr(value, name) for name in self.names]
        return [
            getattr(value, name) if convert is None else convert(getattr(value, name))
            for name, convert in zip(self.names, self.to_wire, strict=True)
        ]

    def build(self, fields: list[Any]) -> Any:
        if len(fields) != len(self.checks):
            raise PeerBrokeProtocol(f"{self.cls.__name__} has {len(self.checks)} fields, not {len(fields)}")
        try:
            return self.cls(*[check(field) for check, field in zip(self.checks, fields, strict=True)])
        except PeerBrokeProtocol as error:
            raise PeerBrokeProtocol(f"{self.cls.__name__}: {error}") from None


@dataclass_transform()
def message(tag: int) -> Callable[[type[M]], type[M]]:
    """Declare a message class with its wire tag (unique, never reused)."""

    def declare(cls: type[M]) -> type[M]:
        made = dataclasses.dataclass(slots=True)(cls)
        assert tag not in _BY_TAG, f"tag {tag:#06x} is taken by {_BY_TAG[tag].cls.__name__}"
        plan = _Plan(tag, made)
        _BY_TAG[tag] = _BY_CLASS[made] = plan
        return made

    return declare


def registered() -> dict[int, type]:
    """All declared messages by tag."""
    return {tag: plan.cls for tag, plan in _BY_TAG.items()}


def to_array(value: Any) -> list[Any]:
    """[tag, field, …] as msgpack takes it."""
    plan = _BY_CLASS[type(value)]
    return [plan.tag, *plan.fields_of(value)]


def from_array(array: Any) -> Any:
    """The message that an unpacked array stands for. Raises PeerBrokeProtocol."""
    if type(array) is not list or not array or type(array[0]) is not int:
        raise PeerBrokeProtocol("a message is an array that begins with its tag")
    plan = _BY_TAG.get(array[0])
    if plan is None:
        raise PeerBrokeProtocol(f"unknown message {array[0]:#x}")
    return plan.build(array[1:])


def encode(value: Any) -> bytes:
    """The bytes of a message."""
    return pack(to_array(value))


def decode(data: bytes | memoryview) -> Any:
    """The message that data holds. Raises PeerBrokeProtocol."""
    return from_array(unpack(data))


def _encoder(hint: Any) -> Check | None:
    """How a field becomes msgpack's types, or None if it is one of them already."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _encoder(typing.get_args(hint)[0])
    if hint is AnyMessage:
        return to_array
    if origin is list:
        return _each(_encoder(typing.get_args(hint)[0]))
    if origin in (types.UnionType, typing.Union):
        return _unless_none(_encoder(_optional_of(hint)))
    plan = _BY_CLASS.get(hint)
    return None if plan is None else plan.fields_of


def _each(inner: Check | None) -> Check | None:
    return None if inner is None else lambda values: [inner(value) for value in values]


def _unless_none(inner: Check | None) -> Check | None:
    return None if inner is None else lambda value: None if value is None else inner(value)


def _decoder(hint: Any) -> Check:
    """The check (and conversion) of one field."""
    origin = typing.get_origin(hint)
    bound = None
    if origin is Annotated:
        base, *marks = typing.get_args(hint)
        bound = marks[0]
        hint, origin = base, typing.get_origin(base)
    if hint is AnyMessage:
        return from_array
    if origin in (types.UnionType, typing.Union):
        inner = _decoder(_optional_of(hint))
        return lambda value: None if value is None else inner(value)
    if origin is list:
        return _list_decoder(_decoder(typing.get_args(hint)[0]), bound)
    if hint is int and isinstance(bound, Between):
        return _int_decoder(bound.low, bound.high)
    if hint in (bytes, str) and isinstance(bound, Sized):
        return _sized_decoder(hint, bound.low, bound.high)
    if hint is bool:
        return _bool
    plan = _BY_CLASS.get(hint)
    assert plan is not None, f"a field cannot have the type {hint!r}"
    return _nested_decoder(plan)


def _optional_of(hint: Any) -> Any:
    inner = [arg for arg in typing.get_args(hint) if arg is not type(None)]
    assert len(inner) == 1, "only X | None is a field type"
    return inner[0]


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise PeerBrokeProtocol("not a bool")
    return value


def _int_decoder(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise PeerBrokeProtocol(f"not an integer in {low}..{high}")
        return value

    return check


def _sized_decoder(kind: type, low: int, high: int) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not kind or not low <= len(value) <= high:  # type: ignore[arg-type]
            raise PeerBrokeProtocol(f"not {kind.__name__} of {low}..{high}")
        return value

    return check


def _list_decoder(inner: Check, bound: Any) -> Check:
    assert isinstance(bound, Sized), "every list field has a bound: Annotated[list[X], Sized(0, N)]"
    low, high = bound.low, bound.high

    def check(value: Any) -> list[Any]:
        if type(value) is not list or not low <= len(value) <= high:
            raise PeerBrokeProtocol(f"not a list of {low}..{high}")
        return [inner(item) for item in value]

    return check


def _nested_decoder(plan: _Plan) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not list:
            raise PeerBrokeProtocol("not an array")
        return plan.build(value)

    return check
