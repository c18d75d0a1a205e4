"""Each setting of the syscall probe turned, and what becomes of it."""

import logging

import pytest

from obi_core import Entries
from obi_plugin_syscall.settings import SyscallSettings

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs"))

_ENTER = {"tp_btf": {"syscall_enter_btf"}, "tracepoint": {"syscall_enter_tp", "syscall_end_tp"}}
_END = {"tp_btf": {"syscall_end_btf"}, "tracepoint": set()}
_EXIT = {"tp_btf": {"syscall_exit_btf"}, "tracepoint": {"syscall_exit_tp"}}


def attached(probe):
    return set(probe.bpf.attached)


def test_by_default_all_is_hooked(start, mode):
    assert attached(start()) == _EXIT[mode.name] | _ENTER[mode.name] | _END[mode.name]


def test_counting_alone_hooks_nothing_but_the_exit_of_calls(start, mode, workload, unique, counted):
    probe, name = start(latency=False, exits=False), unique("obicnt")
    workload.run(name, "mix", 11, 13, 17)
    mine = counted(probe, name)

    assert attached(probe) == _EXIT[mode.name]
    assert mine.calls["openat"] == 11
    assert mine.errors("openat") == {"ENOENT": 11}
    assert mine.durations("openat") == 0
    assert "exit_group" not in mine.calls


def test_without_latency_exits_still_count(start, mode, workload, unique, counted):
    probe, name = start(latency=False), unique("obinol")
    workload.run(name, "mix", 11, 13, 17)
    mine = counted(probe, name)

    assert mine.calls["exit_group"] == 1
    assert mine.durations("openat") == 0
    assert len(attached(probe)) == 2


def test_without_exits_latency_is_still_taken(start, workload, unique, counted):
    probe, name = start(exits=False), unique("obinoe")
    workload.run(name, "mix", 11, 13, 17)
    mine = counted(probe, name)

    assert "exit_group" not in mine.calls
    assert mine.durations("openat") == 11


def test_without_errors_calls_and_latencies_are_still_counted(start, workload, unique, counted):
    probe, name = start(errors=False), unique("obinor")
    workload.run(name, "mix", 11, 13, 17)
    mine = counted(probe, name)

    assert (mine.calls["openat"], mine.errors("openat"), mine.durations("openat")) == (11, {}, 11)


def test_a_name_that_no_call_has_is_left_out_in_one_line_and_the_rest_is_counted(start, workload, unique, counted, caplog):
    with caplog.at_level(logging.WARNING):
        probe, name = start(calls=("opennat", "getppid", "memory")), unique("obityp")
    workload.run(name, "mix", 11, 13, 17)

    assert counted(probe, name).calls["getppid"] == 13
    assert [each.getMessage() for each in caplog.records] == [
        "syscall.calls: no system call and no group is called 'opennat', so it is left out; did you mean 'openat'?"
    ]


def test_what_counts_as_slow_changes_while_the_probe_runs(start, workload, unique, counted):
    probe, quick, slow = start(calls=("read",), slow_s=60), unique("obiqik"), unique("obislw")
    workload.run(quick, "reads", 7, 10)
    assert counted(probe, quick).seen.spans(quick, "syscall read") == []

    assert probe.retune(SyscallSettings(calls=("read",), slow_s=0.010, events_per_s=1000))
    workload.run(slow, "reads", 7, 10)
    seen = counted(probe, slow).seen
    spans, events = seen.spans(slow, "syscall read"), seen.events(slow, "obi.syscall.slow")

    assert len(spans) == len(events) == 7
    assert all(each.end_ns - each.start_ns >= 10_000_000 for each in spans)
    assert {each.attributes["process.syscall.name"] for each in spans} == {"read"}
    assert all("read took 0." in each.body for each in events)


def test_settings_that_are_not_live_ask_for_a_restart(start):
    probe = start()
    assert not probe.retune(SyscallSettings(latency=False))
    assert not probe.retune(SyscallSettings(calls=("openat",)))


def sizes():
    """(setting, map) of every size that the settings name."""
    for name, field in SyscallSettings.model_fields.items():
        for mark in field.metadata:
            if isinstance(mark, Entries):
                yield name, mark.map_name


@pytest.mark.parametrize(("setting", "map_name"), sorted(sizes()))
def test_a_size_is_the_size_of_its_map(start, mode, setting, map_name):
    if map_name == "syscall_inflight" and mode.name == "tp_btf":
        return  # there it is task storage, which has no size
    probe = start(**{setting: 8192})
    assert {each.name: each.max_entries for each in probe.bpf.maps()}[map_name] == 8192


def test_the_smallest_sizes_load_and_count(start, workload, unique, counted):
    fields = {name: field.metadata for name, field in SyscallSettings.model_fields.items()}
    bounds = {name: next(mark.ge for mark in fields[name] if hasattr(mark, "ge")) for name, _ in sizes()}
    probe, name = start(**bounds), unique("obitin")
    workload.run(name, "mix", 11, 13, 17)
    mine = counted(probe, name)

    # Tables this small may be full of what else the machine does; then the probe says so.
    assert mine.calls.get("openat") == 11 or any(mine.seen.losses().values())


def test_the_maps_of_the_defaults_take_less_than_16_mib(start):
    assert sum(each.memory_bytes for each in start().bpf.maps()) < 16 << 20
