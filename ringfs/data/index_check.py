"""Whether the index of a closed store can be used: LMDB can follow all of its file, no row rotted, none is missing.

Sums find rows that rotted, figures find those that are missing. After a proper end, which left nothing half done, numbers of rows
are compared and sums are left to whoever reads a row; after any other end everything is.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from ringfs.base.child import in_child
from ringfs.base.kv.pages import PageDamaged
from ringfs.base.kv.store import STATE
from ringfs.base.kv.walk import Pairs
from ringfs.base.kv.whole import check_file
from ringfs.data.index import Count, IndexDamaged


@dataclass(frozen=True, slots=True)
class Checked:
    """Why an index cannot be used (empty: it can), and the newest position that it has."""

    reason: str
    newest: int


def check_index(directory: Path) -> Checked:
    """Blocks for a second or two with a million rows: in a thread. A child does it, so that memory and time are not ours."""
    answer = in_child(lambda: _checked(directory))
    if not answer:
        return Checked("the process that read it died of it", 0)
    return Checked(**json.loads(answer))


def _checked(directory: Path) -> bytes:
    count, reason = Count(), ""

    def take(name: bytes, rows: Pairs) -> None:
        if name == STATE:
            count.take(rows)

    try:
        check_file(directory, take)
        if not count.agrees:
            reason = "its figures do not add up"
    except (PageDamaged, IndexDamaged, OSError) as damage:
        reason = str(damage)
    return json.dumps({"reason": reason, "newest": count.newest}).encode()
