"""Logs: one line each, for people or for machines, held back while a table is shown."""

import io
import logging
import re

import pytest

from obi_core.cli.logs import logging_to


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def log():
    return logging.getLogger("obi.test")


def test_elsewhere_a_line_is_key_value(log):
    stream = io.StringIO()
    with logging_to(stream, "info"):
        log.warning('a "quoted"\nthing with \\')
    (line,) = stream.getvalue().splitlines()
    assert re.fullmatch(
        r'time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=warning logger=obi\.test msg="a \\"quoted\\" thing with \\\\"',
        line,
    )


def test_on_a_terminal_a_line_is_for_people(log):
    stream = Terminal()
    with logging_to(stream, "info"):
        log.info("probe %s runs", "tcp")
    assert re.fullmatch(r"\d\d:\d\d:\d\d info: probe tcp runs\n", stream.getvalue())


def test_a_traceback_stays_within_its_line_for_machines(log):
    stream = io.StringIO()
    with logging_to(stream, "info"):
        try:
            {}["x"]
        except KeyError:
            log.exception("it raised")
    (line,) = stream.getvalue().splitlines()
    assert 'msg="it raised" trace="Traceback (most recent call last):\\n' in line


def test_the_level_is_kept(log):
    stream = io.StringIO()
    with logging_to(stream, "error"):
        log.warning("no")
        log.error("yes")
    assert stream.getvalue().count("\n") == 1


def test_afterwards_logging_is_as_before(log):
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    with logging_to(io.StringIO(), "debug"):
        pass
    assert (root.handlers, root.level) == before
