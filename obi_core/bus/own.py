"""The agent's own metrics: built by whoever knows the number, read by every sink beside the probes' metrics."""

from collections.abc import Iterable, Mapping, Sequence

from obi_core.bus.accounts import Accounts
from obi_core.bus.losses import Losses
from obi_core.model import Instrument, Kind, Metric, Point

Reading = tuple[Mapping[str, str], int | float]
"""Labels and value of one series."""


def own_metric(
    name: str, kind: Kind, description: str, readings: Iterable[Reading], *, start_ns: int = 0, time_ns: int = 0
) -> Metric:
    """Make a metric of the agent itself.

    Args:
        name: In Prometheus form, with unit and `_total` (`obi_probe_restarts_total`); it is sent as it stands.
        kind: Counter, updowncounter or gauge.
        description: What it counts.
        readings: All series, also those at 0.
        start_ns: Start of a counter, ns, realtime clock.
        time_ns: Moment of reading, ns, realtime clock.
    """
    points = tuple(Point(tuple(sorted(labels.items())), value, start_ns, time_ns) for labels, value in readings)
    names = tuple(sorted({label for point in points for label, _ in point.attributes}))
    return Metric(Instrument(name, kind, "", description, names, subject=False), "", points)


def bus_metrics(
    probes: Sequence[tuple[str, int, int]],
    losses: Losses,
    accounts: Accounts,
    taken: Mapping[str, int],
    refused: Mapping[str, int],
    unresolved: Mapping[str, int],
    start_ns: int,
) -> tuple[Metric, ...]:
    """Say how the bus itself is doing.

    Args:
        probes: Name, series now, keys that overflowed, of each.
        losses: What was lost, by probe, place and cause.
        accounts: What became of what each probe's programs saw.
        taken: Entries applied, by probe.
        refused: Observations that their probe had not declared, by probe.
        unresolved: Keys bound to an owner known only in part, by reason.
        start_ns: Start of the bus, ns, realtime clock.
    """
    lost = losses.read()
    causes: list[Reading] = [
        ({"probe": probe, "place": place, "cause": cause}, number) for (probe, place, cause), number in losses.causes().items()
    ]
    events: list[Reading] = [
        ({"probe": probe, "outcome": outcome}, number) for (probe, outcome), number in accounts.read().items()
    ]
    outcomes: list[Reading] = []
    for probe, _, _ in probes:
        outcomes.append(({"probe": probe, "outcome": "accepted"}, taken.get(probe, 0)))
        outcomes.append(({"probe": probe, "outcome": "undeclared"}, refused.get(probe, 0)))
        outcomes += [({"probe": probe, "outcome": f"lost_{place}"}, n) for (name, place), n in lost.items() if name == probe]
    overflow: list[Reading] = [({"probe": probe}, number) for probe, _, number in probes]
    late: list[Reading] = [({"reason": reason}, number) for reason, number in unresolved.items()]
    return (
        own_metric("obi_series", Kind.GAUGE, "Series kept.", [({"probe": name}, number) for name, number, _ in probes]),
        own_metric(
            "obi_series_overflow_total",
            Kind.COUNTER,
            "Kernel rows that went to the overflow series because the metric has too many.",
            overflow,
            start_ns=start_ns,
        ),
        own_metric(
            "obi_probe_events_total",
            Kind.COUNTER,
            "Things that the probe's programs saw in the kernel, by what became of them: seen is the sum of the others.",
            events,
            start_ns=start_ns,
        ),
        own_metric(
            "obi_probe_entries_total",
            Kind.COUNTER,
            "Entries that the probe handed over, by what became of them.",
            outcomes,
            start_ns=start_ns,
        ),
        own_metric(
            "obi_probe_lost_total",
            Kind.COUNTER,
            "Entries that the probe itself says were lost, by its own word for the cause.",
            causes,
            start_ns=start_ns,
        ),
        own_metric(
            "obi_identity_unresolved_total",
            Kind.COUNTER,
            "Kernel rows bound to an owner that was known only in part.",
            late,
            start_ns=start_ns,
        ),
    )
