"""What the syscall probe saw and what became of it, against the kernel's own count of the program's runs."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from obi_core import Account, Observation, Span
from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs"))

_NAMES = 100


@pytest.fixture
def statistics():
    """The kernel counts the runs of programs while this is held."""
    descriptor = ctypes.CDLL("libbpf.so.1").bpf_enable_stats(0)
    assert descriptor >= 0
    yield
    os.close(descriptor)


def processes():
    """Processes and threads ever made on this machine."""
    return next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("processes"))


def total(seen, instrument):
    """All rows of a counter, or all values of a histogram, whoever's they are."""
    points = [each for each in seen.yielded if isinstance(each, Observation) and each.instrument.name == instrument]
    return sum(sum(each.value[:-1]) if isinstance(each.value, tuple) else each.value for each in points)


def balanced(became):
    return became["seen"] == became["exported"] + became["filtered"] + became["sampled_out"] + became["lost"]


def stopped(probe):
    """Everything that the probe says once its programs run no more; and runs of the one that counts."""
    for name in list(probe.bpf.attached):
        probe.bpf.detach(name)
    runs = {each.name: each.run_count for each in probe.bpf.programs()}
    seen = Seen.of(probe)
    became = {each.outcome: each.count for each in seen.yielded if isinstance(each, Account)}
    return seen, became, next(count for name, count in runs.items() if name.startswith("syscall_exit"))


@pytest.mark.compiled
@pytest.mark.parametrize("owners", [1024, 16], ids=["room for all", "room for 16 owners"])
def test_what_is_kept_and_what_is_lost_are_the_runs_of_the_program(start, workload, unique, statistics, owners):
    probe = start(latency=False, errors=False, exits=False, max_owners=owners)
    born = processes()
    workload.run("", "names", unique("ow"), _NAMES, 7)
    seen, became, runs = stopped(probe)

    assert balanced(became)
    # A call that forks returns in the child too, which is no call: the program runs and sees nothing.
    assert 0 <= runs - became["seen"] <= processes() - born
    assert became["exported"] == total(seen, "obi.syscall.calls")
    assert became["lost"] == seen.losses()["owners_full"]
    kept = [seen.counts("obi.syscall.calls", f"{unique('ow')[:8]}{number:04}") for number in range(_NAMES)]
    if owners == 1024:
        assert became["lost"] == 0
        # the prctl that gave the name, and the calls under it; the last has exit_group, which is not counted here
        assert kept == [{"": 8}] * _NAMES
    else:
        assert [each for each in kept if each] == [{"": 8}] * sum(map(bool, kept))
        assert sum(map(bool, kept)) <= 16
        assert became["lost"] >= 8 * (_NAMES - 16)


def test_without_room_for_errors_and_histograms_the_calls_stay_exact(start, workload, unique):
    probe, prefix = start(calls=("openat",), max_errors=16, max_histograms=16), unique("er")
    workload.run("", "names", prefix, _NAMES, 7)
    seen, became, _ = stopped(probe)

    names = [f"{prefix[:8]}{number:04}" for number in range(_NAMES)]
    calls = [seen.counts("obi.syscall.calls", name, process_syscall_name="openat") for name in names]
    failed = sum(sum(seen.counts("obi.syscall.errors", name).values()) for name in names)
    timed = sum(seen.durations("obi.syscall.duration", name) for name in names)
    lost = seen.losses()

    assert calls == [{"": 7}] * _NAMES
    assert balanced(became)
    assert became["lost"] == lost["errors_full"] + lost["histograms_full"]
    assert lost["errors_full"] >= 7 * _NAMES - failed > 0
    assert lost["histograms_full"] >= 7 * _NAMES - timed > 0
    of_all = total(seen, "obi.syscall.calls") + total(seen, "obi.syscall.errors") + total(seen, "obi.syscall.duration")
    assert became["exported"] == of_all


@pytest.mark.parametrize(
    ("settings", "cause"),
    [({"event_bytes": 4096, "events_per_s": 100_000}, "events_full"), ({"events_per_s": 3}, "events_limited")],
    ids=["a small ring", "a low rate"],
)
def test_slow_calls_that_are_not_told_are_counted(start, workload, unique, settings, cause):
    probe, name = start(calls=("openat",), slow_s=1e-9, **settings), unique("obislo")
    workload.run(name, "mix", 1009, 0, 0)
    seen, _, _ = stopped(probe)

    told = [each for each in seen.yielded if isinstance(each, Span)]
    assert {each.name for each in told} == {"syscall openat"}
    assert seen.losses()[cause] > 900
    untold = seen.losses()["events_full"] + seen.losses()["events_limited"]
    assert len(told) + untold == total(seen, "obi.syscall.duration")


def test_sampling_leaves_calls_exact_and_latencies_unbiased(start, workload, unique, counted):
    probe, name = start(calls=("getppid",), latency_every=8), unique("obismp")
    workload.run(name, "getppid", 20_011)
    seen, became, _ = stopped(probe)

    sampled = seen.durations("obi.syscall.duration", name)
    assert seen.counts("obi.syscall.calls", name, process_syscall_name="getppid") == {"": 20_011}
    assert sampled % 8 == 0
    # One in eight of 20,011: six standard deviations are 2,245.
    assert abs(sampled - 20_011) < 2_245
    assert balanced(became)
    assert became["sampled_out"] >= 20_011 - sampled // 8
    rest = total(seen, "obi.syscall.calls") + total(seen, "obi.syscall.errors")
    assert became["exported"] == rest + total(seen, "obi.syscall.duration") // 8


def test_shedding_takes_fewer_latencies_and_all_calls(start, workload, unique, counted):
    probe, name = start(calls=("getppid",)), unique("obished")
    probe.shed(10)
    workload.run(name, "getppid", 20_011)
    shed = counted(probe, name)
    probe.shed(0)
    workload.run(name, "getppid", 101)
    restored = counted(probe, name)

    assert shed.calls["getppid"] == 20_011
    assert shed.durations("getppid") % 1024 == 0
    assert restored.calls["getppid"] == 20_112
    assert restored.durations("getppid") == shed.durations("getppid") + 101


_AGENT = """
import json, os, sys
from obi_core import Account
from obi_core.testing.live import attached
from obi_core.testing.seen import Seen
from obi_plugin_syscall.probe import SyscallProbe
from obi_plugin_syscall.settings import SyscallSettings

name, mode, own_calls = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "own"
open("/proc/self/comm", "w").write(name)
settings = SyscallSettings(calls=("getppid",), own_calls=own_calls)
with attached(SyscallProbe, settings, SyscallProbe.modes[mode]) as probe:
    for _ in range(997):
        os.getppid()
    seen = Seen.of(probe)
calls = seen.counts("obi.syscall.calls", name, by="process.syscall.name")
filtered = [each.count for each in seen.yielded if isinstance(each, Account) and each.outcome == "filtered"]
print(json.dumps([os.getpid(), calls, *filtered]))
"""


@pytest.mark.kernel(needs=("root", "cmd:unshare"))
@pytest.mark.parametrize("inside", [(), ("unshare", "--pid", "--fork", "--mount-proc")], ids=["host", "pid namespace"])
@pytest.mark.parametrize("own", ["own", "others"])
def test_the_agents_own_calls_are_left_out_and_counted_as_filtered(mode, unique, inside, own):
    from obi_plugin_syscall.probe import SyscallProbe

    which, name = SyscallProbe.modes.index(mode), unique("obiagt")
    command = [*inside, sys.executable, "-c", _AGENT, name, str(which), own]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=25)
    pid, calls, filtered = json.loads(done.stdout)

    if inside:
        assert pid < 10, "in its namespace it is one of the first"
    if own == "own":
        assert (calls["getppid"], filtered) == (997, 0)
    else:
        assert calls == {}
        assert filtered >= 997 * 2, "calls and latencies"
