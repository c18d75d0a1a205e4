"""What `obi run` shows: cells, tables, lines, and a terminal that is as it was afterwards."""

import io
import logging
import os
import pty
import re
import select
import struct
import sys
import termios
import threading
from fcntl import ioctl

import pytest

from obi_core.bus import own_metric
from obi_core.model import Column, Instrument, Kind, Metric, Owner, Point, Row, View
from obi_core.settings import CoreSettings
from obi_core.sink import ViewTable
from obi_core.sinks import terminal
from obi_core.sinks.cells import cell, clean, columns, fit
from obi_core.sinks.layout import lay_out, who
from obi_core.sinks.screen import ENTER, LEAVE
from obi_core.sinks.summary import Summary, headline
from obi_core.sinks.terminal import TerminalSink

VIEW = View(
    "connections",
    "Connections.",
    (Column("peer", width=28), Column("rtt", "s", 9), Column("received", "By", 10), Column("retransmits", "{segment}", 11)),
    order="received",
)
CONNECTS = Instrument(
    "obi.tcp.connects",
    Kind.COUNTER,
    "{connection}",
    "",
    ("role", "error.type"),
    headline=({"role": "client"}, {"role": "server"}),
)
IO = Instrument("obi.tcp.io", Kind.COUNTER, "By", "", headline=({},))
OPEN = Instrument("obi.tcp.connections", Kind.UPDOWNCOUNTER, "", "", headline=({"state": "established"}, {"state": "listen"}))
EXECS = Instrument("obi.exec.execs", Kind.COUNTER, "{exec}", "", headline=({},))


def metric(instrument, *points):
    return Metric(instrument, "dist 1", tuple(Point(tuple(sorted(labels.items())), value, 1, 2) for labels, value in points))


def row(key, peer, rtt, received, comm="curl", name="curl"):
    subject = {"process.executable.name": name} if name else {}
    return Row(VIEW, key, Owner(key, 1, 1, comm), (peer, rtt, received, 0)), subject


ROWS = (row(7, "10.0.0.1:443", 0.0012, 12_300), row(8, "10.0.0.2:80", None, 4_000_000, name="nginx"))


class Shown:
    """Stands in for the bus."""

    def __init__(self, *metrics, rows=ROWS, missed=0):
        self.given, self.rows, self.missed = list(metrics), rows, missed
        self.subscribed = []

    def metrics(self):
        return self.given

    def views(self):
        return (VIEW,)

    def subscribe(self, view):
        self.subscribed.append(view)
        return lambda: self.subscribed.remove(view)

    def table(self, view):
        return ViewTable(VIEW, self.rows, self.missed) if self.rows is not None else None


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "s", "0 s"),
        (3e-9, "s", "3.0 ns"),
        (0.00085, "s", "850 µs"),
        (0.0012, "s", "1.2 ms"),
        (42, "s", "42 s"),
        (192, "s", "3 m 12 s"),
        (7_500, "s", "2 h 5 m"),
        (273_600, "s", "3 d 4 h"),
        (0, "By", "0 B"),
        (999, "By", "999 B"),
        (12_300, "By", "12.3 kB"),
        (999_960, "By", "1.0 MB"),
        (4e9, "By", "4.0 GB"),
        (17, "{segment}", "17"),
        (0.12345, "1", "0.1235"),
        (None, "s", ""),
        ("x", "s", "x"),
    ],
)
def test_a_cell_is_shown_by_its_unit(value, unit, text):
    assert cell(value, unit) == text


def test_what_could_do_something_to_a_terminal_is_replaced():
    assert clean("a\x1b[2Jb\r\n\x07\x7f\x9bc\u202ed\u200be\udcff") == "a?[2Jb?????c?d?e?"
    assert clean("grün 日本") == "grün 日本"


def test_text_fits_its_columns_exactly():
    assert fit("abc", 5) == "abc  "
    assert fit("abc", 5, right=True) == "  abc"
    assert fit("abcdef", 4) == "abc…"
    assert fit("日本語", 5) == "日本…"
    assert fit("日本語", 4) == "日… "
    assert fit("abc", 0) == ""
    assert columns("e\u0301日") == 3


def test_a_table_is_sorted_by_the_order_column_and_says_whose_each_row_is():
    assert lay_out(ViewTable(VIEW, ROWS), 70, 10) == [
        "process  peer             rtt  received  retransmits                  ",
        "nginx 8  10.0.0.2:80             4.0 MB            0                  ",
        "curl 7   10.0.0.1:443  1.2 ms   12.3 kB            0                  ",
    ]


def test_a_narrow_terminal_costs_text_before_numbers():
    lines = lay_out(ViewTable(VIEW, ROWS), 40, 10)
    assert lines == [
        "process  peer         rtt  receiv…  ret…",
        "nginx 8  10.0.0.…           4.0 MB     0",
        "curl 7   10.0.0.…  1.2 ms  12.3 kB     0",
    ]
    assert all(columns(line) == 5 for line in lay_out(ViewTable(VIEW, ROWS), 5, 10))


def test_a_low_terminal_shows_the_first_rows():
    rows = tuple(row(n, "peer", 0, n) for n in range(100))
    lines = lay_out(ViewTable(VIEW, rows), 80, 4)
    assert [line.split()[:2] for line in lines[1:]] == [["curl", "99"], ["curl", "98"], ["curl", "97"]]
    assert lay_out(ViewTable(VIEW, rows), 80, 0) == []


def test_a_process_cannot_write_to_the_terminal_through_its_name():
    hostile = (row(1, "\x1b]0;title\x07", 0, 1, comm="\x1b[31m", name=""),)
    text = "\n".join(lay_out(ViewTable(VIEW, hostile), 80, 5))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "?[31m 1" in text


def test_a_pod_is_named_before_its_process():
    subject = {"k8s.pod.name": "web-1", "process.executable.name": "nginx", "container.id": "c" * 64}
    line = lay_out(ViewTable(VIEW, ((ROWS[0][0], subject),)), 100, 5)[1]
    assert line.startswith("web-1 nginx 7")


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ({"systemd.unit": "nginx.service"}, "nginx.service"),
        ({"process.linux.cgroup": "/batch/7"}, "/batch/7"),
        ({"container.id": "c" * 64, "systemd.unit": "x"}, "c" * 12),
        ({}, ""),
    ],
)
def test_a_cgroup_without_a_process_is_named_by_what_it_is(subject, name):
    assert who(Owner(0, 0, 42, ""), subject) == name


def test_a_line_says_what_was_counted_since_the_line_before():
    summary = Summary()
    failed = {"role": "client", "error.type": "refused"}
    first = [
        metric(CONNECTS, ({"role": "client"}, 20), ({"role": "client", "p": "a"}, 1), (failed, 2), ({"role": "server"}, 4)),
        metric(IO, ({}, 1_200_000)),
        metric(OPEN, ({"state": "established"}, 14), ({"state": "listen"}, 0)),
        metric(EXECS, ({}, 3)),
        own_metric("obi_build_info", Kind.GAUGE, "", [({}, 1)]),
    ]
    assert summary.line(first) == (
        "tcp connects.client=23 connects.server=4 connects.failed=2 io=1.2MB connections.established=14; exec execs=3"
    )
    second = [
        metric(CONNECTS, ({"role": "client"}, 21), ({"role": "client", "p": "a"}, 1), (failed, 2), ({"role": "server"}, 4)),
        metric(IO, ({}, 700)),
        metric(OPEN, ({"state": "established"}, 0), ({"state": "listen"}, 0)),
    ]
    assert summary.line(second) == "tcp connects.client=1 connects.server=0 connects.failed=0 io=700B"
    assert summary.line([]) == ""


def test_the_first_line_of_the_table_says_what_every_probe_does():
    metrics = [
        own_metric(
            "obi_probe_state",
            Kind.GAUGE,
            "",
            [
                ({"probe": "tcp", "state": "attached", "reason": "ok"}, 1),
                ({"probe": "tcp", "state": "failed", "reason": "x"}, 0),
                ({"probe": "dns", "state": "unsupported", "reason": "no_btf"}, 1),
            ],
        ),
        own_metric("obi_probe_mode", Kind.GAUGE, "", [({"probe": "tcp", "mode": "tp_btf"}, 1)]),
    ]
    assert (
        headline({"host.name": "web-1"}, 10.0, metrics, "")
        == "obi · web-1 · every 10 s · tcp: tp_btf · dns: unsupported no_btf"
    )


class Terminal:
    """The user's side of a pseudo terminal."""

    def __init__(self, width, height):
        self.near, self.far = pty.openpty()
        self.resize(width, height)
        self.stream = os.fdopen(self.far, "w", encoding="utf-8")
        self.seen = b""

    def resize(self, width, height):
        ioctl(self.far, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def until(self, text):
        while text.encode() not in self.seen:
            ready, _, _ = select.select([self.near], [], [], 10)
            assert ready, self.seen
            self.seen += os.read(self.near, 65536)
        return self.seen.decode()

    def close(self):
        self.stream.close()
        os.close(self.near)


@pytest.fixture
def tty():
    made = Terminal(72, 6)
    yield made
    made.close()


def test_the_table_is_redrawn_in_place_and_the_terminal_is_restored(tty):
    source = Shown()
    sink = TerminalSink(tty.stream, "table", 10.0, {"host.name": "web-1"}, redraw_s=0.02)
    sink.start(source)
    text = tty.until("curl 7")
    assert text.startswith(ENTER)
    assert "obi · web-1 · every 10 s · 2 connections" in text
    assert source.subscribed == ["connections"]
    source.rows = (row(9, "10.9.9.9:1", 0.5, 1),)
    tty.until("1 connections")
    sink.stop()
    sink.stop()
    assert tty.until(LEAVE).endswith(LEAVE)
    assert source.subscribed == []


def test_the_table_never_draws_more_than_the_terminal_holds(tty):
    sink = TerminalSink(tty.stream, "table", 10.0, {}, redraw_s=0.02)
    sink.start(Shown(rows=tuple(row(n, "p" * 200, 0, n) for n in range(50)), missed=7))
    tty.until("57 connections, 4 shown")
    tty.resize(30, 3)
    for _ in range(4):
        tty.seen = b""
        tty.until("\x1b[J\x1b[H")
    tty.until("\x1b[K\x1b[J")
    sink.stop()
    frame = re.sub(r"\x1b\[[0-9]*[mKH]|\r", "", tty.seen.decode().split("\x1b[J")[1])
    lines = frame.split("\n")
    assert len(lines) == 3
    assert {columns(line) for line in lines} == {30}


def test_before_the_first_collection_the_table_says_that_it_waits(tty):
    sink = TerminalSink(tty.stream, "table", 10.0, {}, redraw_s=0.02)
    sink.start(Shown(rows=None))
    tty.until("waiting for the first collection")
    sink.stop()


def test_log_lines_wait_until_the_terminal_is_free_again(tty, monkeypatch):
    class Errors(io.StringIO):
        def isatty(self):
            return True

    errors = Errors()
    monkeypatch.setattr(sys, "stderr", errors)
    handler = logging.StreamHandler()
    logger = logging.getLogger("test_terminal")
    logger.addHandler(handler)
    try:
        sink = TerminalSink(tty.stream, "table", 10.0, {}, redraw_s=0.02)
        sink.start(Shown())
        tty.until("curl 7")
        logger.warning("first \x1b[2J")
        logger.warning("second")
        tty.until("second")
        assert errors.getvalue() == ""
        sink.stop()
        assert errors.getvalue() == "first \x1b[2J\nsecond\n"
        logger.warning("third")
        assert errors.getvalue().endswith("third\n")
    finally:
        logger.removeHandler(handler)


class Lines(io.StringIO):
    """Text that tells when a line has come."""

    def __init__(self):
        super().__init__()
        self.came = threading.Semaphore(0)

    def flush(self):
        self.came.release()


def test_elsewhere_one_line_comes_per_interval_and_the_last_at_the_flush():
    stream = Lines()
    source = Shown(metric(EXECS, ({}, 3)))
    sink = TerminalSink(stream, "lines", 0.05, {})
    sink.start(source)
    assert stream.came.acquire(timeout=10)
    source.given = [metric(EXECS, ({}, 10))]
    sink.flush(10)
    sink.stop()
    lines = stream.getvalue().splitlines()
    assert sum(int(line.split("execs=")[1]) for line in lines) == 10
    assert all(line[2] == line[5] == ":" and line[8:].startswith(" exec execs=") for line in lines)


def test_a_reader_that_is_gone_ends_the_lines_and_nothing_else(caplog):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    caplog.set_level("INFO")
    sink = TerminalSink(Gone(), "lines", 0.01, {})
    sink.start(Shown(metric(EXECS, ({}, 3))))
    sink.flush(10)
    sink.stop()
    assert "nothing more is shown: standard output is gone (Broken pipe)" in caplog.text


@pytest.mark.parametrize(
    ("view", "isatty", "term", "form"),
    [
        ("auto", True, "xterm", "table"),
        ("auto", True, "dumb", "lines"),
        ("auto", False, "xterm", "lines"),
        ("table", False, "xterm", "table"),
        ("lines", True, "xterm", "lines"),
        ("off", True, "xterm", None),
    ],
)
def test_the_form_follows_the_setting_and_the_terminal(monkeypatch, view, isatty, term, form):
    class Out(io.StringIO):
        def isatty(self):
            return isatty

    monkeypatch.setattr(terminal.sys, "stdout", Out())
    monkeypatch.setenv("TERM", term)
    sink = TerminalSink.create(CoreSettings(agent={"view": view}), {})
    assert (None if sink is None else sink._form) == form
