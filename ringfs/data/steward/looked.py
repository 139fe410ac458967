"""Which ids a steward looked at how long ago, so that a pass begins with what it has not seen for longest. Pure.

New maps end passes, and may come faster than a pass takes. As each begins with what was looked at longest ago, all of a share gets
its turn however often that happens, also when the share is another one with each map.
"""

from typing import NamedTuple

from ringfs.data.steward.share import ALL_IDS, Share, share_between

#: More pieces are not told apart: two neighbours become one, as old as the older.
_PIECES_MAX = 64


class _Piece(NamedTuple):
    """The ids (as numbers) start ≤ id < stop, last looked at in a pass of that number."""

    start: int
    stop: int
    number: int


class LookedAt:
    """All ids, in pieces. Passes are numbered from 1."""

    def __init__(self) -> None:
        self._number = 0
        #: Ascending, without gaps; neighbours have different numbers.
        self._pieces = [_Piece(0, ALL_IDS, 0)]

    def begin(self) -> None:
        """Another pass: what it looks at is newer than all else."""
        self._number += 1

    def parts(self, share: Share) -> list[Share]:
        """The share in parts, the one that was looked at longest ago first. One behind the other is one part."""
        start, stop = share.bounds
        inside = [
            _Piece(max(start, piece.start), min(stop, piece.stop), piece.number)
            for piece in self._pieces
            if piece.start < stop and start < piece.stop
        ]
        found: list[tuple[int, int]] = []
        for piece in sorted(inside, key=lambda piece: (piece.number, piece.start)):
            if found and found[-1][1] == piece.start:
                found[-1] = (found[-1][0], piece.stop)
            else:
                found.append((piece.start, piece.stop))
        return [share_between(*each) for each in found]

    def note(self, share: Share) -> None:
        """These ids were looked at just now."""
        start, stop = share.bounds
        if start >= stop:
            return
        left = [piece._replace(stop=min(piece.stop, start)) for piece in self._pieces if piece.start < start]
        right = [piece._replace(start=max(piece.start, stop)) for piece in self._pieces if piece.stop > stop]
        self._pieces = _joined([*left, _Piece(start, stop, self._number), *right])
        while len(self._pieces) > _PIECES_MAX:
            self._join_most_alike()

    def permille(self, share: Share) -> int:
        """How much of the share was looked at in this pass, in thousandths."""
        start, stop = share.bounds
        seen = sum(
            max(0, min(stop, piece.stop) - max(start, piece.start)) for piece in self._pieces if piece.number == self._number
        )
        return seen * 1000 // max(1, stop - start)

    def _join_most_alike(self) -> None:
        pieces = self._pieces
        at = min(range(len(pieces) - 1), key=lambda index: abs(pieces[index].number - pieces[index + 1].number))
        one, other = pieces[at : at + 2]
        self._pieces = _joined([*pieces[:at], _Piece(one.start, other.stop, min(one.number, other.number)), *pieces[at + 2 :]])


def _joined(pieces: list[_Piece]) -> list[_Piece]:
    """Neighbours with the same number are one."""
    found: list[_Piece] = []
    for piece in pieces:
        if found and found[-1].number == piece.number:
            found[-1] = found[-1]._replace(stop=piece.stop)
        else:
            found.append(piece)
    return found
