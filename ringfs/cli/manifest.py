"""Lists of files with their BLAKE3, as b3sum(1) writes and checks them: a line "‹64 hex digits›  ‹path›" for each. Pure.

A path with a backslash or a newline is written with these as \\\\ and \\n, and its line begins with a backslash.
"""

import os
import re
from collections.abc import Iterable

from ringfs.base.errors import UserError

_LINE = re.compile(rb"(\\?)([0-9a-f]{64})  (.+)", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.?)", re.DOTALL)
_MEANING = {b"\\": b"\\", b"n": b"\n"}


def pack_line(path: str, digest: bytes) -> bytes:
    """The line of a file, with its newline; digest: 32 bytes."""
    escaped = escape(path)
    return os.fsencode(("" if escaped == path else "\\") + f"{digest.hex()}  {escaped}\n")


def escape(path: str) -> str:
    """The path on one line."""
    return path.replace("\\", "\\\\").replace("\n", "\\n")


def parse_lines(lines: Iterable[bytes], source: str) -> dict[str, bytes]:
    """Digests by path. Raises UserError, naming source and line, for whatever is no such line or says a path twice."""
    found: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        matched = _LINE.fullmatch(line.removesuffix(b"\n"))
        path = None if matched is None else _path(matched[3], is_escaped=bool(matched[1]))
        if matched is None or path is None:
            raise UserError(f"{source}, line {number}: is not '‹BLAKE3›  ‹path›', as b3sum writes it")
        if path in found:
            raise UserError(f"{source}, line {number}: {path} is there twice")
        found[path] = bytes.fromhex(matched[2].decode())
    return found


def _path(name: bytes, *, is_escaped: bool) -> str | None:
    if not is_escaped:
        return os.fsdecode(name)
    if any(each not in _MEANING for each in _ESCAPED.findall(name)):
        return None
    return os.fsdecode(_ESCAPED.sub(lambda found: _MEANING[found[1]], name))
