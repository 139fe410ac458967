"""Reform: objects are stored in another form now, all parts of which are durable.

Passed over: objects that are not live, are in neither form, or whose class promises more than the new form keeps (it may have
grown meanwhile). Said twice, the answer is the same.

| refused | when |
| --- | --- |
| INVALID | what is no form |
"""

from ringfs.meta.namespace import keys
from ringfs.meta.namespace.promises import check_form, keeps
from ringfs.meta.namespace.records import pack_object
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.heal import Reform, ReformDone, Reformed


def apply(work: Work, op: Reform) -> ReformDone:
    """See the module."""
    for each in op.objects:
        check_form(each.new_form)
    return ReformDone([each.object for each in op.objects if _reform(work, each)])


def _reform(work: Work, new: Reformed) -> bool:
    row = work.references.live_object(new.object)
    if row is None:
        return False
    size_bytes, live_bytes, stored_class, form = row
    if form == new.new_form:
        return True
    if form != new.old_form or not keeps(new.new_form, stored_class):
        return False
    row[3] = new.new_form
    work.rows.put(keys.object_row(new.object), pack_object(size_bytes, live_bytes, stored_class, new.new_form))
    return True
