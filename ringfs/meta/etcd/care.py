"""The care of etcd's database, by whoever leads: history is compacted away, what that leaves is given back to the disks, alarms
about space are taken back once there is some, and members that are not well are told of. plan() decides, Care does it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog
import trio

from ringfs.base.limits import MIB
from ringfs.meta.etcd.interface import Etcd, EtcdFull, EtcdMisused, EtcdUnavailable, Get, Member

log = structlog.get_logger("ringfs.meta.etcd")

#: How often the members are asked, and how often history is compacted away: a watch that is further behind begins anew.
LOOK_S = 10.0
COMPACT_S = 60.0
#: A member is defragmented if its database is larger than this, and less of it is used than this share.
DATABASE_BYTES_MIN = 64 * MIB
USED_SHARE_MIN = 0.5
#: A member that was defragmented is left alone for so long, whatever it says.
REST_S = 120.0

_NO_SPACE = "no space"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next. defragment: a member's endpoint, or "". trouble: what is wrong, in one line for people, or ""."""

    is_full: bool
    defragment: str
    disarm: bool
    trouble: str


def plan(members: Sequence[Member], resting: Collection[str] = ()) -> Plan:
    """Pure. At most one member is defragmented, since it answers nothing meanwhile; etcd's leader when no other needs it; none of
    those that are resting. All have the same keys: what one uses, no other needs more than."""
    is_full = any(_NO_SPACE in member.alarms for member in members)
    well = [member for member in members if not member.reason]
    used_bytes = min((member.used_bytes for member in well), default=0)
    # A full etcd commits nothing, and so does not count what a compaction has freed: it is defragmented on trust.
    awake = [member for member in well if member.endpoint not in resting]
    wasteful = [member for member in awake if is_full or _is_wasteful(member.database_bytes, used_bytes)]
    # Where nothing can be written anyway, a member that is away is no reason to wait.
    may_defragment = len(well) == len(members) or is_full
    first = min(wasteful, key=lambda member: (member.is_leader, -member.database_bytes), default=None)
    trouble = "; ".join(filter(None, map(_trouble, members)))
    return Plan(is_full, first.endpoint if first and may_defragment else "", is_full and not wasteful, trouble)


def _is_wasteful(database_bytes: int, used_bytes: int) -> bool:
    return database_bytes > DATABASE_BYTES_MIN and used_bytes < database_bytes * USED_SHARE_MIN


def _trouble(member: Member) -> str:
    said = [*([member.reason] if member.reason else []), *(f"alarm: {alarm}" for alarm in member.alarms)]
    return f"etcd member {member.endpoint}: {', '.join(said)}" if said else ""


class Care:
    """tell(what is wrong, or "") after each look. full() when etcd has no space: less should be kept in it. may_act: whether we
    lead for certain, so that nobody else cares for it too."""

    def __init__(self, etcd: Etcd, tell: Callable[[str], None], full: Callable[[], None], may_act: Callable[[], bool]) -> None:
        self._etcd = etcd
        self._tell = tell
        self._full = full
        self._may_act = may_act
        #: The revision at the last compaction, which the next one goes up to.
        self._revision = 0
        self._compact_at_s = 0.0
        #: When members may be defragmented again.
        self._rested_at_s: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            # Whoever led before may still have something under way.
            await trio.sleep(LOOK_S)
            try:
                while await self.look():
                    pass
            except (EtcdUnavailable, EtcdFull) as error:
                log.info("etcd could not be cared for", reason=str(error))
            except EtcdMisused as error:
                # Its user lacks a right, as a rule: somebody has to be told, and the journal goes on meanwhile.
                log.warning("etcd may not be cared for", reason=str(error))
                self._tell(str(error))

    async def look(self) -> bool:
        """Look once, and act; True if there may be more to do at once."""
        planned = await self._plan()
        self._tell(planned.trouble)
        if not self._may_act():
            return False
        if planned.is_full:
            self._full()
        await self._compact(at_once=planned.is_full)
        if planned.defragment:
            log.info("defragmenting a member of etcd", endpoint=planned.defragment)
            self._rested_at_s[planned.defragment] = trio.current_time() + REST_S
            await self._etcd.defragment(planned.defragment)
            return self._may_act()
        if planned.disarm:
            log.info("taking back etcd's alarm about space")
            await self._etcd.disarm()
        return False

    async def _plan(self) -> Plan:
        now_s = trio.current_time()
        resting = [endpoint for endpoint, rested_at_s in self._rested_at_s.items() if rested_at_s > now_s]
        return plan(await self._etcd.members(), resting)

    async def _compact(self, *, at_once: bool) -> None:
        """History goes, but for what came since the last time; all of it at once."""
        now_s = trio.current_time()
        if now_s < self._compact_at_s and not at_once:
            return
        self._compact_at_s = now_s + COMPACT_S
        revision = (await self._etcd.transact([], [Get(b"\0", keys_only=True)])).revision
        upto, self._revision = revision if at_once else self._revision, revision
        if upto:
            await self._etcd.compact(upto)
