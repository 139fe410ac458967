"""Questions about the namespace, which travel in a Query (messages/session.py), and their answers; an Entry answers Lookup."""

from typing import Annotated

from ringfs.base.limits import PAGE_ENTRIES_MAX
from ringfs.wire.messages.common import Attributes, Lease
from ringfs.wire.messages.namespace import Extent
from ringfs.wire.schema import U16, U32, U64, Name, Sized, Target, XattrName, XattrValue, message


@message(0x0141)
class Lookup:
    """`name` may be "." or "..". Answer: Entry."""

    parent: U64
    name: Name


@message(0x0142)
class GetAttributes:
    """Answer: Opened (attributes, leased). Refused STALE."""

    inode: U64


@message(0x0143)
class ReadDirectory:
    """Entries with a cookie greater than `after` (0: from the beginning), in order of cookie, without "." and "..".

    Answer: DirectoryPage.
    """

    inode: U64
    after: U64
    limit: U16


@message(0x0144)
class DirectoryEntry:
    """`leased`: the attributes may be cached."""

    cookie: U64
    name: Name
    attributes: Attributes
    leased: Lease


@message(0x0145)
class DirectoryPage:
    """`directory`: the directory's own attributes; `more` is false at the end."""

    directory: Attributes
    entries: Annotated[list[DirectoryEntry], Sized(0, PAGE_ENTRIES_MAX)]
    more: bool
    leased: Lease


@message(0x0146)
class ReadLink:
    """Answer: LinkTarget."""

    inode: U64


@message(0x0147)
class LinkTarget:
    """The symlink's target, which never changes."""

    target: Target


@message(0x0148)
class GetXattr:
    """Answer: XattrFound. Refused NO_XATTR."""

    inode: U64
    name: XattrName


@message(0x0149)
class XattrFound:
    """The value."""

    value: XattrValue
    leased: Lease


@message(0x014A)
class ListXattrs:
    """Answer: XattrNames."""

    inode: U64


@message(0x014B)
class XattrNames:
    """All names, sorted."""

    names: Annotated[list[XattrName], Sized(0, 65536)]
    leased: Lease


@message(0x014C)
class ReadExtents:
    """Extents of whole chunks first_chunk … first_chunk+chunk_count-1. Answer: Extents."""

    inode: U64
    first_chunk: U32
    chunk_count: U16


@message(0x014D)
class Extents:
    """Extents with file offsets, ascending, without overlap; what they do not cover up to size is holes."""

    attributes: Attributes
    extents: Annotated[list[Extent], Sized(0, 262144)]
    leased: Lease


@message(0x014E)
class StatFs:
    """Space for the inode: the cluster's, or that of the narrowest quota above it. Answer: FsFigures. Refused STALE."""

    inode: U64


@message(0x014F)
class FsFigures:
    """Bytes are what users can store under the default class. inode_count: what counts against inode_max
    (0: there is no limit, and all of the cluster are counted). quota_count: directories of the cluster that have one."""

    total_bytes: U64
    free_bytes: U64
    inode_count: U64
    inode_max: U64
    quota_count: U64
