"""Addresses as text: what is one, what is not, and back."""

import pytest

from ringfs.base.address import join_address, split_address
from ringfs.base.errors import UserError


@pytest.mark.parametrize(
    ("text", "parts"),
    [("localhost:7000", ("localhost", 7000)), ("10.0.0.1:0", ("10.0.0.1", 0)), ("[::1]:65535", ("::1", 65535))],
)
def test_split_and_join(text: str, parts: tuple[str, int]) -> None:
    """Host and port, IPv6 in brackets."""
    assert split_address(text) == parts
    assert join_address(*parts) == text


@pytest.mark.parametrize("text", ["", "host", ":7000", "host:", "host:x", "host:70000", "host:-1", "::1:7000", "[]:7", "host:٣"])
def test_not_an_address(text: str) -> None:
    """A person is told what to write."""
    with pytest.raises(UserError, match="write host:port"):
        split_address(text)
