"""Quotas of directories: set in a Mutate, asked for in a Query (messages/session.py). What they count: namespace/usage.py."""

from typing import Annotated

from ringfs.base.limits import QUOTA_PATH_BYTES_MAX, QUOTAS_PAGE_MAX
from ringfs.wire.schema import U16, U64, Sized, message


@message(0x0180)
class SetQuota:
    """Limit what is below a directory; 0: no such limit; both 0: no quota any more. What is there already stays. Answer: Quota."""

    directory: U64
    bytes_max: U64
    files_max: U64


@message(0x0181)
class Quota:
    """What is below a directory now, and its limits (0: none). `path`: from the root; empty if it is longer than fits."""

    directory: U64
    bytes_used: U64
    files_used: U64
    bytes_max: U64
    files_max: U64
    path: Annotated[bytes, Sized(0, QUOTA_PATH_BYTES_MAX)]


@message(0x0182)
class GetQuota:
    """Answer: Quota, also of a directory without limits. Refused STALE, NOT_DIRECTORY, NOT_FOUND (it was removed)."""

    directory: U64


@message(0x0183)
class ListQuotas:
    """Directories with limits whose number is above `after`, in order of it. Answer: Quotas."""

    after: U64
    limit: U16


@message(0x0184)
class Quotas:
    """`more` is false at the end."""

    quotas: Annotated[list[Quota], Sized(0, QUOTAS_PAGE_MAX)]
    more: bool
