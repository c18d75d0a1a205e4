"""The bus: workers hand batches to its queue, its own thread keeps the series, sinks read snapshots.

Nobody waits for anybody: a worker whose batch finds no room goes on (see `mailbox`), a sink that is slow reads late, and
both only ever leave a message for the bus thread, which alone touches the series table.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Event, Lock, Thread
from typing import Final

from obi_core.bus.accounts import Accounts
from obi_core.bus.events import EventQueue
from obi_core.bus.losses import Losses, Place
from obi_core.bus.mailbox import Batch, Mailbox
from obi_core.bus.moment import Moment
from obi_core.bus.own import bus_metrics
from obi_core.bus.table import Limits, Marks, SeriesTable, check_instruments
from obi_core.bus.views import Views
from obi_core.model import Account, Instrument, LogEvent, Loss, Metric, Row, Span, View, Yielded
from obi_core.resolver import Resolver
from obi_core.sink import Happening, ViewTable

_SNAPSHOT_WAIT_S: Final = 5.0
_TICK_S: Final = 0.5
_RETIRE_EVERY_S: Final = 30.0

_log = logging.getLogger(__name__)


class Bus:
    """Binds observations to series and keeps them; implements `obi_core.sink.Source`.

    Args:
        resolver: Says who an owner is; called on the bus thread only.
        limits: What is bounded, and by how much.
        clock: Reads both clocks.
    """

    def __init__(self, resolver: Resolver, limits: Limits | None = None, *, clock: Callable[[], Moment] = Moment.now) -> None:
        limits = limits or Limits()
        self._clock = clock
        self._started = clock()
        self._losses, self._accounts = Losses(), Accounts()
        self._mailbox = Mailbox(self._losses, limits.batches, limits.endings)
        self._table = SeriesTable(resolver, limits)
        self._views = Views(resolver, limits.rows)
        self.events = EventQueue(self._losses, limits.events, resolver)
        self._scopes: dict[str, str] = {}
        self._tick_s = min(_TICK_S, max(limits.bind_grace_s, 0.01))
        self._own: list[Callable[[], Sequence[Metric]]] = []
        self._snapshot: tuple[Metric, ...] = ()
        self._bus_metrics: tuple[Metric, ...] = ()
        self._faults: dict[tuple[str, int], str] = {}
        self._thread: Thread | None = None
        self._life = Lock()

    def start(self) -> None:
        """Start the bus thread. What was registered and published before is applied first."""
        with self._life:
            self._thread = Thread(target=self._run, name="obi-bus", daemon=True)
            self._thread.start()

    def stop(self, deadline_s: float) -> bool:
        """Take no more, apply everything that was published before, bind what still waits for its owner, end the thread.

        Sinks may go on reading: `metrics` gives the final state from then on.

        Returns:
            Whether all of it was done within `deadline_s` seconds.
        """
        self._mailbox.close()
        with self._life:
            if self._thread is None:
                return True
            self._thread.join(deadline_s)
            if self._thread.is_alive():
                return False
            self._thread = None
            return True

    def flush(self, deadline_s: float) -> bool:
        """Wait until everything published before is applied; False if that takes longer than `deadline_s` seconds."""
        done = Event()
        return self._mailbox.ask(done.set) and done.wait(deadline_s)

    def register(
        self, probe: str, scope: str, instruments: Sequence[Instrument], views: Sequence[View] = (), marks: Marks = None
    ) -> None:
        """Make room for a probe: its headline series and its losses exist, as 0, from now on. Registering twice is once.

        Args:
            probe: The probe's name.
            scope: Its plugin's distribution, with the version as far as known (`obi-plugin-tcp 0.1.0`).
            instruments: All that it may observe.
            views: Its tables.
            marks: Attributes of every point of the generations that begin from now on; the newest win.

        Raises:
            PluginError: An instrument cannot be kept.
        """
        check_instruments(probe, instruments)
        self._losses.register(probe)
        self._accounts.register(probe)
        self._views.register(probe, views)

        def register() -> None:
            self._scopes[probe] = scope
            self._table.register(probe, scope, instruments, self._clock(), marks)
            self._read()

        with self._life:
            if self._thread is None:
                register()
                return
        self._mailbox.ask(register)

    def publish(self, probe: str, generation: int, batch: Sequence[Yielded], *, whole: bool = True) -> bool:
        """Hand over what one collection yielded, or one drain; the caller leaves `batch` alone from then on. Never waits.

        Args:
            probe: A registered probe.
            generation: Grows with each attach; keys are told apart by it.
            batch: All of one collection: cumulative rows, all rows of the wanted views, drained events.
            whole: False: events drained between two collections; the views stay as they are.

        Returns:
            False if there was no room: its entries are counted as lost at `queue`. Nothing of a metric is lost with them,
            because values are cumulative and the bus keeps what ends in a refused batch; its spans and log events are.
        """
        return self._mailbox.put(Batch(probe, generation, batch, whole))

    def retune(self, limits: Limits) -> None:
        """Keep series by other limits from now on; what is bounded at the start stays so."""
        self._mailbox.ask(partial(self._table.retune, limits))

    def forget(self, probe: str) -> None:
        """Drop a probe that will not come back, with its series and views; what it lost stays counted."""
        self._mailbox.ask(partial(self._table.forget, probe))
        self._mailbox.ask(partial(self._views.forget, probe))

    def end(self, probe: str, generation: int) -> None:
        """End all keys of a generation (detach, mode change) after what was published before; never refused.

        Batches of this or an earlier generation that still come are not listened to.
        """

        def end() -> None:
            self._table.end(probe, generation, self._clock())
            self._views.clear(probe)
            self._faults.pop((probe, generation), None)

        self._mailbox.ask(end)

    def undeclared(self, probe: str, generation: int) -> str | None:
        """Say, in a sentence, what this generation observed without having declared it; None if nothing so far.

        Such observations are refused and counted; the runner asks after each batch and quarantines the probe.
        """
        return self._faults.get((probe, generation))

    def wanted(self, probe: str) -> frozenset[str]:
        """Names of the probe's views that somebody looks at."""
        return self._views.wanted(probe)

    def add_own(self, provider: Callable[[], Sequence[Metric]]) -> None:
        """Let `provider` say something of the agent itself; it is called by the sinks' threads, at each reading."""
        self._own.append(provider)

    def lose(self, probe: str, place: Place, number: int) -> None:
        """Count entries that were lost on the way to or from the bus."""
        self._losses.count(probe, place, number)

    def losses(self) -> Mapping[tuple[str, str], int]:
        """Entries lost, by (probe, place)."""
        return self._losses.read()

    def metrics(self) -> Sequence[Metric]:
        """Every instrument with its series as of everything published before, then the agent's own.

        A batch is in it wholly or not at all. If the bus thread does not answer in time, the last state it gave.
        """
        done = Event()

        def read() -> None:
            self._read()
            done.set()

        if self._thread is not None and self._mailbox.ask(read) and not done.wait(_SNAPSHOT_WAIT_S):
            _log.warning("the bus is behind by more than %g s; a sink reads what was last known", _SNAPSHOT_WAIT_S)
        own: list[Metric] = []
        for provider in list(self._own):
            try:
                own += provider()
            except Exception:  # noqa: BLE001 - see below
                # An isolation border: what the agent says of itself must not cost the probes' metrics.
                _log.exception("a provider of own metrics raised; its metrics are missing")
        return (*self._snapshot, *self._bus_metrics, *own)

    def series(self) -> Mapping[str, int]:
        """Series kept now, by probe. From any thread."""
        return {name: number for name, number, _ in self._table.sizes()}

    def views(self) -> Sequence[View]:
        """Views of the registered probes."""
        return self._views.all()

    def subscribe(self, view: str) -> Callable[[], None]:
        """Ask for a view's rows from now on; the returned call ends it."""
        return self._views.subscribe(view)

    def table(self, view: str) -> ViewTable | None:
        """The newest rows of a subscribed view; None before the first collection."""
        return self._views.table(view)

    def watch(self, wake: Callable[[], None]) -> None:
        """Keep spans and log events from now on, for whoever takes them."""
        self.events.watch(wake)

    def happenings(self, limit: int) -> Sequence[Happening]:
        """Take the oldest spans and log events of all that was published before, each once."""
        self._mailbox.ask(self.events.settle)
        self.flush(_SNAPSHOT_WAIT_S if self._thread is not None else 0.0)
        return self.events.take(limit)

    def note(self, *events: Span | LogEvent) -> None:
        """Add events of the agent itself; from any thread."""
        self._mailbox.ask(lambda: self.events.note(events))

    def undelivered(self, probe: str, place: str, number: int) -> None:
        """Count spans and log events of a probe that no store has."""
        if probe:
            self._losses.count(probe, Place(place), number)

    def _read(self) -> None:
        self._snapshot = self._table.read()
        self._bus_metrics = bus_metrics(
            self._table.sizes(),
            self._losses,
            self._accounts,
            self._table.taken(),
            self._table.refused(),
            self._table.late.unresolved,
            self._started.real_ns,
        )

    def _run(self) -> None:
        retired = settled = self._clock().mono_ns
        while True:
            message = self._mailbox.take(self._tick_s if len(self._table.late) else _RETIRE_EVERY_S)
            try:
                now = self._clock()
                if isinstance(message, Batch):
                    self._apply(message, now)
                elif message is not None:
                    message()
                elif self._mailbox.closed:
                    break
                if len(self._table.late) and now.mono_ns - settled >= self._tick_s * 1e9:
                    settled = now.mono_ns
                    self._table.late.settle(now)
                if now.mono_ns - retired >= _RETIRE_EVERY_S * 1e9:
                    retired = now.mono_ns
                    self._table.retire(now)
            except Exception as error:  # noqa: BLE001 - see below
                # An isolation border: one probe's batch must not end the thread that keeps everybody's series.
                _log.exception("the bus could not apply a message")
                if isinstance(message, Batch):
                    self._faults.setdefault((message.probe, message.generation), f"a batch could not be applied: {error!r}")
        self._table.late.settle(self._clock(), all_of_them=True)
        self._read()

    def _apply(self, batch: Batch, now: Moment) -> None:
        others = self._table.apply(batch.probe, batch.generation, batch.entries, now)
        fault = self._table.fault(batch.probe, batch.generation)
        if fault is not None:
            self._faults.setdefault((batch.probe, batch.generation), fault)
        rows: list[Row] = []
        for other in others:
            if isinstance(other, (Span, LogEvent)):
                self.events.put(batch.probe, self._scopes.get(batch.probe, ""), other)
            elif isinstance(other, Loss):
                self._losses.count(batch.probe, Place(other.place), other.count, other.cause)
            elif isinstance(other, Account):
                self._accounts.count(batch.probe, other)
            else:
                rows.append(other)
        if batch.whole:
            self._views.replace(batch.probe, rows)
