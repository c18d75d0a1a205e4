"""The limits probe on the real kernel: a known number of failures gives exact numbers, in each mode with programs."""

import signal
from pathlib import Path

import pytest

from obi_core import LogEvent, Observation
from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs", "root"))

MEGABYTE = 1 << 20
SYSRQ = Path("/proc/sysrq-trigger")


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
    # The kernel may kill this one too, if it is back before the memory of the first is.
    assert requester.line() in {"full", ""}
    assert victim.process.wait(10) == -signal.SIGKILL

    seen = Seen.of(probe)

    assert kills(seen, group) == group.oom_kills() >= 1
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


@pytest.mark.compiled(only=True)
def test_an_oom_kill_is_told_exactly_once_with_its_victim_though_not_by_a_v1_cgroup(start, group, workload, unique):
    probe, name = start(victim_name=True), unique("obibig")
    group.limit("memory", 32 * MEGABYTE)
    victim = workload("eat", name, 64, group=group)
    victim.go_on()
    assert victim.process.wait(10) == -signal.SIGKILL

    seen = Seen.of(probe)
    (event,) = told(seen, "obi.limits.oom_kill", name)

    assert event.owner.tgid == event.attributes["process.pid"] == victim.pid
    assert "obi.limits.oom.rss" not in event.attributes
    assert seen.counts("obi.limits.oom_kills", name) == {"": 1}
    assert group.oom_kills() == 1


def test_a_victim_has_no_name_in_the_counter_unless_asked_for(start, group, workload, unique):
    group.limit("memory", 32 * MEGABYTE)
    for named in (False, True):
        probe, name = start(victim_name=named), unique("obialone")
        step = workload("eat", name, 64, group=group)
        step.go_on()
        assert step.process.wait(10) == -signal.SIGKILL
        seen = Seen.of(probe)
        assert kills(seen, group) == 1
        assert seen.counts("obi.limits.oom_kills", name) == ({"": 1} if named else {})
        (event,) = told(seen, "obi.limits.oom_kill", name)
        assert event.attributes["obi.limits.oom.requester.pid"] == step.pid == event.attributes["process.pid"]


@pytest.mark.skipif(
    not SYSRQ.exists(), reason="no_sysrq: this kernel has none, so nothing asks its OOM killer but want of memory"
)
def test_a_kill_that_no_cgroup_is_the_cause_of_is_the_systems(start, workload, unique):
    probe, name = start(), unique("obichosn")
    step = workload("wait", name)
    step.go_on()
    assert step.line() == "waiting"
    process = Path(f"/proc/{step.pid}")
    (process / "oom_score_adj").write_text("1000")
    scores = {each.parent.name: int(read(each) or 0) for each in Path("/proc").glob("[0-9]*/oom_score")}
    own = scores.pop(process.name)
    # The kernel kills the process of the highest score, and asks nobody: it must be ours.
    assert own > max(scores.values())
    SYSRQ.write_text("f")
    assert step.process.wait(10) == -signal.SIGKILL

    (event,) = told(Seen.of(probe), "obi.limits.oom_kill", name)

    assert (event.attributes["obi.limits.oom.scope"], event.attributes["obi.limits.oom.scope.source"]) == ("system", "stack")
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    assert event.attributes["obi.limits.oom.limit"] == int(total.split()[1]) * 1024
    assert "obi.limits.oom.limited_cgroup" not in event.attributes


def test_events_beyond_the_limit_are_counted_not_told_and_the_kill_counts(start, group, workload, unique):
    probe, name = start(oom_events_per_s=0), unique("obimute")
    group.limit("memory", 32 * MEGABYTE)
    step = workload("eat", name, 64, group=group)
    step.go_on()
    assert step.process.wait(10) == -signal.SIGKILL
    seen = Seen.of(probe)

    assert kills(seen, group) == 1
    assert told(seen, "obi.limits.oom_kill", name) == []
    assert seen.losses()["events_limited"] >= 1


def test_a_group_below_the_full_one_is_named_as_the_victims_and_the_full_one_as_the_cause(start, make_group, workload, unique):
    above = make_group(controllers=("memory",))
    if above.versions["memory"] == 2:
        (above.directories["memory"] / "cgroup.subtree_control").write_text("+memory")
    below = make_group(f"{above.path}/below", controllers=("memory",))
    above.limit("memory", 32 * MEGABYTE)
    probe, name = start(), unique("obibelow")
    step = workload("eat", name, 64, group=below)
    step.go_on()
    assert step.process.wait(10) == -signal.SIGKILL
    (event,) = told(Seen.of(probe), "obi.limits.oom_kill", name)

    assert event.attributes["process.linux.cgroup"] == below.path
    assert event.attributes["obi.limits.oom.limited_cgroup"] == above.path
    assert event.attributes["obi.limits.oom.limit"] == 32 * MEGABYTE


def read(path):
    try:
        return path.read_text()
    except OSError:
        return ""
