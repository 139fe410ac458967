"""ForgetVerdicts: forget some verdicts that only nodes held back which do not count any more. Nothing is refused."""

from ringfs.meta.namespace.condemned import forget_passed
from ringfs.meta.namespace.system import ForgetVerdicts
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages.common import Done


def apply(work: Work, op: ForgetVerdicts) -> Done:
    """See the module."""
    forget_passed(work)
    return Done()
