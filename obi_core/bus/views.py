"""Views: the newest rows of each table that somebody looks at."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from heapq import nlargest
from threading import Lock

from obi_core.model import Owner, Row, View
from obi_core.resolver import Resolver, Subject
from obi_core.sink import ViewTable


def order_key(view: View) -> Callable[[Row], float] | None:
    """Give the function that a view's rows are sorted by, largest first; None if the view names no such column."""
    names = [column.name for column in view.columns]
    if view.order not in names:
        return None
    index = names.index(view.order)

    def number(row: Row) -> float:
        cell = row.cells[index]
        return float("-inf") if cell is None or isinstance(cell, str) else float(cell)

    return number


class Views:
    """Tables of all views. Rows are replaced as a whole: a batch carries all rows of a view.

    Args:
        resolver: Says whose a row is; asked once per row, again only while its answer is incomplete.
        limit: Rows kept per view.
    """

    def __init__(self, resolver: Resolver, limit: int) -> None:
        self._resolver, self._limit = resolver, limit
        self._lock = Lock()
        self._of_probe: dict[str, tuple[View, ...]] = {}
        self._subscribers: dict[str, int] = {}
        self._tables: dict[str, ViewTable] = {}
        self._subjects: dict[str, dict[Hashable, tuple[Owner, Subject]]] = {}

    def register(self, probe: str, views: Sequence[View]) -> None:
        """Offer the views of `probe`."""
        with self._lock:
            self._of_probe.setdefault(probe, tuple(views))

    def forget(self, probe: str) -> None:
        """Offer the views of `probe` no more."""
        self.clear(probe)
        with self._lock:
            self._of_probe.pop(probe, None)

    def all(self) -> tuple[View, ...]:
        """Every view on offer."""
        with self._lock:
            return tuple(view for views in self._of_probe.values() for view in views)

    def wanted(self, probe: str) -> frozenset[str]:
        """Names of the probe's views that somebody looks at."""
        with self._lock:
            return frozenset(v.name for v in self._of_probe.get(probe, ()) if self._subscribers.get(v.name, 0) > 0)

    def subscribe(self, view: str) -> Callable[[], None]:
        """Ask for a view from now on; calling the result, once or more, ends it."""
        with self._lock:
            self._subscribers[view] = self._subscribers.get(view, 0) + 1
        ended = False

        def end() -> None:
            nonlocal ended
            with self._lock:
                if ended:
                    return
                ended = True
                self._subscribers[view] -= 1
                if not self._subscribers[view]:
                    del self._subscribers[view]
                    self._tables.pop(view, None)

        return end

    def table(self, view: str) -> ViewTable | None:
        """The newest rows; None before the first collection that had the view in mind."""
        with self._lock:
            return self._tables.get(view)

    def replace(self, probe: str, rows: Sequence[Row]) -> None:
        """Take all rows of one collection of `probe`; views without a row are empty from now on. Bus thread only."""
        wanted = self.wanted(probe)
        for view in self._of_probe.get(probe, ()):
            if view.name not in wanted:
                self._subjects.pop(view.name, None)
                continue
            mine = [row for row in rows if row.view.name == view.name]
            key = order_key(view)
            kept = mine if len(mine) <= self._limit else nlargest(self._limit, mine, key) if key else mine[: self._limit]
            table = ViewTable(view, self._described(view, kept), len(mine) - len(kept))
            with self._lock:
                if view.name in self._subscribers:
                    self._tables[view.name] = table

    def clear(self, probe: str) -> None:
        """Forget the rows of a probe that has stopped."""
        with self._lock:
            for view in self._of_probe.get(probe, ()):
                self._tables.pop(view.name, None)
                self._subjects.pop(view.name, None)

    def _described(self, view: View, rows: Sequence[Row]) -> tuple[tuple[Row, Mapping[str, str | int]], ...]:
        known = self._subjects.get(view.name, {})
        subjects: dict[Hashable, tuple[Owner, Subject]] = {}
        described: list[tuple[Row, Mapping[str, str | int]]] = []
        for row in rows:
            if row.owner is None:
                described.append((row, {}))
                continue
            before = known.get(row.key)
            if before is None or before[0] != row.owner or not before[1].complete:
                before = (row.owner, self._resolver.resolve(row.owner))
            subjects[row.key] = before
            described.append((row, before[1].attributes))
        self._subjects[view.name] = subjects
        return tuple(described)
