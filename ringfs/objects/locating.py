"""Where objects are: what the map says, and what was learned of single objects. When that is wrong: roll_call.py.

Metadata's extents say nothing about forms, and what a node holds is no function of the map. So a reader guesses, and what it is
answered says what there is (docs/parts/objects.md). Everything learned may be wrong a moment later, except sizes and block tables,
which the id proves.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

import trio

from ringfs.base.limits import OBJECT_BYTES_MAX
from ringfs.base.lru import BoundedCache
from ringfs.objects.nodes import DataNodes, Lane
from ringfs.ring.classes import ErasureClass, ReplicaClass, ServiceClass, parse_class
from ringfs.ring.parts import COPY, Part, block_count, row_count, unpack_part
from ringfs.ring.placement import Ring
from ringfs.wire.messages.cluster import NODE_UP, STANDING_IN, ClusterMap, Node
from ringfs.wire.messages.data import Blocks

_KNOWN_BYTES_MAX = 12 << 20
#: What an entry costs beside its table, about.
_KNOWN_ENTRY_BYTES = 500
#: Objects whose nodes are remembered.
_ORDERS_MAX = 8192
#: So long holders that were not found are not looked for again.
_GAP_S = 30.0
#: A node that said it is full is not asked to take anything for so long, if others can.
_FULL_S = 5.0


@dataclass(frozen=True, slots=True)
class Known:
    """What is proven of an object, its size and table, and what is believed: in which form it is, and where."""

    size_bytes: int
    table: bytes
    #: None: whole copies.
    form: ErasureClass | None
    #: Numbers of nodes: by fragment, 0 where nobody is known; or those with copies, the ring's first ones if there is none.
    nodes: tuple[int, ...]
    #: When (trio's clock) holders that were not found should be looked for again: a node that was away may be back.
    stale_s: float = math.inf

    def place_of(self, first_block: int, block_count: int) -> int | None:
        """The fragment that has all these blocks, as far as the object goes; 0 for copies; None if there is none."""
        if self.form is None:
            return 0
        rows = row_count(self.size_bytes, self.form.data)
        number = first_block // rows
        return number if self.clamped(first_block, block_count) - 1 < (number + 1) * rows else None

    def clamped(self, first_block: int, count: int) -> int:
        """Where these blocks end, within the object."""
        return min(first_block + count, block_count(self.size_bytes))


@dataclass(slots=True)
class Located:
    """The nodes that have an object's parts, those to ask first in front."""

    copies: list[Node] = field(default_factory=list)
    fragments: dict[ErasureClass, dict[int, list[Node]]] = field(default_factory=dict)

    def add(self, part: Part, node: Node) -> None:
        """A node has a part."""
        if part.is_whole:
            self.copies.append(node)
        else:
            form = ErasureClass(part.data, part.parity)
            self.fragments.setdefault(form, {}).setdefault(part.number, []).append(node)

    @property
    def is_enough(self) -> bool:
        """Whether the object can be made of it."""
        return bool(self.copies) or any(len(numbers) >= form.data for form, numbers in self.fragments.items())

    def without(self, bad: Collection[tuple[int, Part]]) -> "Located":
        """The same without some nodes' parts."""
        left = Located()
        for part, node in self.parts():
            if (node.node, part) not in bad:
                left.add(part, node)
        return left

    def parts(self) -> Iterable[tuple[Part, Node]]:
        """Everything."""
        yield from ((COPY, node) for node in self.copies)
        for form, numbers in self.fragments.items():
            for number, nodes in numbers.items():
                yield from ((Part(form.data, form.parity, number), node) for node in nodes)


class Places:
    """See the module."""

    def __init__(self, nodes: DataNodes) -> None:
        self.nodes = nodes
        self._map = ClusterMap(0, "", [])
        self._ring = Ring(self._map)
        self._by_number: dict[int, Node] = {}
        #: What files usually have: what is guessed by.
        self._default_class: ServiceClass = ReplicaClass(1)
        #: Object id, width of its form → all nodes in the order of the ring.
        self._orders: dict[tuple[bytes, int], list[Node]] = {}
        self._known: BoundedCache[bytes, Known] = BoundedCache(_KNOWN_BYTES_MAX)
        #: Node → until when (trio's clock) it counts as full.
        self._full_until_s: dict[int, float] = {}

    def follow(self, map: ClusterMap) -> None:
        """Use this map from now on."""
        if map is not self._map:
            self._map = map
            self._ring = Ring(map)
            self._by_number = {node.node: node for node in map.nodes}
            if map.classes:
                self._default_class = parse_class(map.classes[0])
            self._orders.clear()
            self.nodes.forget_gone(map)

    # --- what the map says ------------------------------------------------------------------------------------------

    def lane(self, node: Node, *, bulk: bool = False) -> Lane:
        """See DataNodes."""
        return self.nodes.lane(node, bulk=bulk)

    def node(self, number: int) -> Node | None:
        """The node of that number, if the map has it."""
        return self._by_number.get(number)

    def order(self, oid: bytes, width: int | None = None) -> list[Node]:
        """All nodes in the order of the ring for a form of that width; None: that of the default class."""
        key = oid, self._default_class.width if width is None else width
        found = self._orders.get(key)
        if found is None:
            if len(self._orders) >= _ORDERS_MAX:
                self._orders.clear()
            found = self._orders[key] = [self._by_number[number] for number in self._ring.order(*key)]
        return found

    def is_doubtful(self, node: Node) -> bool:
        """Whether others should be read from first."""
        return node.state != NODE_UP or self.lane(node).is_doubtful(trio.current_time())

    def is_open(self, node: Node) -> bool:
        """Whether it can be read from without waiting for a connection."""
        return self.lane(node).is_open

    def note_full(self, node: Node) -> None:
        """It has no room."""
        self._full_until_s[node.node] = trio.current_time() + _FULL_S

    def domain_count(self) -> int:
        """How many failure domains there are that parts may be put on without a doubt."""
        return len({node.domain for node in self._map.nodes if self._rank(node, trio.current_time()) == 0})

    def takers(self, oid: bytes, width: int) -> tuple[list[Node], list[Node]]:
        """In the order of the ring for a form of that width: the nodes that a part may be put on without a doubt, and others that
        may be tried after them, those that are down last. Nodes that have no share of the ring, or are in maintenance, are
        neither."""
        now_s = trio.current_time()
        good: list[Node] = []
        others: list[tuple[int, Node]] = []
        for node in self.order(oid, width):
            rank = self._rank(node, now_s)
            if rank == 0:
                good.append(node)
            elif rank is not None:
                others.append((rank, node))
        return good, [node for _, node in sorted(others, key=lambda other: other[0])]

    def _rank(self, node: Node, now_s: float) -> int | None:
        """How gladly a node is given something: 0 without a doubt, more later, None not at all."""
        if not node.weight or node.standing != STANDING_IN:
            return None
        if node.state != NODE_UP:
            return 3
        if self._full_until_s.get(node.node, 0.0) > now_s:
            return 2
        return int(self.lane(node, bulk=True).is_doubtful(now_s))

    # --- what was learned -------------------------------------------------------------------------------------------

    def known(self, oid: bytes) -> Known | None:
        """What is known of an object."""
        known = self._known.get(oid)
        if known is None or known.stale_s == math.inf or known.stale_s > trio.current_time():
            return known
        nodes: tuple[int, ...] = ()
        if known.form is not None:
            likely = self._likely(oid, known.form)
            nodes = tuple(
                number or (guess if guess not in known.nodes else 0) for number, guess in zip(known.nodes, likely, strict=True)
            )
        known = Known(known.size_bytes, known.table, known.form, nodes)
        self.remember(oid, known)
        return known

    def _likely(self, oid: bytes, form: ErasureClass) -> list[int]:
        """The nodes that had the fragments if nothing moved since it was put."""
        numbers = [node.node for node in self.order(oid, form.width)[: form.width]]
        return numbers + [0] * (form.width - len(numbers))

    def remember(self, oid: bytes, known: Known) -> None:
        """Something is known, its size and table being proven."""
        self._known.put(oid, known, len(known.table) + _KNOWN_ENTRY_BYTES)

    def forget(self, oid: bytes) -> None:
        """Nothing is known of it."""
        self._known.drop(oid)

    def guess(self, oid: bytes, first_block: int, count: int, asked: Collection[int] = ()) -> tuple[Node, Known | None] | None:
        """The node that has all these blocks, as far as one can know, and what is known; None if somebody has to look closer. If
        nothing is known, nodes that were asked already are none."""
        known = self.known(oid)
        if known is not None:
            node = self._believed(oid, known, first_block, count)
            return None if node is None or self.is_doubtful(node) else (node, known)
        for node in self._likely_holders(oid, first_block):
            if node.node not in asked and not self.is_doubtful(node):
                return node, None
        return None

    def _likely_holders(self, oid: bytes, first_block: int) -> Iterable[Node]:
        """Of an object of which nothing is known: who has that block if it is as large as most are; then who has copies if it is
        small. Whoever has any part says what it is."""
        default = self._default_class
        place = first_block // row_count(OBJECT_BYTES_MAX, default.data) if isinstance(default, ErasureClass) else 0
        yield from self.order(oid)[place : place + 1]
        yield from self._copy_holders(oid)

    def _copy_holders(self, oid: bytes) -> list[Node]:
        """The nodes that should have copies: small objects of an EC class are as wide as that, and not as the class."""
        copies = self._default_class.tolerance + 1
        return self.order(oid, copies)[:copies]

    def _believed(self, oid: bytes, known: Known, first_block: int, count: int) -> Node | None:
        if known.form is None:
            return self._best_copy(oid, known)
        place = known.place_of(first_block, count)
        return None if place is None else self._by_number.get(known.nodes[place])

    def _best_copy(self, oid: bytes, known: Known) -> Node | None:
        """The first holder that is not doubtful."""
        for node in self._holders(oid, known):
            if node is not None and not self.is_doubtful(node):
                return node
        return None

    def _holders(self, oid: bytes, known: Known) -> list[Node | None]:
        """By fragment; or the nodes that have copies, or that should."""
        if known.nodes:
            return [self._by_number.get(number) for number in known.nodes]
        return [*self._copy_holders(oid)]

    def learn(self, oid: bytes, node: Node, answer: Blocks, known: Known | None) -> Known:
        """What a node's answer says, if the table in it has been proven, or if its size and table are those that are known."""
        size_bytes, table = (answer.size_bytes, answer.table) if known is None else (known.size_bytes, known.table)
        part = unpack_part(answer.part) or COPY
        if part.is_whole:
            learned = Known(size_bytes, table, None, ())
        else:
            form = ErasureClass(part.data, part.parity)
            numbers = self._likely(oid, form)
            numbers[part.number] = node.node
            learned = Known(size_bytes, table, form, tuple(numbers))
        self.remember(oid, learned)
        return learned

    def note_located(self, oid: bytes, known: Known, located: Located) -> None:
        """The nodes that have an object's parts are these now."""
        stale_s = trio.current_time() + _GAP_S
        if located.copies:
            nodes = tuple(node.node for node in located.copies)
            self.remember(oid, Known(known.size_bytes, known.table, None, nodes, stale_s))
            return
        form, numbers = max(located.fragments.items(), key=lambda item: len(item[1]) - item[0].data)
        nodes = tuple(numbers[number][0].node if number in numbers else 0 for number in range(form.width))
        self.remember(oid, Known(known.size_bytes, known.table, form, nodes, stale_s if 0 in nodes else math.inf))

    def disbelieve(self, oid: bytes, node: Node) -> None:
        """The node has nothing of the object that is any good, as far as one can know."""
        known = self._known.get(oid)
        if known is None or node.node not in known.nodes:
            return
        others = [0 if number == node.node else number for number in known.nodes]
        nodes = tuple(number for number in others if number or known.form is not None)
        self.remember(oid, replace(known, nodes=nodes, stale_s=trio.current_time() + _GAP_S))

    def believed(self, oid: bytes) -> Located | None:
        """Where an object's parts are as far as is known, if that is enough."""
        known = self.known(oid)
        if known is None:
            return None
        located = Located()
        for index, node in enumerate(self._holders(oid, known)):
            if node is not None:
                located.add(COPY if known.form is None else Part(known.form.data, known.form.parity, index), node)
        return located if located.is_enough else None
