"""Signals that kill: whom they were sent to, who sent them, and which do not kill."""

import signal

import pytest

from obi_core import Observation
from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs", "root"))


def counted(seen, name):
    """obi.limits.signals of one process name: {(signal, sender): count}."""
    found = [each for each in seen.yielded if isinstance(each, Observation) and each.instrument.name == "obi.limits.signals"]
    return {
        (each.attributes["process.signal.name"], each.attributes["process.signal.sender"]): each.value
        for each in found
        if each.owner.comm == name
    }


def test_killing_signals_are_counted_exactly_by_target_and_sender_and_told(start, workload, unique, group):
    probe, target, sender = start(signal_events_per_s=10_000), unique("obitgt"), unique("obisnd")
    targets = [workload("wait", target, group=group) for _ in range(5)]
    for each in targets:
        each.go_on()
        assert each.line() == "waiting"
    pids = [each.pid for each in targets]
    for number, of in ((signal.SIGKILL, pids[:3]), (signal.SIGTERM, pids[3:])):
        killer = workload("kill", sender, int(number), *of)
        killer.go_on()
        killer.finish()
    assert [each.process.wait(10) for each in targets] == [-9, -9, -9, -15, -15]

    seen = Seen.of(probe)

    assert counted(seen, target) == {("SIGKILL", sender): 3, ("SIGTERM", sender): 2}
    events = seen.events(target, "obi.limits.signal")
    assert sorted(event.attributes["process.pid"] for event in events) == sorted(pids)
    assert {event.attributes["process.signal.sender"] for event in events} == {sender}
    assert {event.owner.cgroup_id for event in events} == {group.id}


def test_a_fault_is_the_kernels_signal(start, workload, unique):
    probe, name = start(), unique("obifault")
    step = workload("fault", name)
    step.go_on()
    assert step.process.wait(10) == -signal.SIGSEGV

    assert counted(Seen.of(probe), name) == {("SIGSEGV", "kernel"): 1}


@pytest.mark.parametrize(("step", "word"), [("handle", "handling"), ("block", "blocking")])
@pytest.mark.parametrize("handled", [False, True])
def test_a_signal_that_the_process_handles_or_blocks_counts_only_if_asked_for(start, workload, unique, step, word, handled):
    probe, name, sender = start(handled_signals=handled), unique("obihndl"), unique("obisnd")
    target = workload(step, name, int(signal.SIGTERM))
    target.go_on()
    assert target.line() == word
    killer = workload("kill", sender, int(signal.SIGTERM), target.pid)
    killer.go_on()
    killer.finish()
    target.finish()

    assert counted(Seen.of(probe), name) == ({("SIGTERM", sender): 1} if handled else {})


def test_what_is_no_signal_of_interest_is_not_even_seen(start, workload, unique):
    probe, name, sender = start(signal_names=("SIGTERM",)), unique("obitgt"), unique("obisnd")
    target = workload("wait", name)
    killer = workload("kill", sender, int(signal.SIGKILL), target.pid)
    killer.go_on()
    killer.finish()
    target.process.wait(10)

    assert counted(Seen.of(probe), name) == {}


@pytest.mark.parametrize(("event_bytes", "rate", "cause"), [(4096, 10_000, "events_full"), (65_536, 5, "events_limited")])
def test_every_signal_is_told_or_counted_as_not_told(start, workload, unique, event_bytes, rate, cause):
    probe, name = start(event_bytes=event_bytes, signal_events_per_s=rate), unique("obimany")
    step = workload("kills", name, 101)
    step.go_on()
    step.finish()

    seen = Seen.of(probe)
    told = [each for each in seen.yielded if getattr(each, "name", "") == "obi.limits.signal"]
    everybodys = [
        each.value for each in seen.yielded if isinstance(each, Observation) and each.instrument.name == "obi.limits.signals"
    ]
    losses = seen.losses()
    assert counted(seen, name) == {("SIGKILL", name): 101}
    assert losses[cause] > 0
    assert len(told) + losses["events_full"] + losses["events_limited"] == sum(everybodys)
