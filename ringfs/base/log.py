"""The set-up of structlog: one line for each event, key=value, to a file or stderr. What is logged is its caller's business."""

import logging
import sys
from pathlib import Path
from typing import Any, TextIO

import structlog

#: Names in the configuration, and structlog's numbers for them.
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up_log(level: str = "info", file: Path | None = None) -> None:
    """Log events of at least that level (a key of LEVELS) to the end of file, or to stderr. For a process, once, at its start."""
    stream: TextIO = sys.stderr if file is None else file.open("a", encoding="utf-8", errors="backslashreplace")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _escape,
            structlog.processors.LogfmtRenderer(key_order=["time", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def _escape(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Control characters, which a peer may have chosen, neither begin a line nor move a cursor."""
    return {
        name: value if value is None or isinstance(value, int | float) else _printable(str(value)) for name, value in event.items()
    }


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
