"""The only file with bare bounds. Each is named, explained, and related to the others by an assert."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

#: Unit of hashing and of partial reads.
BLOCK_BYTES = 64 * KIB
#: An object never holds more.
OBJECT_BYTES_MAX = 8 * MIB
#: Block hashes and object ids: 160 bits of BLAKE3.
HASH_BYTES = 20
#: Extents are stored per file chunk of this size; no extent crosses a chunk boundary.
CHUNK_BYTES = 64 * MIB
#: Linux's loff_t limit, rounded down to whole chunks so that chunk numbers fit 32 bits with room.
FILE_BYTES_MAX = 1 << 57
#: POSIX NAME_MAX and Linux's PATH_MAX for symlink targets.
NAME_BYTES_MAX = 255
SYMLINK_BYTES_MAX = 4095
#: Linux's XATTR_NAME_MAX, XATTR_SIZE_MAX, XATTR_LIST_MAX.
XATTR_NAME_BYTES_MAX = 255
XATTR_VALUE_BYTES_MAX = 64 * KIB
XATTR_LIST_BYTES_MAX = 64 * KIB
#: As ext4's successors: large, but a bound.
LINKS_MAX = 1 << 31
#: Inline bytes that one chunk may gather before the client begins to destage them into objects; no inline extent is longer.
INLINE_CHUNK_BYTES_MAX = 64 * KIB
#: More extents than this in a chunk make the client rewrite the chunk.
EXTENTS_PER_CHUNK_MAX = 4096
#: Bodies are control data; bulk bytes travel as payload.
FRAME_BODY_BYTES_MAX = 4 * MIB
FRAME_PAYLOAD_BYTES_MAX = OBJECT_BYTES_MAX
#: Unanswered requests that a peer may have in flight on one connection.
REQUESTS_IN_FLIGHT_MAX = 256
#: Of those, kept for urgent requests (heartbeats, RecallDone), so that others that wait for a peer cannot block what they wait for.
REQUESTS_URGENT = 16
#: Bytes that wait to be sent on one connection: past them calls wait, and a server stops reading from that peer.
UNSENT_BYTES_MAX = 2 * OBJECT_BYTES_MAX
#: A payload up to this size is received with its frame; a larger one straight into a buffer of its own.
PAYLOAD_SMALL_BYTES = 16 * KIB
#: Larger payloads of unanswered requests that one server holds, over all its connections.
RECEIVED_PAYLOAD_BYTES_MAX = 64 * MIB
#: Connections of one server; more are closed at once.
CONNECTIONS_MAX = 1024
#: Connecting and the handshake; afterwards a connection may be idle for ever.
HANDSHAKE_TIMEOUT_S = 5.0
#: A payload that was begun and does not get on for so long ends its connection: it holds memory of the server.
PAYLOAD_STALL_S = 30.0
#: Files in one Commit and objects in one Commit.
COMMIT_FILES_MAX = 512
#: Extents that one transaction lets go of, or copies by reference, and the rest of a chunk's. What is left of a file is released by
#: the leader bit by bit; what is left of a copy is asked for again.
RELEASED_EXTENTS_MAX = 1024
COPIED_EXTENTS_MAX = 1024
#: Extents that a collapse or an insertion moves in its one transaction; more are refused.
MOVED_EXTENTS_MAX = 16 * KIB
#: Collapse and insert work in multiples of this, as ext4 and xfs with their default block.
MOVE_BYTES = 4 * KIB
#: Entries in one page of a directory, a node's object list or a snapshot.
PAGE_ENTRIES_MAX = 4096
#: The largest weight of a node. Weights are relative: whoever needs more divides all of them.
WEIGHT_MAX = 10_000
#: The largest limit of a quota; quotas in one page of them, each with its path if that is no longer than this.
QUOTA_MAX = 1 << 60
QUOTAS_PAGE_MAX = 256
QUOTA_PATH_BYTES_MAX = 8 * KIB
#: Access times in one transaction.
ACCESSES_MAX = 1024
#: Replies a session may leave unacknowledged.
REPLY_WINDOW_MAX = 1024
#: Separate ranges that one owner may have locked of a file; owners of locks of a file; files times owners of one session.
LOCK_RANGES_MAX = 4096
LOCK_OWNERS_MAX = 4096
LOCKS_PER_SESSION_MAX = 16 * 1024
#: Transactions in one MutateAhead.
AHEAD_ITEMS_MAX = 256
#: Inode numbers that are set apart for a session at once.
RESERVED_INODES_MAX = 4096

#: A data node's segment files; its disk has at least this much more left when one is made, for the index and for others.
SEGMENT_BYTES = GIB
SEGMENT_BYTES_MIN = 64 * MIB
DISK_RESERVE_BYTES = 256 * MIB
#: Segment files that a data node has open at once (two descriptors each).
SEGMENTS_OPEN_MAX = 256
#: Threads of a data node that write and sync, which is the most puts that can share a sync, and that read.
PUT_THREADS = 16
GET_THREADS = 8
#: Requests that wait for one of those threads; more are refused OVERLOADED.
PUTS_WAITING_MAX = 1024
GETS_WAITING_MAX = 4096
#: Proven block tables that a data node remembers.
TABLES_CACHED_BYTES_MAX = 16 * MIB
#: A data node's index is checkpointed after so many bytes of records, or so many bytes of changed rows: what a start scans again.
CHECKPOINT_RECORD_BYTES = 256 * MIB
CHECKPOINT_ROW_BYTES = 4 * MIB
#: What a data node has in memory of its libraries (13 MiB) and its indexes, before it lets these go to the page cache.
INDEX_MAPPED_BYTES_MAX = 64 * MIB

#: One transaction in the journal: a request's body, and what the leader adds to it.
JOURNAL_ENTRY_BYTES_MAX = FRAME_BODY_BYTES_MAX + 64 * KIB
#: A file of the journal. Larger ones are rotated less often, smaller ones are trimmed sooner.
JOURNAL_SEGMENT_BYTES = 16 * MIB
#: Past so many files, held and spare, mutations are refused until a checkpoint lets the journal be trimmed.
JOURNAL_SEGMENTS_MAX = 32
#: Journal space that only operations which free space may use.
JOURNAL_RESERVE_BYTES = 4 * MIB

#: The journal's batches in etcd: past it mutations are refused until a snapshot lets it be trimmed. etcd's own quota is 2 GiB.
ETCD_JOURNAL_BYTES_MAX = 256 * MIB

#: A lease lasts this long after the request that renewed it was sent; heartbeats go out every third of it.
LEASE_NS = 10 * 10**9
#: A session that was silent this long is ended by the leader.
SESSION_TIMEOUT_NS = 30 * 10**9
#: A dead object is deleted by its holders after this grace.
DELETE_GRACE_NS = 60 * 10**9

#: Any two wall clocks of a cluster (servers, data nodes, clients) are assumed to differ by less than this.
CLOCK_SKEW_MAX_NS = 15 * 10**9
#: A put this young, or a verdict this young, cannot have been overtaken by a deletion: docs/formats/namespace.md.
PUT_FRESH_NS = DELETE_GRACE_NS - 2 * CLOCK_SKEW_MAX_NS
#: What a chunk may hold at the very most, so that its extents always fit a frame; clients rewrite long before.
CHUNK_INLINE_BYTES_HARD_MAX = 16 * INLINE_CHUNK_BYTES_MAX
CHUNK_EXTENTS_HARD_MAX = 8 * EXTENTS_PER_CHUNK_MAX

assert OBJECT_BYTES_MAX % BLOCK_BYTES == 0, "an object is whole blocks but for its last one"
assert CHUNK_BYTES % OBJECT_BYTES_MAX == 0, "a sequential writer fills chunks with whole objects"
assert SEGMENT_BYTES_MIN >= 2 * OBJECT_BYTES_MAX, "a segment holds some of the largest objects"
assert LEASE_NS < SESSION_TIMEOUT_NS, "a session's leases must be dead before the session is"
assert SESSION_TIMEOUT_NS < DELETE_GRACE_NS, "a put by a live session must outlast a verdict older than it"
assert FRAME_BODY_BYTES_MAX > 8 * XATTR_VALUE_BYTES_MAX, "a frame holds any xattr or inline chunk"
assert 0 < REQUESTS_URGENT < REQUESTS_IN_FLIGHT_MAX, "both kinds of request have room"
assert RECEIVED_PAYLOAD_BYTES_MAX >= FRAME_PAYLOAD_BYTES_MAX, "every payload is admitted at last"
assert AHEAD_ITEMS_MAX <= REPLY_WINDOW_MAX, "the replies of one MutateAhead fit the window"
assert REPLY_WINDOW_MAX > REQUESTS_IN_FLIGHT_MAX, "every request in flight can have its reply kept"
assert 2 * JOURNAL_ENTRY_BYTES_MAX + JOURNAL_RESERVE_BYTES < JOURNAL_SEGMENT_BYTES, "one spare segment is room for any transaction"
assert QUOTAS_PAGE_MAX * (QUOTA_PATH_BYTES_MAX + 256) < FRAME_BODY_BYTES_MAX, "a page of quotas fits a frame"
assert FILE_BYTES_MAX // CHUNK_BYTES <= 1 << 32, "a chunk number fits 32 bits"
assert PUT_FRESH_NS >= SESSION_TIMEOUT_NS, "a live session has time to commit what it put"
assert CHUNK_INLINE_BYTES_HARD_MAX + 64 * CHUNK_EXTENTS_HARD_MAX < FRAME_BODY_BYTES_MAX, "a chunk's extents fit a frame"
