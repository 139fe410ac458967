"""Refusals as tests expect them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ringfs.base.errors import Code, Refused


@contextmanager
def refused(code: Code) -> Iterator[None]:
    """What is inside must be refused with that code."""
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.code is code, f"refused {caught.value.code.name} ({caught.value.detail}), not {code.name}"
