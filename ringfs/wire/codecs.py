"""The functions that encode and decode one message class, written as source from its fields and compiled at import.

As dataclasses do: straight code per class costs a third of a loop over field checks, and attributes are on every hot path.
Which classes and tags there are is schema.py's business.
"""

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

from ringfs.base.errors import PeerBrokeProtocol


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


#: A field that holds any registered message without such a field of its own, encoded with its tag.
AnyMessage = Annotated[Any, "any message"]


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    """The compiled functions of one message class."""

    cls: type
    #: The message as [tag, field, …] and as [field, …].
    to_array: Callable[[Any], list[Any]]
    to_fields: Callable[[Any], list[Any]]
    #: The message from [field, …]; raises PeerBrokeProtocol for anything but a list of fields as declared.
    from_fields: Callable[[Any], Any]
    #: Whether it has a field of AnyMessage, which such a field cannot hold.
    holds_any: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Registry:
    """What a codec needs to know of other messages."""

    codec_of: Callable[[Any], Codec | None]
    to_array: Callable[[Any], list[Any]]
    from_inner_array: Callable[[Any], Any]


def make_codec(tag: int, cls: type, registry: Registry) -> Codec:
    """Compile the codec of a message class. A field of a type that cannot be bounded is an AssertionError."""
    hints = typing.get_type_hints(cls, include_extras=True)
    names = tuple(field.name for field in dataclasses.fields(cls))
    writer = _Writer(cls.__name__, registry)
    values = ", ".join(writer.encoded(hints[name], f"message.{name}") for name in names)
    for name in names:
        writer.write_check(hints[name], name, f"{cls.__name__}.{name}", 1)
    source = "\n".join(
        [
            "def to_array(message):",
            f"    return [{', '.join([str(tag), *([values] if names else [])])}]",
            "def to_fields(message):",
            f"    return [{values}]",
            "def from_fields(fields):",
            f"    if type(fields) is not list or len(fields) != {len(names)}:",
            f"        refuse_fields({cls.__name__!r}, {len(names)}, fields)",
            *([f"    {''.join(f'{name}, ' for name in names)} = fields"] if names else []),
            *writer.lines,
            f"    return cls({', '.join(names)})",
        ]
    )
    made: dict[str, Any] = {**writer.used, "cls": cls, "refuse": _refuse, "refuse_fields": _refuse_fields}
    exec(compile(source, f"<codec of {cls.__name__}>", "exec"), made)
    return Codec(cls, made["to_array"], made["to_fields"], made["from_fields"], AnyMessage in hints.values())


def _refuse(field: str, what: str) -> NoReturn:
    raise PeerBrokeProtocol(f"{field} is not {what}")


def _refuse_fields(name: str, count: int, fields: Any) -> NoReturn:
    if type(fields) is not list:
        raise PeerBrokeProtocol(f"{name} is not an array")
    raise PeerBrokeProtocol(f"{name} has {count} fields, not {len(fields)}")


class _Writer:
    """Lines of from_fields, and expressions for to_fields."""

    def __init__(self, cls_name: str, registry: Registry) -> None:
        self._cls_name = cls_name
        self._registry = registry
        self.lines: list[str] = []
        #: Functions of other messages that the source calls, by the names it calls them by.
        self.used: dict[str, Any] = {}

    def _use(self, function: Callable[..., Any]) -> str:
        name = f"function_{len(self.used)}"
        self.used[name] = function
        return name

    # --- encoding -------------------------------------------------------------------------------------------------------

    def encoded(self, hint: Any, value: str) -> str:
        """An expression for value, a field's value, in msgpack's types."""
        if hint == AnyMessage:
            return f"{self._use(self._registry.to_array)}({value})"
        origin = typing.get_origin(hint)
        if origin is Annotated:
            return self.encoded(typing.get_args(hint)[0], value)
        if origin is list:
            item = self.encoded(typing.get_args(hint)[0], "item")
            return value if item == "item" else f"[{item} for item in {value}]"
        if origin in (types.UnionType, typing.Union):
            some = self.encoded(_optional_of(hint), value)
            return value if some == value else f"(None if {value} is None else {some})"
        codec = self._registry.codec_of(hint)
        return value if codec is None else f"{self._use(codec.to_fields)}({value})"

    # --- decoding -------------------------------------------------------------------------------------------------------

    def write_check(self, hint: Any, name: str, label: str, depth: int) -> None:
        """Lines that check the variable name against hint, and make a message of it if it is one."""
        bound = None
        if typing.get_origin(hint) is Annotated and hint != AnyMessage:
            hint, bound = typing.get_args(hint)[:2]
        if typing.get_origin(hint) in (types.UnionType, typing.Union):
            self._line(depth, f"if {name} is not None:")
            self.write_check(_optional_of(hint), name, label, depth + 1)
        elif typing.get_origin(hint) is list:
            assert isinstance(bound, Sized), f"{label}: every list has a bound: Annotated[list[X], Sized(0, N)]"
            self._write_list_check(typing.get_args(hint)[0], bound, name, label, depth)
        elif hint is bool:
            self._refuse_if(depth, f"type({name}) is not bool", label, "a bool")
        elif hint is int:
            assert isinstance(bound, Between), f"{label}: every integer has bounds: Annotated[int, Between(0, N)]"
            what = f"an integer in {bound.low}..{bound.high}"
            self._refuse_if(depth, f"type({name}) is not int or not {bound.low} <= {name} <= {bound.high}", label, what)
        elif hint in (bytes, str):
            assert isinstance(bound, Sized), f"{label}: bytes and text have bounds: Annotated[bytes, Sized(0, N)]"
            what = f"{hint.__name__} of {bound.low}..{bound.high}"
            wrong = f"type({name}) is not {hint.__name__} or not {bound.low} <= len({name}) <= {bound.high}"
            self._refuse_if(depth, wrong, label, what)
        else:
            self._line(depth, f"{name} = {self._maker(hint, label)}({name})")

    def _write_list_check(self, inner: Any, bound: Sized, name: str, label: str, depth: int) -> None:
        what = f"a list of {bound.low}..{bound.high}"
        self._refuse_if(depth, f"type({name}) is not list or not {bound.low} <= len({name}) <= {bound.high}", label, what)
        if self._registry.codec_of(inner) is not None:
            self._line(depth, f"{name} = [{self._maker(inner, label)}(item) for item in {name}]")
        else:
            self._line(depth, f"for item in {name}:")
            self.write_check(inner, "item", f"{label}[]", depth + 1)

    def _maker(self, hint: Any, label: str) -> str:
        """The name of the function that makes a message of an array."""
        if hint == AnyMessage:
            return self._use(self._registry.from_inner_array)
        codec = self._registry.codec_of(hint)
        assert codec is not None, f"{label} cannot have the type {hint!r}"
        return self._use(codec.from_fields)

    def _refuse_if(self, depth: int, wrong: str, label: str, what: str) -> None:
        self._line(depth, f"if {wrong}:")
        self._line(depth + 1, f"refuse({label!r}, {what!r})")

    def _line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)


def _optional_of(hint: Any) -> Any:
    inner = [argument for argument in typing.get_args(hint) if argument is not type(None)]
    assert len(inner) == 1, "only X | None is a field type"
    return inner[0]
