"""Questions about quotas: lists in pages, paths, and the room that a quota leaves."""

from ringfs.base.errors import Code
from ringfs.base.limits import QUOTA_PATH_BYTES_MAX
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.quota import GetQuota, ListQuotas, SetQuota
from ringfs.wire.schema import decode, encode
from tests.support.namespace import TrialNamespace, inline
from tests.support.refusals import refused


def test_list_in_pages(trial: TrialNamespace) -> None:
    """In order of number, each once, from where one left off."""
    numbers = [trial.directory(b"%d" % i) for i in range(3)]
    for number in numbers:
        trial.do(SetQuota(number, 1, 0))
    page = trial.ask(ListQuotas(0, 2))
    assert ([each.path for each in page.quotas], page.more) == ([b"/0", b"/1"], True)
    page = trial.ask(ListQuotas(numbers[1], 2))
    assert ([each.directory for each in page.quotas], page.more) == ([numbers[2]], False)


def test_paths(trial: TrialNamespace) -> None:
    """The root's is /; one that is too long is left out, and the answer fits its message."""
    assert trial.ask(GetQuota(1)).path == b"/"
    place = 1
    for _ in range(QUOTA_PATH_BYTES_MAX // 256):
        place = trial.directory(b"n" * 255, place)
    assert len(trial.ask(GetQuota(place)).path) == QUOTA_PATH_BYTES_MAX
    too_deep = trial.directory(b"n", place)
    answer = trial.ask(GetQuota(too_deep))
    assert answer.path == b""
    assert decode(encode(answer)) == answer


def test_what_has_no_figures(trial: TrialNamespace) -> None:
    """Files and removed directories."""
    with refused(Code.NOT_DIRECTORY):
        trial.ask(GetQuota(trial.file(b"f")))
    removed = trial.directory(b"d")
    trial.do(m.Rmdir(1, b"d"), holders=[trial.session])
    with refused(Code.NOT_FOUND):
        trial.ask(GetQuota(removed))


def test_room_is_that_of_the_narrowest(trial: TrialNamespace) -> None:
    """For bytes and for files each, of all quotas above: of a directory itself, of a file where it is charged."""
    outer = trial.directory(b"outer")
    inner = trial.directory(b"inner", outer)
    file = trial.file(b"f", inner)
    trial.commit(file, inline(0, b"x" * 10))
    assert trial.ask(q.StatFs(file)).total_bytes == 0
    trial.do(SetQuota(outer, 100, 5))
    trial.do(SetQuota(inner, 1000, 2))
    for number in (file, inner):
        figures = trial.ask(q.StatFs(number))
        assert (figures.total_bytes, figures.free_bytes) == (100, 90)
        assert (figures.inode_count, figures.inode_max, figures.quota_count) == (1, 2, 2)
    assert trial.ask(q.StatFs(1)).total_bytes == 0
    trial.do(m.Unlink(inner, b"f"), holders=[trial.session])
    assert trial.ask(q.StatFs(file)).total_bytes == 0
