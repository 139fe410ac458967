"""TOML files read key by key, with mistakes named by file, line and key. Which keys there are is config.py's business."""

import difflib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from ringfs.base.errors import UserError

T = TypeVar("T")
#: Turns a TOML value into what is wanted; ValueError says what is wrong with it ("must be …").
Convert = Callable[[Any], T]

_HEADER = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_-]+)\s*\]")
_KEY = re.compile(r"""\s*["']?([A-Za-z0-9_-]+)["']?\s*[=.]""")

#: A table (and its index, for one of an array of tables), or ("", 0) for what comes before all tables.
Place = tuple[str, int]
_TOP: Place = ("", 0)


class Table:
    """One table of a file; every key in it is to be taken once."""

    def __init__(self, path: Path, lines: "_Lines", place: Place, values: Any) -> None:
        self._path = path
        self._lines = lines
        self._place = place
        self._left: dict[str, Any] = values

    def take(self, key: str, convert: Convert[T]) -> T:
        """The value of a key that must be there. Raises UserError."""
        if key not in self._left:
            for close in difflib.get_close_matches(key, self._left, 1):
                self.mistake(close, f"is not known here: is {key} meant?")
            self.mistake(None, f"{key} is missing")
        try:
            return convert(self._left.pop(key))
        except ValueError as error:
            self.mistake(key, str(error))

    def take_or(self, key: str, convert: Convert[T], default: T) -> T:
        """The value of a key, or default. Raises UserError."""
        return self.take(key, convert) if self.has(key) else default

    def has(self, key: str) -> bool:
        """Whether a key, or a table of that name, is there and not taken yet."""
        return key in self._left

    def table(self, name: str) -> "Table":
        """The table of that name, empty if there is none."""
        values = self._left.pop(name, {})
        if not isinstance(values, dict):
            self.mistake(name, f"must be a table: [{name}]")
        return Table(self._path, self._lines, (name, 0), values)

    def tables(self, name: str) -> "list[Table]":
        """The array of tables of that name, empty if there is none."""
        rows = self._left.pop(name, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self.mistake(name, f"must be an array of tables: [[{name}]]")
        return [Table(self._path, self._lines, (name, index), row) for index, row in enumerate(rows)]

    def end(self) -> None:
        """Every key was taken. Raises UserError for one that is not known."""
        for key in self._left:
            self.mistake(key, "is not known here")

    def mistake(self, key: str | None, text: str) -> NoReturn:
        """Raise the UserError for a key of this table, or for the table itself."""
        table = f"[{self._place[0]}] " if self._place != _TOP else ""
        raise UserError(f"{self._path}, line {self._lines.of(self._place, key)}: {table}{key + ' ' if key else ''}{text}")


class _Lines:
    """Where keys stand. Found by looking at the text: the parser of the standard library does not tell."""

    def __init__(self, text: str) -> None:
        self._found: dict[tuple[Place, str | None], int] = {(_TOP, None): 1}
        counts: dict[str, int] = {}
        place = _TOP
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                name = header[2]
                place = (name, counts.get(name, 0) if header[1] == "[[" else 0)
                counts[name] = place[1] + 1
                self._found.setdefault((place, None), number)
                self._found.setdefault((_TOP, name), number)
            elif key := _KEY.match(line):
                self._found.setdefault((place, key[1]), number)

    def of(self, place: Place, key: str | None) -> int:
        """The line of a key, else of its table, else the first."""
        return self._found.get((place, key)) or self._found.get((place, None), 1)


def read_tables(path: Path) -> Table:
    """The top of a TOML file. Raises UserError if it cannot be read or is not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    return Table(path, _Lines(text), _TOP, values)
