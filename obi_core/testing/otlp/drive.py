"""A lane with its real transport and spool, on a clock that moves when told."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil

from obi_core.bus.moment import Moment
from obi_core.bus.request import Request
from obi_core.model import LogEvent
from obi_core.settings import CoreSettings
from obi_core.sink import Happening
from obi_core.sinks.otlp.events import EventsEncoder
from obi_core.sinks.otlp.exemplars import Exemplars
from obi_core.sinks.otlp.ids import IdMaker
from obi_core.sinks.otlp.lane import Lane
from obi_core.sinks.otlp.store import Store
from obi_core.sinks.otlp.tally import Tally
from obi_core.sinks.otlp.transport import destination, make_transport
from obi_core.testing.otlp.receiver import OtlpReceiver, attributes_of


@dataclass
class Clock:
    """Both clocks; only a test moves them."""

    real_ns: int = 1_800_000_000_000_000_000
    mono_ns: int = 0

    def __call__(self) -> Moment:
        """Read both."""
        return Moment(self.real_ns, self.mono_ns)

    @property
    def now_s(self) -> float:
        """Monotonic, s."""
        return self.mono_ns / 1e9

    def pass_s(self, seconds: float) -> None:
        """Let time pass on both."""
        passed = ceil(seconds * 1e9)
        self.real_ns += passed
        self.mono_ns += passed


def encoded(ids: Iterable[int], probe: str = "tcp") -> Request:
    """A request of log records with these numbers."""
    encoder = EventsEncoder({"service.name": "obi"}, {}, IdMaker(), Exemplars())
    happenings = [Happening(probe, "d 1", LogEvent("x", 1, "x", None, {"id": number}), {}) for number in ids]
    return next(encoder.logs(happenings, len(happenings)))


def received_ids(receiver: OtlpReceiver) -> list[object]:
    """The numbers of the log records taken, in order."""
    return [attributes_of(record)["id"] for record in receiver.logs()]


@dataclass
class Drive:
    """Logs on their way to one receiver."""

    endpoint: str
    spool: Mapping[str, object] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    otlp: Mapping[str, object] = field(default_factory=dict)
    made: int = 0

    def __post_init__(self) -> None:
        self.undelivered: list[tuple[str, str, int]] = []
        """Probe, place, number."""
        settings = CoreSettings.model_validate({"otlp": {"endpoint": self.endpoint, **self.otlp}, "spool": self.spool})
        export = settings.export("logs")
        assert export is not None
        to = destination(export)
        store = Store(settings.spool, "logs", self.clock)
        self.lane = Lane(to, make_transport(to), store, self._lost, self.clock, lambda: 0.5)

    @property
    def tally(self) -> Tally:
        """The lane's."""
        return self.lane.tally

    def offer(self, items: int = 3) -> None:
        """Hand over a request of the next numbers."""
        self.lane.offer(encoded(range(self.made, self.made + items)))
        self.made += items

    def run(self, seconds: float, every: float | None = None, items: int = 3) -> None:
        """Let `seconds` pass; hand over a request now and `every` so many seconds."""
        end, due = self.clock.now_s + seconds, self.clock.now_s
        while True:
            if every is not None and due <= self.clock.now_s:
                self.offer(items)
                due += every
            wait = self.lane.step()
            if not wait:
                continue
            until = min(end, self.clock.now_s + wait, due if every is not None else end)
            if until >= end - 1e-6:
                self.clock.pass_s(end - self.clock.now_s)
                return
            self.clock.pass_s(until - self.clock.now_s + 1e-6)

    def settle(self) -> None:
        """Send until nothing waits."""
        for _ in range(10_000):
            self.clock.pass_s(self.lane.step())
            if not self.tally.queued and not self.tally.spooled:
                return
        raise AssertionError(f"still waiting: {self.tally}")

    def balanced(self) -> bool:
        """Every item is accounted for, in exactly one way."""
        tally = self.tally
        return tally.enqueued == tally.ended + tally.queued + tally.spooled

    def _lost(self, probe: str, place: str, number: int) -> None:
        self.undelivered.append((probe, place, number))
