"""Sessions, open files, leases and recalls, between a client and the metadata server.

Leases in one paragraph. The server remembers per inode which sessions may cache it (volatile) and which have it open
for writing (volatile, rebuilt by ResumeSession). An answer about an inode carries `leased`: the client may serve the inode
from its cache until it is recalled, its connection is lost, or LEASE_NS have passed since it sent the last Heartbeat that was
answered. A session that has an inode open for writing may hold dirty data of it that the server does not know; before
anybody else gets an answer about the inode, the server sends that session Recall(FLUSH) and waits for RecallDone (or for
the end of that session's lease). An answer given while another session writes is not leased. A mutation is
answered once every other session that cached a touched inode has confirmed Recall(DROP).

Delegations. An inode that one session alone caches, and no other has open, is answered as DELEGATED: that session may apply
transactions about it itself, answer its applications at once, and send what it did with MutateAhead, in order. Before anybody else
gets an answer about the inode, or changes it, the server sends Recall(RETURN) and waits, as for FLUSH.
"""

from typing import Annotated

from ringfs.base.limits import AHEAD_ITEMS_MAX
from ringfs.wire.messages.cluster import ClusterMap
from ringfs.wire.messages.common import Attributes, Lease
from ringfs.wire.schema import U8, U16, U32, U64, AnyMessage, Between, Sized, Text, message

#: How an inode is open.
OPEN_READ = 1
OPEN_WRITE = 2
#: In ResumeSession, besides: there are bytes of it that are not committed.
OPEN_DIRTY = 4

#: What a Recall asks for.
RECALL_DROP = 1
RECALL_FLUSH = 2
RECALL_RETURN = 3


@message(0x0201)
class OpenSession:
    """Register a client. Answer: SessionOpened. `name` is for people: host, pid, mount point."""

    name: Text


@message(0x0202)
class SessionOpened:
    """The new or resumed session, the cluster map, and the server's incarnation: the term it leads in."""

    session: U64
    incarnation: U64
    default_class: Text
    map: ClusterMap


@message(0x0203)
class OpenInode:
    """An inode that a session has open; mode is OPEN_READ or OPEN_WRITE (which includes reading), with OPEN_DIRTY maybe."""

    inode: U64
    mode: U8


@message(0x0204)
class ResumeSession:
    """After a lost connection: here I am, this is what I have open. Refused NO_SESSION if it has ended. Answer: SessionOpened.

    More than 4,096 open inodes follow in further ResumeSession messages with `more` set on all but the last.
    """

    session: U64
    opens: Annotated[list[OpenInode], Sized(0, 4096)]
    more: bool


@message(0x0205)
class Heartbeat:
    """Renews the leases from the moment it was sent. Answer: Done, or NO_SESSION."""

    session: U64


@message(0x0206)
class CloseSession:
    """A clean end: everything was flushed. Answer: Done."""

    session: U64


@message(0x0207)
class Mutate:
    """One namespace transaction with its request number. Answer: the operation's answer, the same one however often it is sent.

    `number` counts from 1 in the session; `acknowledged`: all lower numbers were answered and their replies can be forgotten.
    `operation` is a message of messages/namespace.py that says so.
    """

    session: U64
    number: U64
    acknowledged: U64
    operation: AnyMessage


@message(0x0208)
class Query:
    """A question of a session that changes nothing. `operation` is a question of messages/queries.py. Answer: its answer."""

    session: U64
    operation: AnyMessage


@message(0x0209)
class Open:
    """Open an inode (a Query): others' dirty data is flushed first, the session is remembered as its reader or writer.

    Answer: Opened.
    """

    inode: U64
    mode: U8


@message(0x020A)
class Opened:
    """The attributes at that moment, and whether they may be cached."""

    attributes: Attributes
    leased: Lease


@message(0x020B)
class Close:
    """Sent (as a Query, batched) when the last handle is closed and everything dirty was committed. Answer: Done.

    Ends the session's hold on orphans among them, which the leader then frees by a transaction of its own.
    """

    opens: Annotated[list[OpenInode], Sized(0, 4096)]


@message(0x020C)
class RecallItem:
    """kind is RECALL_DROP (forget what is cached), RECALL_FLUSH (commit what is dirty, then forget) or RECALL_RETURN (have what was
    done ahead answered, and do no more of it)."""

    inode: U64
    kind: U8


@message(0x020D)
class Recall:
    """Pushed by the server. The client answers with RecallDone when it has obeyed."""

    serial: U64
    items: Annotated[list[RecallItem], Sized(1, 4096)]


@message(0x020E)
class RecallDone:
    """Sent as a request. Answer: Done."""

    session: U64
    serial: U64


@message(0x0210)
class AheadItem:
    """One transaction that the client has applied already, at `client_ns` of its clock: these are the times that it leaves."""

    client_ns: Annotated[int, Between(1, (1 << 63) - 1)]
    operation: AnyMessage


@message(0x0211)
class MutateAhead:
    """Transactions on delegated inodes, numbered from `number` on, otherwise as as many Mutates. Answer: AheadDone.

    A session that comes back sends those unanswered again, in order, between its first and its last ResumeSession."""

    session: U64
    number: U64
    acknowledged: U64
    items: Annotated[list[AheadItem], Sized(1, AHEAD_ITEMS_MAX)]


@message(0x0212)
class AheadDone:
    """One of each for each item, in order: 0 or a refusal number, and the answer's mark (meta/namespace/ahead.py), to be compared
    with that of the answer the client gave itself. Fewer than were sent: there was no space for the next one; send the rest again.
    is_short: space for transactions is running out; act ahead no more for a while, so that refusals reach the application."""

    codes: Annotated[list[U16], Sized(0, AHEAD_ITEMS_MAX)]
    marks: Annotated[list[U32], Sized(0, AHEAD_ITEMS_MAX)]
    is_short: bool
