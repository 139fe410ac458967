"""The namespace machine: transactions applied to an ordered view, questions answered from it. Pure and deterministic.

No clock, disk, socket, randomness or await; the same transactions give the same bytes on every server. What it does not do:
leases and open inodes (the server's; every `leased` flag is answered LEASED), journaling, encoding for the wire.
"""

from collections.abc import Callable
from dataclasses import dataclass
from stat import S_IFDIR
from typing import Annotated, Any

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import NO_SESSION, ROOT_INODE
from ringfs.base.kv.view import View
from ringfs.base.limits import PAGE_ENTRIES_MAX
from ringfs.meta.namespace import condemned, keys, replies, system, usage
from ringfs.meta.namespace.directory import FIRST_COOKIE
from ringfs.meta.namespace.homes import NOWHERE
from ringfs.meta.namespace.marks import AheadMark, mark_of
from ringfs.meta.namespace.ops import (
    allocate,
    append,
    append_snapshot,
    begin_session,
    clone,
    commit,
    copy_range,
    end_session,
    enter_node,
    follow_standing,
    forget_verdicts,
    free_orphans,
    link,
    mark_reaped,
    mkdir,
    mknod,
    note_accesses,
    reclass,
    reform,
    release_doomed,
    release_locks,
    remove_node,
    remove_xattr,
    rename,
    replace_disk,
    reserve_inodes,
    rewrite,
    rmdir,
    set_flags,
    set_lock,
    set_node_state,
    set_quota,
    set_standing,
    set_weight,
    set_xattr,
    setattr,
    start_heal,
    sweep,
    symlink,
    tmpfile,
    unlink,
)
from ringfs.meta.namespace.queries import query
from ringfs.meta.namespace.records import FORMAT_VERSION, Counters, Inode, pack_usage
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages import content, files, heal, locks, namespace, quota, sharing
from ringfs.wire.packing import pack
from ringfs.wire.schema import I64, U64, AnyMessage, Sized, decode, encode, message

Operation = Callable[[Work, Any], Any]

#: What a client's session may ask for.
CLIENT_OPERATIONS: dict[type, Operation] = {
    namespace.Mknod: mknod.apply,
    namespace.Mkdir: mkdir.apply,
    namespace.Symlink: symlink.apply,
    namespace.Link: link.apply,
    namespace.Unlink: unlink.apply,
    namespace.Rmdir: rmdir.apply,
    namespace.Rename: rename.apply,
    namespace.Setattr: setattr.apply,
    namespace.SetXattr: set_xattr.apply,
    namespace.RemoveXattr: remove_xattr.apply,
    namespace.Commit: commit.apply,
    sharing.Append: append.apply,
    sharing.Rewrite: rewrite.apply,
    locks.SetLock: set_lock.apply,
    locks.ReleaseLocks: release_locks.apply,
    content.Allocate: allocate.apply,
    content.CopyRange: copy_range.apply,
    content.Clone: clone.apply,
    quota.SetQuota: set_quota.apply,
    files.Tmpfile: tmpfile.apply,
    namespace.ReserveInodes: reserve_inodes.apply,
    files.SetFlags: set_flags.apply,
    files.NoteAccesses: note_accesses.apply,
}
#: What the leader does itself, with session 0.
SYSTEM_OPERATIONS: dict[type, Operation] = {
    system.BeginSession: begin_session.apply,
    system.EndSession: end_session.apply,
    system.EnterNode: enter_node.apply,
    system.SetNodeState: set_node_state.apply,
    system.MarkReaped: mark_reaped.apply,
    system.FreeOrphans: free_orphans.apply,
    system.AppendSnapshot: append_snapshot.apply,
    system.FollowStanding: follow_standing.apply,
    system.ForgetVerdicts: forget_verdicts.apply,
    content.ReleaseDoomed: release_doomed.apply,
    sharing.Rewrite: rewrite.apply,
    heal.Reform: reform.apply,
    heal.Sweep: sweep.apply,
    heal.Reclass: reclass.apply,
    heal.SetStanding: set_standing.apply,
    heal.SetWeight: set_weight.apply,
    heal.RemoveNode: remove_node.apply,
    heal.ReplaceDisk: replace_disk.apply,
    heal.StartHeal: start_heal.apply,
}


@message(0x0500)
class Transaction:
    """One transaction as the journal keeps it. session, number, acknowledged and operation are those of the client's Mutate (0 for
    the leader's own); now_ns is the leader's wall clock, holders the sessions that have an inode open that this would remove.
    client_ns: not 0 if the client has applied it ahead, at that time; then an AheadMark is all that is answered and kept."""

    session: U64
    number: U64
    acknowledged: U64
    now_ns: I64
    holders: Annotated[list[U64], Sized(0, PAGE_ENTRIES_MAX)]
    operation: AnyMessage
    client_ns: I64 = 0

    def encode(self) -> bytes:
        """For the journal."""
        return encode(self)

    @staticmethod
    def decode(data: bytes | memoryview) -> "Transaction":
        """From the journal. Raises PeerBrokeProtocol."""
        transaction = decode(data)
        assert type(transaction) is Transaction, "the journal holds transactions"
        return transaction


@dataclass(slots=True)
class Outcome:
    """What became of a transaction."""

    #: The operation's answer, or why it did not happen.
    answer: Any
    #: Inodes whose attributes, xattrs, extents or entries changed.
    touched: set[int]
    #: Whether the view changed: False for refusals, repetitions, and operations with nothing to do. Such need no journal.
    changed: bool


def apply(view: View, transaction: Transaction) -> Outcome:
    """Apply a transaction: all of it or nothing. A repeated (session, number) gets the first answer and changes nothing."""
    work = Work(view, transaction.now_ns, transaction.session, transaction.holders, transaction.client_ns)
    try:
        if transaction.session == NO_SESSION:
            return _apply_system(view, work, transaction.operation)
        request = replies.find(work, transaction.number, transaction.acknowledged)
        if request.answer is not None:
            return Outcome(decode(request.answer), set(), False)
        return _apply_client(view, work, request, transaction)
    except Refused as refusal:
        return Outcome(refusal.with_traceback(None), set(), False)


def _apply_client(view: View, work: Work, request: replies.Request, transaction: Transaction) -> Outcome:
    operation = transaction.operation
    handler = CLIENT_OPERATIONS.get(type(operation))
    if handler is None:
        raise Refused(Code.BAD_REQUEST, f"{type(operation).__name__} is no transaction")
    answer = handler(work, operation)
    if transaction.client_ns:
        answer = AheadMark(mark_of(answer))
    condemned.settle(work)
    usage.settle(work)
    if not work.flush():
        return Outcome(answer, set(), False)
    replies.keep(work, request, encode(answer))
    work.rows.apply_to(view)
    return Outcome(answer, work.touched, True)


def _apply_system(view: View, work: Work, operation: Any) -> Outcome:
    handler = SYSTEM_OPERATIONS.get(type(operation))
    if handler is None:
        raise Refused(Code.NO_SESSION, f"{type(operation).__name__} needs a session")
    answer = handler(work, operation)
    condemned.settle(work)
    usage.settle(work)
    changed = work.flush()
    work.rows.apply_to(view)
    return Outcome(answer, work.touched, changed)


def format_namespace(view: View, cluster: str, default_class: str, now_ns: int) -> None:
    """Fill an empty view: an empty root directory (0755, owned by root), counters, the cluster's id and class, an empty map."""
    root = Inode()
    root.number = root.parent = ROOT_INODE
    root.name, root.next_cookie = b"", FIRST_COOKIE
    root.mode, root.links = S_IFDIR | 0o755, 2
    root.uid = root.gid = root.size_bytes = root.stored_bytes = root.rdev = root.xattr_count = 0
    root.flags = root.class_number = 0
    root.atime_ns = root.mtime_ns = root.ctime_ns = root.btime_ns = now_ns
    root.change = 1
    counters = Counters()
    counters.next_inode = ROOT_INODE + 1
    counters.next_session = counters.next_node = counters.next_condemned = counters.inode_count = 1
    counters.live_bytes = counters.dead_bytes = counters.quota_count = 0
    view.put(keys.inode(ROOT_INODE), root.pack())
    view.put(keys.usage(ROOT_INODE), pack_usage([NOWHERE, 0, 0]))
    view.put(keys.COUNTERS, counters.pack())
    view.put(keys.FORMAT, pack(FORMAT_VERSION))
    view.put(keys.CLUSTER, pack(cluster))
    view.put(keys.DEFAULT_CLASS, pack(default_class))
    view.put(keys.MAP_EPOCH, pack(1))


__all__ = ["CLIENT_OPERATIONS", "SYSTEM_OPERATIONS", "Outcome", "Transaction", "apply", "format_namespace", "query"]
