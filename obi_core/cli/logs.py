"""Logs go to standard error, one line each: for people on a terminal, `key=value` otherwise."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class ForPeople(logging.Formatter):
    """`12:03:04 warning: text`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line; the traceback follows where there is one."""
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"{at} {record.levelname.lower()}: {_one_line(record)}" + _trace(self, record)


class ForMachines(logging.Formatter):
    """`time=2026-01-02T03:04:05.678Z level=warning logger=obi.runner msg="text"`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line; the traceback, where there is one, as one more value."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        trace = _trace(self, record)
        line = f"time={at}.{int(record.msecs):03d}Z level={record.levelname.lower()} logger={record.name}"
        line += f" msg={_quoted(_one_line(record))}"
        return f"{line} trace={_quoted(trace.strip())}" if trace else line


@contextmanager
def logging_to(stream: TextIO, level: str) -> Iterator[None]:
    """Log to `stream` inside the block.

    While a live table is on the same terminal the sink that draws it takes the lines (`obi_core.sinks.screen.HeldLog`).

    Args:
        stream: Standard error.
        level: Least severe level.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ForPeople() if stream.isatty() else ForMachines())
    root = logging.getLogger()
    before = root.level
    root.setLevel(level.upper())
    root.addHandler(handler)
    logging.captureWarnings(capture=True)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        logging.captureWarnings(capture=False)


def _one_line(record: logging.LogRecord) -> str:
    return " ".join(record.getMessage().split())


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return f"\n{formatter.formatException(record.exc_info)}" if record.exc_info and record.exc_info[0] else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
