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
from ringfs.wire.codecs import AnyMessage, Between, Codec, Registry, Sized, make_codec
from ringfs.wire.packing import pack, unpack

__all__ = [
    "I64",
    "U8",
    "U16",
    "U32",
    "U64",
    "AnyMessage",
    "Between",
    "Blob",
    "Hash",
    "Name",
    "Sized",
    "Target",
    "Text",
    "XattrName",
    "XattrValue",
    "decode",
    "encode",
    "from_array",
    "message",
    "registered",
    "to_array",
]


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


M = TypeVar("M")

_BY_TAG: dict[int, Codec] = {}
_BY_CLASS: dict[Any, Codec] = {}


@dataclass_transform()
def message(tag: int) -> Callable[[type[M]], type[M]]:
    """Declare a message class with its wire tag (unique, never reused)."""

    def declare(cls: type[M]) -> type[M]:
        made = dataclasses.dataclass(slots=True)(cls)
        assert tag not in _BY_TAG, f"tag {tag:#06x} is taken by {_BY_TAG[tag].cls.__name__}"
        _BY_TAG[tag] = _BY_CLASS[made] = make_codec(tag, made, _REGISTRY)
        return made

    return declare


def registered() -> dict[int, type]:
    """All declared messages by tag."""
    return {tag: codec.cls for tag, codec in _BY_TAG.items()}


def to_array(value: Any) -> list[Any]:
    """[tag, field, …] as msgpack takes it."""
    return _BY_CLASS[type(value)].to_array(value)


def from_array(array: Any) -> Any:
    """The message that an unpacked array stands for. Raises PeerBrokeProtocol."""
    return _codec_for(array).from_fields(array[1:])


def encode(value: Any) -> bytes:
    """The bytes of a message."""
    return pack(_BY_CLASS[type(value)].to_array(value))


def decode(data: bytes | memoryview) -> Any:
    """The message that data holds. Raises PeerBrokeProtocol."""
    return from_array(unpack(data))


def _codec_for(array: Any) -> Codec:
    if type(array) is not list or not array or type(array[0]) is not int:
        raise PeerBrokeProtocol("a message is an array that begins with its tag")
    codec = _BY_TAG.get(array[0])
    if codec is None:
        raise PeerBrokeProtocol(f"unknown message {array[0]:#x}")
    return codec


def _from_inner_array(array: Any) -> Any:
    """The message under an AnyMessage field. One that has such a field itself is refused: nesting has an end."""
    codec = _codec_for(array)
    if codec.holds_any:
        raise PeerBrokeProtocol(f"{codec.cls.__name__} inside of another message")
    return codec.from_fields(array[1:])


_REGISTRY = Registry(_BY_CLASS.get, to_array, _from_inner_array)
