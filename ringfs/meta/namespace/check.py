"""The checker: proves of a view everything that DESIGN §7.4 promises of the namespace. Streams; memory is bounded.

It shares nothing with the operations but keys and records: what they keep by small steps, it counts anew from the rows.
"""

from collections.abc import Iterator

from ringfs.base.kv.view import ReadView
from ringfs.meta.namespace import check_content, check_inodes, check_locks, check_service, check_tree, check_usage
from ringfs.meta.namespace.finding import Finding


def check(view: ReadView) -> Iterator[Finding]:
    """Everything that is wrong with a namespace; nothing if it is right. The view must not change meanwhile."""
    yield from check_service.check_rows_known(view)
    yield from check_inodes.check_inodes(view)
    yield from check_tree.check_entries(view)
    yield from check_tree.check_cookies(view)
    yield from check_tree.check_links(view)
    yield from check_usage.check_usage(view)
    yield from check_content.check_chunks(view)
    yield from check_content.check_doomed(view)
    yield from check_content.check_objects(view)
    yield from check_content.check_verdicts(view)
    yield from check_service.check_orphans(view)
    yield from check_service.check_sessions(view)
    yield from check_service.check_classes(view)
    yield from check_service.check_nodes(view)
    yield from check_locks.check_locks(view)


__all__ = ["Finding", "check"]
