"""A view as lines of text that fit a terminal."""

from collections.abc import Mapping, Sequence
from typing import Final

from obi_core.bus.views import order_key
from obi_core.model import Column, Owner, Row
from obi_core.sink import ViewTable
from obi_core.sinks.cells import cell, clean, columns, fit

_WHO: Final = Column("process", width=24)
_LEAST: Final = 8
_GAP: Final = "  "


def who(owner: Owner | None, subject: Mapping[str, str | int]) -> str:
    """Name an owner for people: its pod or container if it has one, then the process and its pid; else its unit or cgroup."""
    place = str(subject.get("k8s.pod.name", "")) or str(subject.get("container.id", ""))[:12]
    process = str(subject.get("process.executable.name", "")) or (owner.comm if owner else "")
    pid = str(owner.tgid) if owner and owner.tgid else ""
    if not (place or process):
        place = str(subject.get("systemd.unit", "")) or str(subject.get("process.linux.cgroup", ""))
    return clean(" ".join(part for part in (place, process, pid) if part))


def lay_out(table: ViewTable, width: int, height: int) -> list[str]:
    """Write a table: a line of names, then the first rows in the view's order.

    Args:
        table: Rows in any order.
        width: Columns of the terminal; no line is wider.
        height: Lines there are; no more are given.
    """
    shown = _sorted(table)[: max(0, height - 1)]
    names = (_WHO, *table.view.columns)
    lines = [
        [
            who(row.owner, subject),
            *(cell(value, column.unit) for value, column in zip(row.cells, table.view.columns, strict=False)),
        ]
        for row, subject in shown
    ]
    widths = _widths(names, lines, width)
    heads = [fit(clean(column.name), size, right=bool(column.unit)) for column, size in zip(names, widths, strict=True)]
    body = [
        [fit(text, size, right=bool(column.unit)) for text, size, column in zip(line, widths, names, strict=False)]
        for line in lines
    ]
    return [fit(_GAP.join(line), width) for line in [heads, *body]][: max(0, height)]


def _sorted(table: ViewTable) -> Sequence[tuple[Row, Mapping[str, str | int]]]:
    key = order_key(table.view)
    return table.rows if key is None else sorted(table.rows, key=lambda each: key(each[0]), reverse=True)


def _widths(names: Sequence[Column], lines: Sequence[Sequence[str]], width: int) -> list[int]:
    # As wide as the content, at most what the column asks for; then the widest give way, numbers never below their digits.
    content = [max([0, *(columns(line[at]) for line in lines if at < len(line))]) for at in range(len(names))]
    widths = [
        min(max(have, len(column.name)), max(column.width, len(column.name)))
        for have, column in zip(content, names, strict=True)
    ]
    floors = [
        max(have, 4) if column.unit else min(size, _LEAST) for have, column, size in zip(content, names, widths, strict=True)
    ]
    over = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    while over > 0:
        room, at = max((size - floor, at) for at, (size, floor) in enumerate(zip(widths, floors, strict=True)))
        if room <= 0:
            break
        widths[at] -= 1
        over -= 1
    return widths
