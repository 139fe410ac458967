"""Changing the text of a cluster.toml: a [[data]] section more, or one less; everything else stays as people wrote it.

The changed file is read before it takes the old one's place: what could not be read, or says anything else, is refused.
"""

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ringfs.base.config import ClusterConfig, load_config
from ringfs.base.errors import UserError

_HEADER = re.compile(r"\s*\[")
_DATA = re.compile(r"\s*\[\[\s*data\s*\]\]")


def data_section(
    name: str,
    address: str,
    disks: Sequence[str],
    domain: str | None = None,
    weight: int | None = None,
    advertise: str | None = None,
) -> str:
    """A data node's section, with one disk or several; what is None is left to the default."""
    where = f"disk = {_quoted(disks[0])}" if len(disks) == 1 else f"disks = [{', '.join(map(_quoted, disks))}]"
    lines = ["", "[[data]]", f"name = {_quoted(name)}", f"address = {_quoted(address)}", where]
    lines += [] if advertise is None else [f"advertise = {_quoted(advertise)}"]
    lines += [] if domain is None else [f"domain = {_quoted(domain)}"]
    lines += [] if weight is None else [f"weight = {weight}"]
    return "\n".join(lines) + "\n"


def add_section(path: Path, section: str, check: Callable[[ClusterConfig], None] = lambda _changed: None) -> ClusterConfig:
    """Append it, if the whole can be read and `check` (which raises UserError) has no objection. The changed configuration."""
    text = path.read_text(encoding="utf-8")
    return _exchange(path, text + ("" if text.endswith("\n") else "\n") + section, check)


def remove_data(path: Path, name: str) -> ClusterConfig:
    """Take out the section of the data node of that name. Raises UserError, also if it is the last one."""
    old = load_config(path)
    gone = old.disks_of(name)
    wanted = tuple(row for row in old.data if row not in gone)

    def check(changed: ClusterConfig) -> None:
        # What goes by the number of nodes where nothing is said may be something else now, and matters at the first start only.
        rest = replace(changed, path=path, data=(), default_class="")
        if rest != replace(old, data=(), default_class="") or changed.data != wanted:
            raise UserError(f"{path}: the section of {name} is written in a way that only people can take out")

    index = list(dict.fromkeys(row.process for row in old.data)).index(gone[0].process)
    return _exchange(path, _without(path.read_text(encoding="utf-8"), index), check)


def _without(text: str, index: int) -> str:
    """The text without its index-th [[data]] section, and the comment right above that; the same text if it has no such section."""
    lines = text.splitlines(keepends=True)
    headers = [number for number, line in enumerate(lines) if _HEADER.match(line)]
    mine = [number for number in headers if _DATA.match(lines[number])][index : index + 1]
    if not mine:
        return text
    start = mine[0]
    stop = next((number for number in headers if number > start), len(lines))
    while start and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    while stop > mine[0] + 1 and lines[stop - 1].lstrip()[:1] in ("", "#"):
        stop -= 1
    return "".join(lines[:start]).rstrip("\n") + "\n" + "".join(lines[stop:])


def _exchange(path: Path, text: str, check: Callable[[ClusterConfig], None]) -> ClusterConfig:
    """All of it or nothing, also after a crash; owner and mode stay."""
    new = path.with_name(path.name + ".new")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        check(_read(new, path))
        os.chmod(new, path.stat().st_mode & 0o7777)
        new.replace(path)
    except OSError as error:
        raise UserError(f"cannot change {path}: {error.strerror}") from error
    finally:
        new.unlink(missing_ok=True)
    return load_config(path)


def _read(new: Path, path: Path) -> ClusterConfig:
    try:
        return load_config(new)
    except UserError as error:
        raise UserError(str(error).replace(str(new), str(path))) from None


def _quoted(text: str) -> str:
    """A TOML string; JSON's are."""
    return json.dumps(text)
