"""Values on the command line: sizes ("10G", "1.5 TiB") and durations ("90m", "2h", "1d12h")."""

import re
from typing import Any

import click

from ringfs.base.limits import QUOTA_MAX

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGTP]?)(?:i?B)?", re.IGNORECASE)
_UNITS = ("", "K", "M", "G", "T", "P")
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
_UNITS_S = (86400, 3600, 60, 1)
#: Nobody means more than a year; and it fits a message.
_DURATION_MAX_S = 366 * 86400


class Size(click.ParamType[int]):
    """Bytes: 10G, 1.5 TiB, 4096; units are powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """As click has it."""
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(value)
        size_bytes = round(float(found[1]) * 1024 ** _UNITS.index(found[2].upper())) if found else QUOTA_MAX + 1
        if size_bytes > QUOTA_MAX:
            self.fail(f"{value!r} is no size: give bytes, or a number with K, M, G, T or P", param, ctx)
        return size_bytes


class Duration(click.ParamType[int]):
    """Whole seconds, at least one: 90m, 2h, 1d12h, 45."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """As click has it."""
        if isinstance(value, int):
            return value
        found = _DURATION.fullmatch(value.replace(" ", "").lower())
        counts = found.groups(default="0") if found else ("0",) * len(_UNITS_S)
        duration_s = sum(int(count) * unit_s for count, unit_s in zip(counts, _UNITS_S, strict=True))
        if not 0 < duration_s <= _DURATION_MAX_S:
            self.fail(f"{value!r} is no duration: write 90m, 2h, 1d12h, at most 366d", param, ctx)
        return duration_s
