"""Keys of one probe: which kernel row feeds which series, generation by generation."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from obi_core.bus.bindings import Binding, binding_type
from obi_core.bus.late import LateBinder, Waiting, merged
from obi_core.bus.losses import Place
from obi_core.bus.moment import Moment
from obi_core.bus.series import Series, SeriesSet
from obi_core.model import Account, Instrument, LogEvent, Loss, Observation, Owner, Retired, Row, Span, Yielded
from obi_core.resolver import Subject

Other = Row | Span | LogEvent | Loss | Account


class UndeclaredError(ValueError):
    """An observation does not fit what its probe declared; the text says how."""


def check_values(instrument: Instrument, attributes: Mapping[str, object]) -> Mapping[str, object]:
    """Check that attributes have values that every sink can carry: a backend refuses a whole request for one that it cannot.

    Raises:
        UndeclaredError: One is neither text nor a whole number.
    """
    for name, value in attributes.items():
        if not isinstance(value, str | int):
            raise UndeclaredError(f"{instrument.name} has the {name} {value!r:.80}, which is neither text nor a whole number")
    return attributes


class Keys:
    """Rows of one instrument in one generation, by key."""

    __slots__ = ("bindings", "make", "series", "swept")

    def __init__(self, series: SeriesSet) -> None:
        self.series = series
        self.make = binding_type(series.instrument)
        self.bindings: dict[Hashable, Binding] = {}
        self.swept = -1
        """Number of the batch in which silent keys were last looked for."""

    def end(self, key: Hashable, now: Moment, *, ended: bool = False) -> None:
        """End one key, if there is such a row; `ended`: its owner has ended too."""
        binding = self.bindings.pop(key, None)
        if binding is not None:
            binding.end()
            self.series.release(binding.series, now, ended=ended)

    def sweep(self, before: int, now: Moment) -> None:
        """End keys that no batch since number `before` has shown: their rows left the kernel without a word."""
        for key in [key for key, binding in self.bindings.items() if binding.seen < before]:
            self.end(key, now)


class Generation:
    """One life of a probe, from attach to detach: its keys mean something only within it.

    Args:
        sets: The probe's series, by instrument name.
        late: Where rows of unknown owners wait.
        key_limit: Rows remembered per instrument; past it, rows that the last two collections did not show are forgotten.
        marks: Attributes that every series carries, beside those that are observed.
    """

    def __init__(
        self, sets: dict[str, SeriesSet], late: LateBinder, key_limit: int, marks: Mapping[str, str] | None = None
    ) -> None:
        self._marks = dict(marks or {})
        self._keys = {name: Keys(series) for name, series in sets.items()}
        self._late, self._key_limit = late, key_limit
        self._number = 0
        self._lost: dict[tuple[str, str], int] = {}
        self._accounted: dict[str, int] = {}
        self.refused = 0
        """Observations that did not fit what the probe declared."""
        self.fault: str | None = None
        """The first of them, as a sentence."""

    def apply(self, batch: Sequence[Yielded], now: Moment) -> list[Other]:
        """Fold a batch into the series.

        Returns:
            Everything that is no metric, in order: rows of views, spans, log events, and what was lost or accounted for since
            the last batch (the count of a `Loss` or an `Account` that comes back is the difference).
        """
        others: list[Other] = []
        subjects: dict[Owner, Subject] = {}
        observed = False
        # The fields are written out here instead of behind methods: this loop runs once for every kernel row.
        for entry in batch:
            if isinstance(entry, Observation):
                observed = True
                try:
                    keys = self._keys[entry.instrument.name]
                    binding = keys.bindings.get(entry.key)
                    if binding is None:
                        binding = self._bind(keys, entry, subjects, now)
                    binding.seen = self._number
                    binding.update(entry.value)
                    series = binding.series
                    series.time_ns = now.real_ns
                    series.point = None
                    keys.series.changed = True
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    self._refuse(entry, error)
            elif isinstance(entry, Retired):
                for keys in self._keys.values():
                    keys.end(entry.key, now, ended=entry.ended)
            elif isinstance(entry, Loss):
                self._lose(entry, others)
            elif isinstance(entry, Account):
                since = entry.count - self._accounted.get(entry.outcome, 0)
                self._accounted[entry.outcome] = entry.count
                others.append(replace(entry, count=max(0, since)))
            else:
                others.append(entry)
        self._number += observed
        return others

    def end(self, now: Moment) -> None:
        """End all keys; the series stay."""
        for keys in self._keys.values():
            for key in list(keys.bindings):
                keys.end(key, now)

    def _bind(self, keys: Keys, seen: Observation, subjects: dict[Owner, Subject], now: Moment) -> Binding:
        instrument = keys.series.instrument
        if seen.instrument is not instrument and seen.instrument != instrument:
            raise UndeclaredError(f"{instrument.name} is declared otherwise than it is observed")
        surplus = check_values(instrument, seen.attributes).keys() - set(instrument.attributes)
        if surplus:
            raise UndeclaredError(f"{instrument.name} does not declare the attribute {', '.join(sorted(surplus))}")
        attributes = self._late.with_peers({**seen.attributes, **self._marks} if self._marks else seen.attributes)
        if len(keys.bindings) >= self._key_limit and keys.swept < self._number:
            keys.swept = self._number
            keys.sweep(self._number - 1, now)
        if len(keys.bindings) >= self._key_limit:
            raise UndeclaredError(f"{instrument.name} has more than {self._key_limit} rows")
        subject = None
        if instrument.subject and seen.owner is not None:
            subject = subjects.get(seen.owner)
            if subject is None:
                subject = subjects[seen.owner] = self._late.resolve(seen.owner)
        if subject is not None and not subject.complete and seen.owner is not None and self._late.admits(subject):
            # Pinned: a private series is in no set, so no set may drop it.
            series = Series((), keys.series.zero(), now, pinned=True)
            binding = keys.make(series)
            self._late.wait(seen.owner, Waiting(keys.series, binding, dict(attributes)), now)
        else:
            series = keys.series.at(merged(subject.attributes if subject else {}, attributes), now)
            binding = keys.make(series)
        series.live += 1
        keys.bindings[seen.key] = binding
        return binding

    def _lose(self, loss: Loss, others: list[Other]) -> None:
        if loss.place not in (Place.KERNEL.value, Place.DECODE.value):
            self.refused += 1
            self.fault = self.fault or f"loss {loss.cause} is said to be at {loss.place}, not at kernel or decode"
            return
        where = (loss.place, loss.cause)
        lost = loss.count - self._lost.get(where, 0)
        self._lost[where] = loss.count
        if lost > 0:
            others.append(replace(loss, count=lost))

    def _refuse(self, seen: Observation, error: Exception) -> None:
        self.refused += 1
        if self.fault is None:
            name = seen.instrument.name
            if isinstance(error, UndeclaredError):
                self.fault = str(error)
            elif isinstance(error, KeyError) and name not in self._keys:
                self.fault = f"{name} is not among the instruments that the probe declares"
            else:
                self.fault = f"{name} was given {seen.value!r:.80} under key {seen.key!r:.80}: {error}"
