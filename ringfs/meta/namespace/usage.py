"""What is below every directory, in bytes and files, exact after each transaction; and quotas, which limit it.

A directory's usage row is [parent, bytes, files], with a quota followed by its two limits. Bytes are the stored ones (Inode's
stored_bytes: holes cost nothing, shared bytes count for each file); files are inodes of all types, the directory itself not
among them. An inode counts once, where its `parent` says (homes.py); without a name, nowhere. settle() compares that with what
was charged before and carries the differences up to the root. Figures and other ways that were thought of:
docs/decisions/0006-quotas.md.

In a batch the differences gather (Batch.deltas) and are carried up once, unless there is a quota to keep. The sums in rows are read
where a directory goes or moves, and by questions: until then none is missed.

Only settle, and while quotas exist charge_growth and refuse_crossing, read usage rows: whoever applies operations without them
(a client that has no such rows) leaves these out.
"""

from ringfs.base.errors import Code, Refused
from ringfs.base.kv.view import ReadView, View
from ringfs.meta.namespace import keys
from ringfs.meta.namespace.batch import Batch
from ringfs.meta.namespace.records import Inode, UsageRow, pack_usage, unpack_usage
from ringfs.meta.namespace.work import Work

#: Directory → bytes and files that came to be in it, itself; not below its directories.
Deltas = dict[int, list[int]]


def settle(work: Work) -> None:
    """Charge everything that the transaction has changed. Refused QUOTA: then it must not happen."""
    deltas: Deltas = {}
    for inode in work.altered():
        if inode.charged_to != inode.parent or inode.charged_bytes != inode.stored_bytes:
            _compare(work, inode, deltas)
    if deltas:
        _carry_up(work, deltas, checked=True)
    if work.batch is not None:
        # Now that the transaction is not refused any more.
        _add_all(work.batch.deltas, work.deltas)


def charge_growth(work: Work, inode: Inode, grown_bytes: int) -> None:
    """A file is about to store so much more (or less). Refused QUOTA, with nothing changed. Without any quota, settle() will do."""
    if grown_bytes and inode.charged_to and work.counters.quota_count:
        _carry_up(work, {inode.charged_to: [grown_bytes, 0]}, checked=True)
        inode.charged_bytes += grown_bytes


def move_unchecked(work: Work, inode: Inode) -> None:
    """Charge an inode (no directory) whose parent has changed, whatever quotas say."""
    deltas: Deltas = {}
    _compare(work, inode, deltas)
    _carry_up(work, deltas, checked=False)


def refuse_crossing(work: Work, inode: Inode, names: int, source: int, destination: int) -> None:
    """Refused CROSSES_QUOTA if an inode that is no directory would then have that many names, in and outside of a quota."""
    if names == 1 or source == destination or inode.is_directory() or not work.counters.quota_count:
        return
    if _realm(work.rows, source) != _realm(work.rows, destination):
        raise Refused(Code.CROSSES_QUOTA, f"inode {inode.number} has {names} names")


def _realm(view: ReadView, directory: int) -> int:
    """The nearest directory with a quota, from here up; 0: there is none."""
    while directory:
        row = read_row(view, directory)
        if len(row) > 3:
            break
        directory = row[0]
    return directory


def is_limited(view: ReadView, inode: int) -> bool:
    """Whether a directory is, or is below, one with a quota; False for anything else."""
    return view.get(keys.usage(inode)) is not None and _realm(view, inode) != 0


def read_row(view: ReadView, directory: int) -> UsageRow:
    """A directory's row."""
    value = view.get(keys.usage(directory))
    assert value is not None, "a directory has a usage row"
    return unpack_usage(value)


def end_batch(batch: Batch) -> None:
    """Write what is left of it."""
    _catch_up(batch)
    batch.write()


def _catch_up(batch: Batch) -> None:
    """Bring all usage rows up to date."""
    if batch.deltas:
        deltas, batch.deltas = batch.deltas, {}
        _carry_sums_up(batch, deltas, checked=False)


def _compare(work: Work, inode: Inode, deltas: Deltas) -> None:
    """What an inode adds where it counts now, and takes away where it counted; from now on that is charged."""
    source, destination = inode.charged_to, inode.parent
    if inode.is_directory():
        if source != destination:
            _compare_directory(work, inode, deltas)
    elif source != destination:
        if source:
            _add(deltas, source, -inode.charged_bytes, -1)
        if destination:
            _add(deltas, destination, inode.stored_bytes, 1)
    elif destination and inode.stored_bytes != inode.charged_bytes:
        _add(deltas, destination, inode.stored_bytes - inode.charged_bytes, 0)
    inode.charged_to, inode.charged_bytes = destination, inode.stored_bytes


def _compare_directory(work: Work, directory: Inode, deltas: Deltas) -> None:
    """A directory is new, gone or elsewhere. With it goes what is below it, as charged until now."""
    source, destination = directory.charged_to, directory.parent
    if source and work.batch is not None:
        _catch_up(work.batch)
        _carry_sums_up(work.rows, work.deltas, checked=False)
        work.deltas = {}
    row = read_row(work.rows, directory.number) if source else [destination, 0, 0]
    if source:
        _add(deltas, source, -row[1], -row[2] - 1)
    if destination:
        row[0] = destination
        _add(deltas, destination, row[1], row[2] + 1)
        work.rows.put(keys.usage(directory.number), pack_usage(row))
    else:
        _forget_directory(work, directory.number, row)


def _forget_directory(work: Work, number: int, row: UsageRow) -> None:
    assert row[1:3] == [0, 0], "only an empty directory goes"
    work.rows.delete(keys.usage(number))
    if len(row) > 3:
        work.rows.delete(keys.quota(number))
        work.counters.quota_count -= 1


def _add(deltas: Deltas, directory: int, size_bytes: int, files: int) -> None:
    delta = deltas.get(directory)
    if delta is None:
        deltas[directory] = [size_bytes, files]
    else:
        delta[0] += size_bytes
        delta[1] += files


def _add_all(deltas: Deltas, more: Deltas) -> None:
    for directory, (size_bytes, files) in more.items():
        _add(deltas, directory, size_bytes, files)


def _carry_up(work: Work, deltas: Deltas, *, checked: bool) -> None:
    """Add to the rows of directories and of all above them: first all are summed up and checked, then all are written."""
    if work.batch is not None and not work.counters.quota_count:
        _add_all(work.deltas, deltas)
    elif len(deltas) == 1:
        ((directory, (size_bytes, files)),) = deltas.items()
        _carry_one_up(work.rows, directory, size_bytes, files, checked=checked)
    else:
        _carry_sums_up(work.rows, deltas, checked=checked)


def _carry_one_up(rows: View, directory: int, size_bytes: int, files: int, *, checked: bool) -> None:
    """The usual case, which is in the way of every write: one way up, on which nothing cancels out."""
    changed = {}
    while directory:
        key = keys.usage(directory)
        value = rows.get(key)
        assert value is not None, "a directory has a usage row"
        row = unpack_usage(value)
        row[1] += size_bytes
        row[2] += files
        if checked and len(row) > 3:
            _refuse_excess(directory, row, size_bytes, files)
        changed[key] = pack_usage(row)
        directory = row[0]
    rows.apply(changed)


def _carry_sums_up(rows: View, deltas: Deltas, *, checked: bool) -> None:
    sums: dict[int, tuple[UsageRow, list[int]]] = {}
    for directory, (size_bytes, files) in deltas.items():
        while directory:
            found = sums.get(directory)
            if found is None:
                found = sums[directory] = (read_row(rows, directory), [size_bytes, files])
            else:
                found[1][0] += size_bytes
                found[1][1] += files
            directory = found[0][0]
    changed = {}
    for directory, (row, (size_bytes, files)) in sums.items():
        if size_bytes or files:
            row[1] += size_bytes
            row[2] += files
            if checked and len(row) > 3:
                _refuse_excess(directory, row, size_bytes, files)
            changed[keys.usage(directory)] = pack_usage(row)
    rows.apply(changed)


def _refuse_excess(directory: int, row: UsageRow, grown_bytes: int, grown_files: int) -> None:
    """A quota that is exceeded already refuses only more of what it limits."""
    _, size_bytes, files, bytes_max, files_max = row
    if grown_bytes > 0 and bytes_max and size_bytes > bytes_max:
        raise Refused(Code.QUOTA, f"directory {directory}: {size_bytes} of {bytes_max} bytes")
    if grown_files > 0 and files_max and files > files_max:
        raise Refused(Code.QUOTA, f"directory {directory}: {files} of {files_max} files")
