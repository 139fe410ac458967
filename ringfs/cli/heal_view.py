"""What healing and scrubbing look like: sums, JSON, tables. Pure. Asking: heal.py, scrub.py, status.py; waiting: healing.py."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ringfs.cli.output import age_text, size_text, table
from ringfs.wire.messages.heal import HealReport, HealStatus

#: By the number of a node.
Names = Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Sums:
    """Over all nodes: what is to be done, how fast it is done, and what is in danger."""

    queued: int
    queued_bytes: int
    rate_bytes_per_s: int
    endangered: int
    unhealable: int
    exposed: int
    unreadable: int

    @property
    def left_s(self) -> float | None:
        """How long it takes at the present rate; None: nobody knows."""
        if not self.queued:
            return 0.0
        return self.queued_bytes / self.rate_bytes_per_s if self.rate_bytes_per_s else None


def sums_of(status: HealStatus) -> Sums:
    """Of all reports."""
    reports = status.reports
    # Of what had to wait by another map nobody knows how it is by this one.
    seen = [report for report in reports if report.seen_epoch == status.epoch]
    return Sums(
        sum(report.queued for report in reports),
        sum(report.queued_bytes for report in reports),
        sum(report.rate_bytes_per_s for report in reports),
        sum(report.endangered for report in reports),
        sum(report.unhealable for report in reports),
        sum(report.exposed for report in seen),
        sum(report.unreadable for report in seen),
    )


def dangers_of(status: HealStatus) -> list[str]:
    """What is wrong, one line each."""
    sums = sums_of(status)
    found = []
    if sums.unhealable:
        found.append(f"{objects_text(sums.unhealable)} cannot be healed from what is up: 'ringfs check' names the files")
    if sums.endangered:
        found.append(f"{objects_text(sums.endangered)} would not survive the next loss")
    return found


def indexes_of(status: HealStatus, names: Names) -> list[str]:
    """Which nodes built their index anew at their last start, one line each: no fault, once all is healed."""
    return [
        f"{names[row.node]} built its index anew at {date_text(row.index_built_ns)}: "
        f"{row.lost_parts} part{'s' * (row.lost_parts != 1)} lost to damage"
        for row in _known(status, names)
        if row.index_built_ns
    ]


def work_text(status: HealStatus) -> str:
    """What there is to do, or "healed"."""
    sums = sums_of(status)
    if status.is_healed:
        return "nothing more can be done now" if sums.exposed or sums.unreadable else "healed"
    if not sums.queued:
        return "stewards are looking for what there is to do"
    left_s = sums.left_s
    speed = f"{size_text(sums.rate_bytes_per_s)}/s" + ("" if left_s is None else f", about {age_text(left_s)}")
    return f"{sums.queued} parts ({size_text(sums.queued_bytes)}) to make or move, {speed}"


def objects_text(count: int) -> str:
    """So many objects."""
    return f"{count} object{'s' * (count != 1)}"


# --- healing ----------------------------------------------------------------------------------------------------------------


def heal_json(status: HealStatus, names: Names) -> dict[str, Any]:
    """For scripts: the sums, and each node's report with its name and whether it is clean."""
    sums = sums_of(status)
    nodes = [{"name": names[row.node], "clean": _is_clean(row, status), **asdict(row)} for row in _known(status, names)]
    return {"epoch": status.epoch, "healed": status.is_healed, **asdict(sums), "left_s": sums.left_s, "nodes": nodes}


def heal_text(status: HealStatus, names: Names, exposure: str = "") -> str:
    """For people; exposure: what cannot be helped just now (exposure.py), or ""."""
    sums = sums_of(status)
    head = [
        f"ring      {work_text(status)}, epoch {status.epoch}",
        f"danger    {sums.endangered} objects would not survive the next loss, {sums.unhealable} cannot be healed",
        *([f"waiting   {exposure}"] if exposure else []),
    ]
    head += [f"index     {line}" for line in indexes_of(status, names)]
    rows = [_heal_row(row, status, names[row.node]) for row in _known(status, names)]
    columns = ("NODE", "CLEAN", "SCANNED", "QUEUED", "BYTES", "RATE", "ENDANGERED", "HEALED", "BYTES", "MOVED", "BYTES")
    more = ("REFORMED", "DROPPED", "SWEPT")
    shown = table((*columns, *more), rows, right=range(2, len(columns) + len(more)))
    return "\n".join(head) + "\n\n" + (shown if rows else "no steward has reported yet")


def _heal_row(row: HealReport, status: HealStatus, name: str) -> Sequence[str]:
    return (
        name,
        "yes" if _is_clean(row, status) else "no",
        _share(row.scanned_permille),
        str(row.queued),
        size_text(row.queued_bytes),
        f"{size_text(row.rate_bytes_per_s)}/s",
        str(row.endangered),
        str(row.healed_parts),
        size_text(row.healed_bytes),
        str(row.moved_parts),
        size_text(row.moved_bytes),
        str(row.reformed_objects),
        str(row.dropped_parts),
        str(row.swept_objects),
    )


def _is_clean(row: HealReport, status: HealStatus) -> bool:
    return row.clean_epoch == status.epoch and not row.queued


def _known(status: HealStatus, names: Names) -> list[HealReport]:
    """A node may have been removed since it reported."""
    return [row for row in status.reports if row.node in names]


# --- scrubbing --------------------------------------------------------------------------------------------------------------


def unmended_of(status: HealStatus) -> int:
    """Bad parts that have not been mended yet."""
    return sum(max(0, row.bad_parts - row.mended_parts) for row in status.reports)


def scrub_json(status: HealStatus, names: Names) -> dict[str, Any]:
    """For scripts; times are nanoseconds since 1970, 0: never."""
    fields = ("scrub_permille", "scrub_done_ns", "scrubbed_parts", "scrubbed_bytes", "bad_parts", "mended_parts")
    nodes = [{"name": names[row.node], **{name: getattr(row, name) for name in fields}} for row in _known(status, names)]
    return {"clean": not unmended_of(status), "unmended_parts": unmended_of(status), "nodes": nodes}


def scrub_text(status: HealStatus, names: Names) -> str:
    """For people."""
    rows = [
        (
            names[row.node],
            _share(row.scrub_permille),
            date_text(row.scrub_done_ns) if row.scrub_done_ns else "never",
            str(row.scrubbed_parts),
            size_text(row.scrubbed_bytes),
            str(row.bad_parts),
            str(row.mended_parts),
        )
        for row in _known(status, names)
    ]
    columns = ("NODE", "ROUND", "LAST COMPLETE", "VERIFIED", "BYTES", "BAD", "MENDED")
    return table(columns, rows, right=(1, 3, 4, 5, 6)) if rows else "no steward has reported yet"


def _share(permille: int) -> str:
    return f"{permille / 10:.1f} %"


def date_text(time_ns: int) -> str:
    """A wall clock's time, to the second."""
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
