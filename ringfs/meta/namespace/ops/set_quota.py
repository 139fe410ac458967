"""SetQuota: limit what is below a directory, change the limits, or take them away. What is there already is never too much.

| refused | when |
| --- | --- |
| STALE, NOT_DIRECTORY, NOT_FOUND | the directory does not exist, is none, was removed |
| INVALID | a limit over QUOTA_MAX |
"""

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import QUOTA_MAX
from ringfs.meta.namespace import keys, quotas, usage
from ringfs.meta.namespace.records import NOTHING, pack_usage
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.quota import Quota, SetQuota


def apply(work: Work, op: SetQuota) -> Quota:
    """See the module."""
    work.directory(op.directory)
    if max(op.bytes_max, op.files_max) > QUOTA_MAX:
        raise Refused(Code.INVALID, "a quota without end is none: 0")
    row = usage.read_row(work.rows, op.directory)
    limits = [op.bytes_max, op.files_max] if op.bytes_max or op.files_max else []
    if row[3:] != limits:
        work.counters.quota_count += bool(limits) - bool(row[3:])
        row[3:] = limits
        work.rows.put(keys.usage(op.directory), pack_usage(row))
        if limits:
            work.rows.put(keys.quota(op.directory), NOTHING)
        else:
            work.rows.delete(keys.quota(op.directory))
    return quotas.quota_of(work.rows, op.directory)
