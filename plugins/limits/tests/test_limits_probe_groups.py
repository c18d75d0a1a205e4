"""Files of real cgroups: what they say is what the probe says, and groups may come and go."""

import resource
import signal
from pathlib import Path

import pytest

from obi_core import Observation, Retired, Row
from obi_plugin_limits.files.reading import Files
from obi_plugin_limits.settings import LimitsSettings

pytestmark = pytest.mark.kernel(needs=("root",))

MEGABYTE = 1 << 20


def of(batch, group, name, **where):
    """Values of one instrument of one cgroup."""
    wanted = {key.replace("_", "."): value for key, value in where.items()}
    return [
        each.value
        for each in batch
        if isinstance(each, Observation) and each.instrument.name == name and each.owner
        if each.owner.cgroup_id == group.id and wanted.items() <= each.attributes.items()
    ]


@pytest.fixture
def files():
    with Files(LimitsSettings(), count_kills=True) as made:
        yield made


def test_throttling_by_a_quota_is_what_cpu_stat_says(files, group, workload, unique):
    group.quota(5_000, 50_000)
    step = workload("spin", unique("obispin"), 0.1, group=group)
    before = list(files.collect(show=False))
    step.go_on()
    step.finish()
    after = list(files.collect(show=True))
    (usage,) = of(after, group, "obi.limits.usage", limit_resource="cpu")
    stat = {}
    while stat != group.keyed("cpu", "cpu.stat"):  # the last period may end a moment after the process
        stat = group.keyed("cpu", "cpu.stat")
        after = list(files.collect(show=True))

    seconds = stat["throttled_time"] / 1e9 if "throttled_time" in stat else stat["throttled_usec"] / 1e6
    assert stat["nr_throttled"] > 5
    assert of(before, group, "obi.limits.cpu.throttled") != of(after, group, "obi.limits.cpu.throttled")
    assert of(after, group, "obi.limits.cpu.throttled") == [pytest.approx(seconds, rel=1e-12)]
    assert of(after, group, "obi.limits.cpu.throttled.periods") == [stat["nr_throttled"]]
    assert of(after, group, "obi.limits.cpu.periods") == [stat["nr_periods"]]
    assert of(after, group, "obi.limits.limit", limit_resource="cpu") == [0.1]
    assert 0 < usage < 0.5
    (row,) = [each for each in after if isinstance(each, Row) and each.cells[:2] == (group.path, "cpu")]
    assert row.cells[5] == stat["nr_throttled"]


def test_an_oom_kill_and_the_meetings_with_the_limit_are_had_from_files_alone(files, group, workload, unique):
    group.limit("memory", 32 * MEGABYTE)
    step = workload("eat", unique("obieat"), 64, group=group)
    step.go_on()
    assert step.process.wait(10) == -signal.SIGKILL
    after = list(files.collect(show=False))

    assert of(after, group, "obi.limits.oom_kills") == [1] == [group.oom_kills()]
    (met,) = of(after, group, "obi.limits.memory.events", container_memory_event_type="max")
    if group.versions["memory"] == 2:
        assert met == group.keyed("memory", "memory.events")["max"]
    else:
        assert met == int((group.directories["memory"] / "memory.failcnt").read_text())
    assert met > 0
    assert of(after, group, "obi.limits.limit", limit_resource="memory") == [32 * MEGABYTE]


def test_a_kill_in_a_group_that_nobody_read_in_time_is_in_the_sum(files, make_group, workload, unique):
    with_it = [each for each in files.collect(show=False) if getattr(each, "key", "") == "elsewhere"]
    short_lived = make_group()
    short_lived.limit("memory", 32 * MEGABYTE)
    step = workload("eat", unique("obieat"), 64, group=short_lived)
    step.go_on()
    step.process.wait(10)
    short_lived.leave()
    after = [each for each in files.collect(show=False) if getattr(each, "key", "") == "elsewhere"]

    assert after[0].value - with_it[0].value == 1


def test_what_was_before_the_first_look_is_not_counted_and_what_is_new_counts_whole(make_group, workload, unique):
    older, name = make_group(), unique("obifork")
    older.limit("pids", 1)
    for group in (older,):
        step = workload("forks", name, 5, group=group)
        step.go_on()
        step.finish()
    with Files(LimitsSettings()) as files:
        younger = make_group()
        younger.limit("pids", 1)
        for group, count in ((older, 3), (younger, 7)):
            step = workload("forks", name, count, group=group)
            step.go_on()
            step.finish()
        after = list(files.collect(show=False))

        assert of(after, older, "obi.limits.pids.events") == [3]
        assert of(after, younger, "obi.limits.pids.events") == [7]


def test_a_group_that_is_gone_ends_its_rows_and_a_new_one_of_its_name_begins_anew(files, make_group):
    group = make_group()
    group.limit("memory", 32 * MEGABYTE)
    first = {
        each.key
        for each in files.collect(show=False)
        if isinstance(each, Observation) and each.owner and of([each], group, each.instrument.name)
    }
    group.leave()
    again = make_group(group.path)
    second = list(files.collect(show=False))

    assert first
    assert {each.key for each in second if isinstance(each, Retired) and each.ended} >= first
    assert of(second, again, "obi.limits.usage", limit_resource="memory") == [0]
    assert of(second, again, "obi.limits.limit", limit_resource="memory") == []


def test_groups_beyond_the_limit_are_counted_as_lost(make_group):
    made = [make_group(controllers=("memory",)) for _ in range(5)]
    with Files(LimitsSettings(max_cgroups=3)) as files:
        batch = list(files.collect(show=False))
        groups = {
            each.owner.cgroup_id for each in batch if isinstance(each, Observation) and each.owner and each.owner.cgroup_id
        }
        (lost,) = [each.count for each in batch if getattr(each, "cause", "") == "cgroups_beyond_limit"]
    assert len(groups) <= 3
    assert lost >= 2 * (len(made) - 3), "two looks"


@pytest.mark.parametrize("asked", [0, 5, 1000])
def test_files_beyond_those_that_may_be_kept_open_are_read_all_the_same(make_group, asked):
    groups = [make_group() for _ in range(8)]
    for each in groups:
        each.limit("memory", 32 * MEGABYTE)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Half of them may be kept; beside these there is room for what this process has open already, and for a few more.
    allowed = 2 * len(list(Path("/proc/self/fd").iterdir())) + 32
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    try:
        with Files(LimitsSettings(open_files=asked, processes=0, listeners=0)) as files:
            batch = list(files.collect(show=False))
            kept = len(files._kept)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert kept <= min(asked, allowed // 2)
    assert asked in {kept, 1000}
    assert bool(kept) == bool(asked)
    for each in groups:
        assert of(batch, each, "obi.limits.limit", limit_resource="memory") == [32 * MEGABYTE]
