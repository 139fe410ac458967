"""What a pass begins with: what was looked at longest ago. All of a share has its turn, however early passes end."""

import random

from ringfs.data.steward.looked import _PIECES_MAX, LookedAt
from ringfs.data.steward.share import ALL_IDS, Share, share_between

ALL = Share(b"", b"")


def part(start: float, stop: float) -> Share:
    """A part of all ids, as fractions of 1024."""
    return share_between(int(start) * ALL_IDS // 1024, int(stop) * ALL_IDS // 1024)


def test_a_pass_goes_on_where_the_one_before_ended_and_then_begins_anew() -> None:
    looked = LookedAt()
    share = part(100, 400)
    looked.begin()
    assert looked.parts(share) == [share]
    looked.note(part(100, 200))
    looked.begin()
    assert looked.parts(share) == [part(200, 400), part(100, 200)]
    assert looked.permille(share) == 0
    looked.note(part(200, 250))
    assert looked.permille(share) == 166
    looked.begin()
    assert looked.parts(share) == [part(250, 400), part(100, 250)], "the oldest first, and one stream for what follows"
    for each in looked.parts(share):
        looked.note(each)
    assert looked.permille(share) == 1000
    looked.begin()
    assert looked.parts(share) == [share], "a pass that came to its end leaves nothing behind"


def test_another_share_begins_with_what_is_new_in_it() -> None:
    looked = LookedAt()
    looked.begin()
    looked.note(part(0, 512))
    looked.begin()
    assert looked.parts(part(0, 768)) == [part(512, 768), part(0, 512)]
    assert looked.parts(part(256, 512)) == [part(256, 512)]


def test_nothing_is_noted_of_no_ids() -> None:
    looked = LookedAt()
    looked.begin()
    looked.note(Share(b"", bytes(20)))
    assert looked.permille(ALL) == 0
    assert looked.parts(ALL) == [ALL]


def test_every_id_has_its_turn_however_shares_change() -> None:
    """Each pass gets on by a hundredth of the ring at most, and by anything but nothing, in a share that is one of three."""
    for seed in range(20):
        draw = random.Random(seed)
        looked, shares = LookedAt(), [part(341, 682), part(512, 1023), part(256, 512)]
        last = dict.fromkeys(range(256, 1023), 0)
        for count in range(1, 3000):
            share = shares[draw.choice((0, 1, 2) if draw.random() < 0.1 else (count % 2,))]
            looked.begin()
            first, stop = looked.parts(share)[0].bounds
            until = min(stop, first + draw.randint(1, 10) * ALL_IDS // 1024)
            looked.note(share_between(first, until))
            for number in range(-(-first * 1024 // ALL_IDS), -(-until * 1024 // ALL_IDS)):
                last[number] = count
            assert len(looked.parts(ALL)) <= _PIECES_MAX
        assert min(last.values()) > 1500, f"seed {seed}"
