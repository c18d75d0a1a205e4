"""The limits probe on the real kernel: a known number of failures gives exact numbers, in each mode with programs."""

import signal

import pytest

from obi_core import LogEvent, Observation
from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs", "root"))

MEGABYTE = 1 << 20


def kills(seen, group):
    """obi.limits.oom_kills of one cgroup."""
    found = [each for each in seen.yielded if isinstance(each, Observation) and each.instrument.name == "obi.limits.oom_kills"]
    return sum(each.value for each in found if each.owner and each.owner.cgroup_id == group.id)


def told(seen, name, victim):
    return [each for each in seen.yielded if isinstance(each, LogEvent) and each.name == name and each.owner.comm == victim]


def test_an_oom_kill_is_counted_and_told_exactly_with_victim_requester_and_scope(start, group, workload, unique):
    probe, big, small = start(), unique("obibig"), unique("obismall")
    group.limit("memory", 64 * MEGABYTE)
    victim = workload("eat", big, 40, group=group)
    requester = workload("eat", small, 34, group=group)
    victim.go_on()
    assert victim.line() == "full"
    requester.go_on()
    assert requester.line() == "full", "the other one was to be killed"
    assert victim.process.wait(10) == -signal.SIGKILL

    seen = Seen.of(probe)

    assert kills(seen, group) == 1 == group.oom_kills()
    (event,) = told(seen, "obi.limits.oom_kill", big)
    attributes = event.attributes
    assert event.owner.tgid == victim.pid
    assert event.owner.cgroup_id == group.id
    assert attributes["process.pid"] == victim.pid
    assert attributes["obi.limits.oom.requester.pid"] == requester.pid
    assert attributes["obi.limits.oom.requester.name"] == small
    assert (attributes["obi.limits.oom.scope"], attributes["obi.limits.oom.scope.source"]) == ("cgroup", "stack")
    assert attributes["obi.limits.oom.limit"] == 64 * MEGABYTE
    assert attributes["obi.limits.oom.limited_cgroup"] == attributes["process.linux.cgroup"] == group.path
    assert 40 * MEGABYTE <= attributes["obi.limits.oom.rss"] <= 64 * MEGABYTE
