"""What a steward has done and has to do, as it reports it to the metadata service."""

from dataclasses import dataclass

from ringfs.wire.messages.heal import HealReport


@dataclass(slots=True)
class Counts:
    """See HealReport, whose fields these are. Counters since the start of the process; the rest as of now."""

    clean_epoch: int = 0
    unhealable: int = 0
    seen_epoch: int = 0
    seen_width: int = 0
    waiting: int = 0
    exposed: int = 0
    unreadable: int = 0
    healed_parts: int = 0
    healed_bytes: int = 0
    moved_parts: int = 0
    moved_bytes: int = 0
    reformed_objects: int = 0
    dropped_parts: int = 0
    swept_objects: int = 0
    scanned_permille: int = 0
    scrubbed_parts: int = 0
    scrubbed_bytes: int = 0
    bad_parts: int = 0
    mended_parts: int = 0
    scrub_permille: int = 0
    scrub_done_ns: int = 0
    index_built_ns: int = 0
    lost_parts: int = 0

    @property
    def worked_bytes(self) -> int:
        """What was made or moved: of what a rate is."""
        return self.healed_bytes + self.moved_bytes

    def report(self, node: int, *, queued: int, queued_bytes: int, endangered: int, rate_bytes_per_s: int) -> HealReport:
        """What is to be sent."""
        counts = {name: getattr(self, name) for name in Counts.__slots__}
        return HealReport(
            node=node, queued=queued, queued_bytes=queued_bytes, endangered=endangered, rate_bytes_per_s=rate_bytes_per_s, **counts
        )
