"""Stand-ins for the kernel side and the clock: dict maps, scripted errors, time that moves when told."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from obi_core.errors import KernelError
from obi_core.kernel.base import MapStats, ProgramStats
from obi_core.model import Instrument, LoadPlan, Mode, View, Yielded


@dataclass(slots=True)
class FakeBpfObject:
    """A loaded object whose maps are dicts.

    `errors` scripts failures: `"attach:<program>"`, `"rows:<map>"`, `"drain:<ring>"`, `"iterate:<program>"`, `"take:<map>"`,
    `"put:<map>"`, `"tune:<name>"`, `"close"` → the exception to raise. A scripted `KernelError` at the attach of an
    optional program is noted in `refused`. What is asked of an object after its `close` raises, as it does with a real one.
    """

    mode: Mode
    plan: LoadPlan
    tables: Mapping[str, dict[object, object]] = field(default_factory=dict)
    """Rows by map name."""
    rings: Mapping[str, list[object]] = field(default_factory=dict)
    """Records by ring buffer; drained once."""
    iterators: Mapping[str, Sequence[object]] = field(default_factory=dict)
    errors: Mapping[str, BaseException] = field(default_factory=dict)
    refused: Mapping[str, KernelError] = field(default_factory=dict)
    decode_lost: Mapping[str, int] = field(default_factory=dict)
    costs: dict[str, ProgramStats] = field(default_factory=dict)
    """What programs cost so far; those not named cost nothing."""
    attached: list[str] = field(default_factory=list)
    """Programs attached now, in order; each once, in however many places it is."""
    places: list[tuple[str, str]] = field(default_factory=list)
    """Program and place of those that are attached in places: (`program`, `eth0:ingress`)."""
    taken_away: list[str] = field(default_factory=list)
    """Programs that somebody else has detached since it was last asked; `program@eth0:ingress` for one place of several."""
    tuned: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Everything that was asked of it and can be scripted to fail, in order."""
    severed: bool = False
    closed: bool = False

    def rows(self, map_name: str) -> Iterator[tuple[object, object]]:
        """Give the rows of a map; a map that is not there is empty."""
        self._maybe(f"rows:{map_name}")
        yield from list(self.tables.get(map_name, {}).items())

    def drain(self, ring: str) -> Iterator[object]:
        """Give the records of a ring, once."""
        self._maybe(f"drain:{ring}")
        records = self.rings.get(ring, [])
        while records:
            yield records.pop(0)

    def iterate(self, program: str, walk: str = "") -> Iterator[object]:  # noqa: ARG002 - the BpfObject's
        """Give what an iterator program writes."""
        self._maybe(f"iterate:{program}")
        yield from self.iterators.get(program, ())

    def take(self, map_name: str, key: object) -> object | None:
        """Read and delete a row."""
        self._maybe(f"take:{map_name}")
        return self.tables.get(map_name, {}).pop(key, None)

    def put(self, map_name: str, key: object, value: object) -> None:
        """Take in a row where the test has given the map; elsewhere it is gone."""
        self._maybe(f"put:{map_name}")
        if map_name in self.tables:
            self.tables[map_name][key] = value

    def tune(self, name: str, value: int) -> None:
        """Remember a live setting."""
        self._maybe(f"tune:{name}")
        self.tuned[name] = value

    def attach(self, program: str, to: str = "") -> None:
        """Note the program as attached, or its scripted refusal: `attach:program`, or `attach:program@eth0:ingress`."""
        if to:
            self._maybe(f"attach:{program}")
            self._maybe(f"attach:{program}@{to}")
            self.places += [(program, to)] * ((program, to) not in self.places)
            self.attached += [program] * (program not in self.attached)
            return
        optional = any(entry.name == program and entry.loses for entry in self.mode.programs)
        try:
            self._maybe(f"attach:{program}")
        except KernelError as error:
            if not optional:
                raise
            self.refused = {**self.refused, program: error}
            return
        if program not in self.attached and program not in self.refused:
            self.attached.append(program)

    def detach(self, program: str, to: str = "") -> tuple[str, ...]:
        """Note the program as detached, from one place or from all; give the places."""
        gone = [each[1] for each in self.places if each[0] == program and to in ("", each[1])]
        self.places[:] = [each for each in self.places if each[0] != program or to not in ("", each[1])]
        if program in self.attached and (not to or program not in [each for each, _ in self.places]):
            self.attached.remove(program)
        return tuple(gone)

    def lost(self) -> tuple[tuple[str, str], ...]:
        """What was scripted as taken away, once."""
        gone, self.taken_away[:] = list(self.taken_away), []
        pairs = tuple((each.partition("@")[0], each.partition("@")[2]) for each in gone)
        for program, place in pairs:
            self.detach(program, place)
        return pairs

    def sever(self) -> None:
        """Note that the links are closed."""
        self.severed = True

    def programs(self) -> Sequence[ProgramStats]:
        """One line per program of the mode."""
        return [self.costs.get(program.name, ProgramStats(program.name, 0, 0, 0)) for program in self.mode.programs]

    def maps(self) -> Sequence[MapStats]:
        """One line per map: 4096 bytes each."""
        return [MapStats(name, len(rows), 4096) for name, rows in self.tables.items()]

    def fill(self) -> Mapping[str, float]:
        """Rows of every table, of a hundred."""
        return {name: len(rows) / 100 for name, rows in self.tables.items()}

    def close(self) -> None:
        """Detach everything."""
        self.attached.clear()
        self.places.clear()
        self.closed = True
        self._maybe("close")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _maybe(self, step: str) -> None:
        if self.closed and step != "close":
            raise KernelError(f"{step}: the object is closed")
        self.asked.append(step)
        if step in self.errors:
            raise self.errors[step]


@dataclass(slots=True)
class FakeLoader:
    """Loads `FakeBpfObject`s.

    `errors` as for the object, and `"load:<mode>"`; an optional program that is scripted at `"load:<program>"` is left out.
    """

    tables: Mapping[str, dict[object, object]] = field(default_factory=dict)
    rings: Mapping[str, list[object]] = field(default_factory=dict)
    iterators: Mapping[str, Sequence[object]] = field(default_factory=dict)
    errors: Mapping[str, BaseException] = field(default_factory=dict)
    loaded: list[FakeBpfObject] = field(default_factory=list)
    """Every object made, in order."""

    def load(self, package: str, stem: str, mode: Mode, plan: LoadPlan) -> FakeBpfObject:  # noqa: ARG002 - the Loader's
        """Make an object, or raise what is scripted."""
        if error := self.errors.get(f"load:{mode.name}"):
            raise error
        bpf = FakeBpfObject(mode, plan, self.tables, self.rings, self.iterators, self.errors)
        for program in mode.programs:
            refusal = self.errors.get(f"load:{program.name}")
            if refusal is not None:
                if not program.loses or not isinstance(refusal, KernelError):
                    raise refusal
                bpf.refused = {**bpf.refused, program.name: refusal}
        self.loaded.append(bpf)
        return bpf

    @property
    def open(self) -> tuple[FakeBpfObject, ...]:
        """Objects that nobody closed yet."""
        return tuple(bpf for bpf in self.loaded if not bpf.closed)


class FakeClock:
    """Time in seconds that moves when told; threads may wait on it."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._moved = threading.Condition()
        self._waiting: list[tuple[float, float]] = []
        self.waits: list[float] = []
        """Seconds asked for by every `wait`, in order."""

    def __call__(self) -> float:
        """Read the clock."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock and wake whoever waited for this moment."""
        with self._moved:
            self._now += seconds
            self._moved.notify_all()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for `event` until the clock has moved so far; whether it came. Fits `Plan.wait`."""
        with self._moved:
            until = self._now + seconds
            self.waits.append(seconds)
            self._waiting.append((until, seconds))
            self._moved.notify_all()
            # The event is set without our knowing, so look from time to time.
            while not event.is_set() and self._now < until:
                self._moved.wait(0.005)
            self._waiting.remove((until, seconds))
            return event.is_set()

    def asleep(self, seconds: float, timeout_s: float = 10.0) -> None:
        """Block until somebody is in a `wait` of exactly so many seconds that is not over yet.

        Raises:
            TimeoutError: That did not happen in `timeout_s` seconds of real time.
        """

        def found() -> bool:
            return any(asked == seconds and until > self._now for until, asked in self._waiting)

        with self._moved:
            if not self._moved.wait_for(found, timeout_s):
                raise TimeoutError(f"nobody waits for {seconds:g} s; asked for so far: {self.waits}")


@dataclass(slots=True)
class FakeBus:
    """What a worker asks of the bus, remembered."""

    published: list[tuple[str, int, list[Yielded]]] = field(default_factory=list)
    """(probe, generation, batch) of whole collections, in order."""
    drained: list[tuple[str, int, list[Yielded]]] = field(default_factory=list)
    """The same of events drained between collections."""
    ended: list[tuple[str, int]] = field(default_factory=list)
    registered: list[tuple[str, str]] = field(default_factory=list)
    """(probe, scope), in order."""
    marks: list[dict[str, str]] = field(default_factory=list)
    """What each of them marked its points with, in order."""
    looked_at: dict[str, frozenset[str]] = field(default_factory=dict)
    """Views somebody wants, by probe."""
    faults: dict[str, str] = field(default_factory=dict)
    """What the bus found wrong, by probe."""
    full: bool = False
    """Refuse every batch."""
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released once for every batch."""

    # The signature is the bus's.
    def register(
        self,
        probe: str,
        scope: str,
        instruments: Sequence[Instrument],  # noqa: ARG002 - the bus's
        views: Sequence[View],  # noqa: ARG002 - the bus's
        marks: Mapping[str, str] | None = None,
    ) -> None:
        """Remember who registered."""
        self.registered.append((probe, scope))
        self.marks.append(dict(marks or {}))

    def publish(self, probe: str, generation: int, batch: Sequence[Yielded], *, whole: bool = True) -> bool:
        """Remember a batch."""
        (self.published if whole else self.drained).append((probe, generation, list(batch)))
        self.arrived.release()
        return not self.full

    def end(self, probe: str, generation: int) -> None:
        """Remember the end of a generation."""
        self.ended.append((probe, generation))

    def undeclared(self, probe: str, generation: int) -> str | None:  # noqa: ARG002 - the bus's
        """What the test found wrong."""
        return self.faults.get(probe)

    def wanted(self, probe: str) -> frozenset[str]:
        """Views that the test wants."""
        return self.looked_at.get(probe, frozenset())
