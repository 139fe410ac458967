"""A hypothesis strategy for any registered message, made from its declaration."""

import dataclasses
import types
import typing
from typing import Annotated, Any

from hypothesis import strategies as st

import ringfs.wire.messages  # noqa: F401  (registers all)
from ringfs.wire.messages.common import Done, Refusal
from ringfs.wire.schema import AnyMessage, Between, Sized, registered

#: However much a field may hold, examples stay small.
_LENGTH_MAX = 12


def of_class(cls: type) -> st.SearchStrategy[Any]:
    """Instances of one message class."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return st.builds(cls, *[_of_hint(hints[field.name]) for field in dataclasses.fields(cls)])


def of_any() -> st.SearchStrategy[Any]:
    """Instances of all registered messages."""
    return st.sampled_from(sorted(registered().items())).flatmap(lambda item: of_class(item[1]))


def _of_hint(hint: Any) -> st.SearchStrategy[Any]:
    bound: Any = None
    if hint == AnyMessage:
        return st.one_of(of_class(Done), of_class(Refusal))
    if typing.get_origin(hint) is Annotated:
        hint, bound = typing.get_args(hint)[:2]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return st.none() | _of_hint(next(argument for argument in arguments if argument is not type(None)))
    if hint is int:
        assert isinstance(bound, Between)
        return st.integers(bound.low, bound.high)
    if hint is bool:
        return st.booleans()
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return of_class(hint)
    assert isinstance(bound, Sized)
    high = max(bound.low, min(bound.high, _LENGTH_MAX))
    if origin is list:
        return st.lists(_of_hint(arguments[0]), min_size=bound.low, max_size=min(high, max(bound.low, 3)))
    return (st.binary if hint is bytes else st.text)(min_size=bound.low, max_size=high)
