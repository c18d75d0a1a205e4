"""Which views are on the screen, and how they share it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from obi_core.sink import ViewTable
from obi_core.sinks.cells import clean, fit
from obi_core.sinks.layout import lay_out

_LEAST: Final = 3
"""Lines that a view needs beside others: its title, its columns, one row."""


@dataclass(slots=True)
class Pages:
    """All views one above the other, or one alone.

    Args:
        order: Names of views, the first above; those not named follow.
    """

    order: Sequence[str] = ()
    offered: list[str] = field(default_factory=list)
    alone: str = ""
    """The view that has the screen for itself; empty: all share it."""

    def offer(self, names: Sequence[str]) -> bool:
        """Take the views that there are now; whether that changes anything."""
        known = [name for name in self.order if name in names]
        now = [*known, *(name for name in names if name not in known)]
        changed = now != self.offered
        self.offered = now
        if self.alone not in now:
            self.alone = ""
        return changed

    def press(self, keys: str) -> None:
        """Follow a person: a digit chooses a view, 0 all of them, Tab the next."""
        for key in keys:
            if key == "0":
                self.alone = ""
            elif key.isdecimal() and int(key) <= len(self.offered):
                self.alone = self.offered[int(key) - 1]
            elif key == "\t" and self.offered:
                ring = ["", *self.offered]
                self.alone = ring[(ring.index(self.alone) + 1) % len(ring)]

    @property
    def shown(self) -> tuple[str, ...]:
        """Views on the screen."""
        return (self.alone,) if self.alone else tuple(self.offered)

    def hint(self) -> str:
        """Say which keys do what; empty where there is nothing to choose."""
        if len(self.offered) < 2:  # noqa: PLR2004 - one view has the screen anyway
            return ""
        return " ".join(["Tab", "0 all", *(f"{number} {clean(name)}" for number, name in enumerate(self.offered, 1))])


def stacked(tables: Mapping[str, ViewTable | None], width: int, height: int) -> tuple[list[str], set[int]]:
    """Write several views, one above the other; each gets what it needs, and as much as the others leave.

    Args:
        tables: By name, the first above; None: no collection yet.
        width: Columns of the terminal.
        height: Lines there are.

    Returns:
        At most `height` lines of exactly `width` columns, and which of them are titles.
    """
    names = list(tables)[: max(1, height // _LEAST)]
    wanted = {name: _LEAST if (table := tables[name]) is None else 2 + max(1, len(table.rows)) for name in names}
    lines: list[str] = []
    titles: set[int] = set()
    for name, share in _shares(wanted, height).items():
        titles.add(len(lines))
        lines += _section(name, tables[name], width, share)
    return lines[:height], titles


def count_of(name: str, table: ViewTable, shown: int) -> str:
    """Say how many rows a view has, and how many of them are shown."""
    total = len(table.rows) + table.missed
    return f"{total} {clean(name)}" + (f", {shown} shown" if shown < total else "")


def _section(name: str, table: ViewTable | None, width: int, height: int) -> list[str]:
    if table is None:
        return [fit(clean(name), width), fit("waiting for the first collection", width)][:height]
    lines = lay_out(table, width, height - 1)
    title = fit(count_of(name, table, len(lines) - 1), width)
    if not table.rows:
        return [title, fit(f"none now: {clean(table.view.description)}", width)][:height]
    return [title, *lines]


def _shares(wanted: Mapping[str, int], height: int) -> dict[str, int]:
    """Split the lines evenly; what one does not need goes to the others."""
    shares = dict.fromkeys(wanted, 0)
    left = height
    while left > 0 and (hungry := [name for name in wanted if shares[name] < wanted[name]]):
        for name in hungry[:left]:
            shares[name] += 1
            left -= 1
    return shares
