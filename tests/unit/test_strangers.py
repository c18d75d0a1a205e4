"""A stranger's words, on one line."""

import pytest

from obi_core.runtime.strangers import one_line, said, shown


class MuteError(Exception):
    def __str__(self):
        raise ValueError("no words")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("two\n  lines\t", "two lines"),
        ("\x1b[31mred\x07", "?[31mred?"),
        ("\u202eback", "?back"),
        ("é 漢", "é 漢"),
        ("a" * 301, "a" * 299 + "…"),
        ("", ""),
    ],
)
def test_a_text_becomes_one_line(text, line):
    assert one_line(text) == line


def test_what_was_raised_is_said_with_its_type():
    assert said(KeyError("x")) == "KeyError: 'x'"
    assert said(MuteError()) == "MuteError, which cannot be shown"


def test_a_value_is_shown_whatever_its_repr_does():
    assert shown("a\nb") == r"'a\nb'"
    assert shown(MuteError()) == "a MuteError that cannot be shown"
    assert len(shown("x" * 1000)) == 80
