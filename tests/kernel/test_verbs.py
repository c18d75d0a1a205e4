"""Every verb of `bpf/obi` through both loaders, from one source: the same calls, the same numbers."""

import ctypes
import errno
import os
import threading
from pathlib import Path

import pytest

from obi_core.host import Host
from obi_core.kernel.bcc import BccLoader
from obi_core.model import Mode, Program

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs", "root", "cmd:clang"))

_SLOTS = {0: 40, 2: 19, 40: 19, 63: 19}
_GET_FD = {"prog_id": "bpf_prog_get_fd_by_id", "map_id": "bpf_map_get_fd_by_id", "link_id": "bpf_link_get_fd_by_id"}


def test_every_verb_counts_exactly(loader, verbs):
    with loader.load(verbs.package, "verbs", verbs.mode, verbs.plan(verbs_small=3)) as loaded:
        verbs.run(loaded)
        for name in ("verbs_calls", "verbs_lru", "verbs_percpu"):
            assert dict(loaded.rows(name)) == verbs.by_duration, name
        assert dict(loaded.rows("verbs_small")) == {1: 20, 1_000: 20, 1_500: 19}
        assert dict(loaded.rows("verbs_once")) == {1: 1, 1_000: 2, 1_500: 3, 1_000_000: 4, 1_000_000_000: 5}
        assert {slot: count for slot, count in loaded.rows("verbs_histogram") if count} == _SLOTS
        [(_, last)] = loaded.rows("verbs_last")
        assert (last.duration_ns, last.sequence) == (1_000, verbs.calls)
        assert list(loaded.rows("verbs_door")) == []
        assert verbs.outcomes(loaded) == {
            "started": 97,
            "taken": 97,
            "taken twice": 0,
            "inserted": 5,
            "present": 92,
            "deleted": 97,
            "absent": 97,
            "full": 38,
            "lost": 0,
        }


def test_what_user_space_puts_into_a_queue_is_taken_once_each_in_order(loader, verbs):
    with loader.load(verbs.package, "verbs", verbs.mode, verbs.plan()) as loaded:
        for ticket in (7, 23, 8):
            loaded.put("verbs_tickets", None, ticket)
        verbs.run(loaded, count=4)
        assert dict(loaded.rows("verbs_spent")) == {7: 1, 23: 1, 8: 1, 17: 1}
        verbs.run(loaded)
        assert dict(loaded.rows("verbs_spent")) == {7: 1, 23: 1, 8: 1, 17: 1, 18: 1}


def test_every_record_arrives_once_in_order_with_its_owner(loader, verbs):
    with loader.load(verbs.package, "verbs", verbs.mode, verbs.plan()) as loaded:
        verbs.run(loaded)
        records = list(loaded.drain("verbs_ring"))
        assert [record.sequence for record in records] == list(range(1, verbs.calls + 1))
        assert [record.duration_ns for record in records[:6]] == [*verbs.durations, 1]
        assert {(record.duration_ns, record.slot) for record in records} == set(
            zip(verbs.durations, (0, 0, 2, 40, 63), strict=True)
        )
        assert {record.owner.tgid for record in records} == {os.getpid()}
        assert {record.owner.comm for record in records} == {Path("/proc/self/comm").read_bytes().strip()}
        assert list(loaded.drain("verbs_ring")) == []


@pytest.mark.kernel(needs=("cgroup2",))
def test_the_owner_is_the_process_its_start_and_its_cgroup(loader, verbs):
    host = Host()
    with loader.load(verbs.package, "verbs", verbs.mode, verbs.plan()) as loaded:
        verbs.run(loaded, count=1)
        [record] = loaded.drain("verbs_ring")
    [path] = [line.split("::")[1] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    assert record.owner.cgroup_id == (host.cgroup2() / path.lstrip("/")).stat().st_ino
    ticks = record.owner.start_ns * os.sysconf("SC_CLK_TCK") // 10**9
    # a read of task_struct, which BCC's side does not have
    assert ticks == (0 if isinstance(loader, BccLoader) else host.process_start_ticks(os.getpid()))


def test_a_full_ring_loses_records_and_counts_them(loader, verbs):
    # A record takes 64 bytes with its header, and one page is never quite full.
    with loader.load(verbs.package, "verbs", verbs.mode, verbs.plan(verbs_ring=4096)) as loaded:
        verbs.run(loaded)
        assert len(list(loaded.drain("verbs_ring"))) == 63
        assert verbs.outcomes(loaded)["lost"] == 34


def test_a_live_setting_acts_while_the_programs_run(loader, verbs):
    with loader.load(verbs.package, "verbs", verbs.mode, verbs.plan(live=0)) as loaded:
        counts = []
        for value in (None, 1, 0, 2):
            if value is not None:
                loaded.tune("verbs_records_on", value)
            verbs.run(loaded)
            counts.append(len(list(loaded.drain("verbs_ring"))))
        assert counts == [0, verbs.calls, 0, verbs.calls]
        assert verbs.outcomes(loaded)["taken"] == 4 * verbs.calls


def test_a_setting_is_a_constant_of_the_program(loader, verbs):
    with loader.load(verbs.package, "verbs", verbs.mode, verbs.plan(constants={"verbs_step": 1 << 40})) as loaded:
        verbs.run(loaded)
        assert verbs.outcomes(loaded)["taken"] == verbs.calls << 40
    with loader.load(verbs.package, "verbs", verbs.mode, verbs.plan(constants={"verbs_call": -2})) as loaded:
        verbs.run(loaded)
        assert set(verbs.outcomes(loaded).values()) == {0}


def test_threads_in_flight_at_once_do_not_mix(loader, verbs):
    durations = [1_000 + number for number in range(7)]
    with loader.load(verbs.package, "verbs", verbs.mode, verbs.plan()) as loaded:
        for program in verbs.mode.programs:
            loaded.attach(program.name)
        threads = [threading.Thread(target=verbs.call, args=((duration,), 89)) for duration in durations]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert dict(loaded.rows("verbs_calls")) == dict.fromkeys(durations, 89)
        assert {name: verbs.outcomes(loaded)[name] for name in ("started", "taken", "taken twice")} == {
            "started": 623,
            "taken": 623,
            "taken twice": 0,
        }


def test_only_the_programs_of_the_mode_and_their_maps_are_loaded_in_the_sizes_of_the_plan(loader, verbs):
    with loader.load(verbs.package, "verbs", verbs.mode, verbs.plan(verbs_calls=5, verbs_ring=8192)) as loaded:
        assert {program.name for program in loaded.programs()} == {"verbs_enter", "verbs_exit"}
        sizes = {each.name: each.max_entries for each in loaded.maps()}
        assert "verbs_idle" not in sizes
        assert {name: sizes[name] for name in ("verbs_calls", "verbs_ring", "verbs_lru", "verbs_histogram")} == {
            "verbs_calls": 5,
            "verbs_ring": 8192,
            "verbs_lru": 64,
            "verbs_histogram": 64,
        }
    other = Mode("other", (Program("verbs_other"),))
    with loader.load(verbs.package, "verbs", other, verbs.plan()) as loaded:
        assert [program.name for program in loaded.programs()] == ["verbs_other"]
        assert [each.name for each in loaded.maps()] == ["verbs_idle"]


def test_nothing_is_left_in_the_kernel_after_close(loader, verbs):
    before, descriptors = _bpf_ids(), _descriptors()
    loaded = loader.load(verbs.package, "verbs", verbs.mode, verbs.plan())
    for program in verbs.mode.programs:
        loaded.attach(program.name)
    list(loaded.drain("verbs_ring"))
    ours = _bpf_ids() - before
    assert {kind: sum(name == kind for name, _ in ours) for kind in _GET_FD} == {"prog_id": 2, "map_id": 14, "link_id": 2}
    loaded.close()
    assert _bpf_ids() == before
    assert _descriptors() == descriptors
    _wait_until_gone(ours)


def _bpf_ids():
    """Ids of the programs, maps and links whose descriptors this process holds."""
    found = set()
    for entry in Path("/proc/self/fdinfo").iterdir():
        try:
            lines = entry.read_text().splitlines()
        except OSError:
            continue
        found |= {(name, int(value)) for name, _, value in (line.partition(":\t") for line in lines) if name in _GET_FD}
    return found


def _descriptors():
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def _wait_until_gone(ids):
    """The kernel frees after a grace period; the test's own timeout ends this."""
    library = ctypes.CDLL("libbpf.so.1")
    for name, number in ids:
        while (descriptor := getattr(library, _GET_FD[name])(number)) >= 0:
            os.close(descriptor)
            os.sched_yield()
        assert descriptor == -errno.ENOENT
