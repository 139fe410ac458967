"""The table of refusals is sound: numbers unique and in their ranges, errnos real, texts for people."""

import errno

import pytest

from ringfs.base.errors import BY_NUMBER, Code, Refused, Retry


def test_numbers_are_unique_and_found_again() -> None:
    """Every code is found by its wire number, which fits 16 bits."""
    assert len({code.number for code in Code}) == len(Code)
    for code in Code:
        assert BY_NUMBER[code.number] is code
        assert 0 < code.number < 1 << 16


def test_numbers_never_change() -> None:
    """Numbers that were ever sent keep their meaning: a new code gets a new number."""
    assert [(code.number, code.name) for code in (Code.NOT_FOUND, Code.NO_OBJECT, Code.NO_SESSION, Code.NOT_HELD, Code.IO)] == [
        (101, "NOT_FOUND"),
        (120, "NO_OBJECT"),
        (201, "NO_SESSION"),
        (301, "NOT_HELD"),
        (499, "IO"),
    ]


@pytest.mark.parametrize("code", Code)
def test_rows(code: Code) -> None:
    """Each row has an errno of this system, a retry rule, and a text that ends a sentence."""
    assert code.errno in errno.errorcode
    assert isinstance(code.retry, Retry)
    assert code.value.text
    assert not code.value.text.endswith(".")


def test_what_a_refusal_says() -> None:
    """Detail first, then what the table says."""
    assert str(Refused(Code.NOT_FOUND)) == "no such file or directory"
    assert str(Refused(Code.NOT_FOUND, "a/b")) == "a/b: no such file or directory"
