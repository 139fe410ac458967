"""Typed ids and the constants that name special ones."""

from typing import NewType

#: 64 bits; the top 16 are reserved for a namespace partition (0 today).
InodeNumber = NewType("InodeNumber", int)
#: 160 bits of BLAKE3 over an object's block hashes, see base/checksums.py.
ObjectId = NewType("ObjectId", bytes)
#: Given out by the metadata service, never reused.
SessionId = NewType("SessionId", int)
#: Small number of a data node in the cluster map, never reused.
NodeId = NewType("NodeId", int)

#: The same number that FUSE uses for the root (FUSE_ROOT_ID).
ROOT_INODE = InodeNumber(1)
#: No session: transactions that the leader makes itself carry it.
NO_SESSION = SessionId(0)
