"""Several views on one screen, and the keys that choose among them."""

import os
import pty
import termios

import pytest

from obi_core.model import Column, Owner, Row, View
from obi_core.sink import ViewTable
from obi_core.sinks.cells import columns
from obi_core.sinks.keys import Keys
from obi_core.sinks.pages import Pages, stacked


def table(name, rows):
    view = View(name, f"All {name}.", (Column("n", "{x}"),), order="n")
    return ViewTable(view, tuple((Row(view, at, Owner(at, 1, 1, "cat"), (at,)), {}) for at in range(rows)), 0)


def test_views_share_the_screen_and_what_one_does_not_need_goes_to_the_others():
    tables = {"calls": table("calls", 50), "limits": table("limits", 1), "connections": table("connections", 50)}

    lines, titles = stacked(tables, 40, 20)

    assert len(lines) == 20
    assert {columns(line) for line in lines} == {40}
    assert [lines[at].strip() for at in sorted(titles)] == ["50 calls, 7 shown", "1 limits", "50 connections, 6 shown"]
    assert [lines[at + 1].split() for at in sorted(titles)] == [["process", "n"]] * 3


def test_a_low_screen_shows_the_first_views_only():
    tables = {name: table(name, 5) for name in ("a", "b", "c")}
    lines, titles = stacked(tables, 40, 7)
    assert len(titles) == 2
    assert len(lines) == 7
    lines, titles = stacked(tables, 40, 2)
    assert (len(titles), len(lines)) == (1, 2)
    assert stacked(tables, 40, 0) == ([], {0})


def test_a_view_without_rows_or_without_a_collection_says_so():
    lines, _ = stacked({"calls": table("calls", 0), "limits": None}, 40, 10)
    assert [line.strip() for line in lines] == [
        "0 calls",
        "none now: All calls.",
        "limits",
        "waiting for the first collection",
    ]


def test_views_stand_in_the_order_that_is_asked_for_and_strangers_follow():
    pages = Pages(("processes", "connections", "calls"))
    assert pages.offer(["heartbeats", "calls", "connections"])
    assert pages.shown == ("connections", "calls", "heartbeats")
    assert not pages.offer(["heartbeats", "calls", "connections"])


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ("", ("a", "b", "c")),
        ("2", ("b",)),
        ("20", ("a", "b", "c")),
        ("\t", ("a",)),
        ("\t\t\t", ("c",)),
        ("\t\t\t\t", ("a", "b", "c")),
        ("9xq\x1b[A", ("a", "b", "c")),
    ],
)
def test_keys_choose_one_view_or_all(keys, shown):
    pages = Pages()
    pages.offer(["a", "b", "c"])
    pages.press(keys)
    assert pages.shown == shown
    assert pages.hint() == "Tab 0 all 1 a 2 b 3 c"


def test_a_chosen_view_that_goes_leaves_the_screen_to_the_others():
    pages = Pages()
    pages.offer(["a", "b"])
    pages.press("2")
    pages.offer(["a"])
    assert pages.shown == ("a",)
    assert pages.hint() == ""


def test_what_is_no_terminal_of_ours_gives_no_keys_and_stays_as_it_is():
    near, far = pty.openpty()
    try:
        before = termios.tcgetattr(far)
        keys = Keys(far)
        with keys.taken():
            assert not keys.there, "it is the controlling terminal of nobody"
            os.write(near, b"1")
            assert keys.pressed(0) == ""
            assert termios.tcgetattr(far) == before
    finally:
        os.close(near)
        os.close(far)


def test_keys_come_at_once_and_without_an_echo_and_the_terminal_is_as_before_afterwards(tmp_path):
    """In a child that has a terminal of its own, as a shell gives it."""
    result = tmp_path / "result"
    child, near = pty.fork()
    if not child:
        before = termios.tcgetattr(0)
        keys = Keys(0)
        with keys.taken():
            os.write(1, b"ready")
            pressed = keys.pressed(10)
        after = termios.tcgetattr(0)
        result.write_text(f"{pressed} {before == after}")
        os._exit(0)
    try:
        seen = b""
        while b"ready" not in seen:
            seen += os.read(near, 100)
        os.write(near, b"2")
        os.waitpid(child, 0)
    finally:
        os.close(near)
    assert result.read_text() == "2 True"
    assert b"2" not in seen
