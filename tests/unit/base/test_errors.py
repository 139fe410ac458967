"""The table of refusals is sound: numbers unique and in their ranges, errnos real, texts for people."""

import errno

import pytest

from ringfs.base.errors import BY_NUMBER, Code, ConnectionLost, Refused, Retry, again, kept


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


class _Deaf(Refused):
    """Made in another way than what it is made of."""

    def __init__(self) -> None:
        super().__init__(Code.IO, "deaf")
        self.since_s = 5


def _raise(error: Exception) -> None:
    try:
        raise OSError
    except OSError as cause:
        raise error from cause


@pytest.mark.parametrize("error", [Refused(Code.NO_SPACE, "data2"), ConnectionLost("gone"), _Deaf()])
def test_errors_as_data(error: Exception) -> None:
    """What is kept has no frames, and what is raised of it is another one that says the same."""
    with pytest.raises(type(error)):
        _raise(error)
    assert None not in (error.__traceback__, error.__cause__)
    assert kept(error) is error
    assert {error.__traceback__, error.__cause__, error.__context__} == {None}
    with pytest.raises(type(error)) as raised:
        raise again(error)
    assert raised.value is not error
    assert error.__traceback__ is None
    assert (str(raised.value), raised.value.args, vars(raised.value)) == (str(error), error.args, vars(error))
