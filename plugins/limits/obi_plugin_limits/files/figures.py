"""What is read → observations and rows of the view. Counters count from the probe's start, as its programs do."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from obi_core import Instrument, Observation, Owner, Retired, Row
from obi_plugin_limits.catalogue import DESCRIPTORS, LIMIT, LIMITS_VIEW, MEMORY, RESOURCE, USAGE

NOBODY: Final[Mapping[str, str]] = {}
_STEPS: Final = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


@dataclass(frozen=True, slots=True)
class Count:
    """A number that only grows, as the kernel gives it: since the cgroup was made, or since boot."""

    instrument: Instrument
    value: int | float
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Level:
    """How much of something is used, and how much there may be."""

    resource: str
    usage: int | float
    limit: int | float | None
    """None: there is no limit."""
    events: int | None = None
    """How often the limit was met, as far as the kernel counts that."""
    port: int = 0
    """Of a listening socket; 0: this is about something else."""


Figure = Count | Level


@dataclass(frozen=True, slots=True)
class Source:
    """Whose figures: a cgroup, a program, or the node."""

    key: Hashable
    label: str
    """For people: a path or a name."""
    owner: Owner | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Beside the owner's subject."""


class Figures:
    """Remembers where counters began.

    A source that is there at the first look begins with what it has then. One that comes later begins with nothing: all that
    it counted, it counted while the probe was looking.
    """

    def __init__(self) -> None:
        self._began: dict[Hashable, dict[Hashable, int | float]] = {}
        self._given: dict[Hashable, set[Hashable]] = {}
        self._first_look = True

    def first_look_is_over(self) -> None:
        """From now on, who is new has just come."""
        self._first_look = False

    def take(self, source: Source, figures: Iterable[Figure], *, show: bool) -> Iterator[Observation | Row]:
        """Give a source's observations, and its rows of the view if `show`."""
        began = self._began.setdefault(source.key, {})
        given = self._given.setdefault(source.key, set())
        for figure in figures:
            if isinstance(figure, Count):
                tag: Hashable = (figure.instrument.name, *figure.attributes.values())
                value = self._since(began, tag, figure.value)
                key: Hashable = (source.key, tag)
                given.add(key)
                yield Observation(figure.instrument, key, value, source.owner, {**source.attributes, **figure.attributes})
                continue
            key = (source.key, figure.resource, figure.port)
            given.add(key)
            attributes: dict[str, str | int] = {**source.attributes, RESOURCE: figure.resource}
            if figure.port:
                attributes["server.port"] = figure.port
            yield Observation(USAGE, key, figure.usage, source.owner, attributes)
            if figure.limit is not None:
                yield Observation(LIMIT, key, figure.limit, source.owner, attributes)
                if show:
                    events = None if figure.events is None else self._since(began, figure.resource, figure.events)
                    yield _row(source, key, figure, figure.limit, events)

    def end(self, key: Hashable) -> Iterator[Retired]:
        """Forget a source that is gone."""
        self._began.pop(key, None)
        for each in self._given.pop(key, ()):
            yield Retired(each, ended=True)

    def _since(self, began: dict[Hashable, int | float], tag: Hashable, value: float) -> int | float:
        start = began.get(tag)
        if start is None:
            start = began[tag] = value if self._first_look else 0
        return max(0, value - start)


def _row(source: Source, key: Hashable, level: Level, limit: float, events: float | None) -> Row:
    label = f"{source.label} {level.port}" if level.port else source.label
    used = level.usage / limit if limit else float(level.usage > 0)
    usage, most = (_amount(level.resource, value) for value in (level.usage, limit))
    return Row(LIMITS_VIEW, key, source.owner, (label, level.resource, round(used, 4), usage, most, events))


def _amount(resource: str, value: float) -> str:
    if resource == MEMORY:
        for name, size in _STEPS:
            if value >= size:
                return f"{value / size:.1f} {name}"
        return f"{value} B"
    return f"{round(value, 2):.12g}"


def descriptors(usage: int, limit: int) -> Level:
    """How many file descriptors are open, of how many."""
    return Level(DESCRIPTORS, usage, limit)
