"""How long a client waits for a metadata service that does not answer: long, for it may be on its way up; not for ever."""

from typing import Any

import trio

from ringfs.base.errors import Code, Refused


class bounded:
    """Waiting for a leader ends in EIO, not never."""

    def __init__(self, timeout_s: float) -> None:
        self._scope = trio.fail_after(timeout_s)

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(self, *exc: Any) -> bool | None:
        try:
            return self._scope.__exit__(*exc)
        except trio.TooSlowError:
            raise Refused(Code.IO, "the metadata service did not answer in time") from None
