"""The syscall probe on the real kernel: known calls give exact numbers, in each mode."""

import platform
import re
import shutil
import subprocess

import pytest

from obi_core import Observation
from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs"))

PIPE = 4096
"""Bytes that the workload's pipe takes before it is full."""


@pytest.mark.compiled
def test_calls_errors_and_latencies_are_counted_exactly(start, workload, unique, counted):
    probe, name = start(calls=("openat", "getppid", "write")), unique("obimix")
    workload.run(name, "mix", 1009, 997, 499)

    mine = counted(probe, name)

    assert {call: mine.calls[call] for call in ("openat", "getppid", "write")} == {
        "openat": 1009,
        "getppid": 997,
        "write": PIPE + 499,
    }
    assert mine.errors("openat") == {"ENOENT": 1009}
    assert mine.errors("write") == {"EAGAIN": 499}
    assert mine.errors("getppid") == {}
    assert mine.durations("openat") == 1009
    assert mine.durations("getppid") == 997
    assert mine.durations("write") == PIPE + 499
    failed = mine.seen.durations("obi.syscall.duration", name, process_syscall_name="write", error_type="EAGAIN")
    assert failed == 499, "those that failed are apart"


def test_a_call_that_the_settings_do_not_name_counts_as_other_without_latency(start, workload, unique, counted):
    probe, name = start(calls=("openat",)), unique("obioth")
    workload.run(name, "mix", 11, 997, 499)

    mine = counted(probe, name)

    assert mine.calls["openat"] == 11
    # prctl, pipe2, fcntl, exit_group beside those that are asked for
    assert mine.calls["_OTHER"] == 997 + PIPE + 499 + 4
    assert mine.errors("_OTHER") == {"EAGAIN": 499}
    assert mine.durations("_OTHER") == 0


@pytest.mark.compiled
@pytest.mark.kernel(needs=("cmd:strace",))
def test_every_call_and_error_of_a_program_is_what_strace_counts(start, workload, unique, counted, tmp_path):
    name = unique("obistr")
    program = tmp_path / name
    shutil.copy(workload.program, program)
    table = tmp_path / "table"
    extra = ("getppid", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64", "getrandom", "getpid")
    probe = start(calls=("file", "network", "process", "memory", *extra))
    subprocess.run(["strace", "-c", "-f", "-o", table, program, "", "mix", "101", "103", "107"], check=True, timeout=25)

    mine = counted(probe, name)
    lines = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(\d+ +)?(\w+)$", table.read_text(), re.MULTILINE)
    calls = {call: int(count) for count, _, call in lines if call != "total"}
    errors = {call: int(count) for _, count, call in lines if count and call != "total"}

    assert calls["write"] == PIPE + 107, "strace's table was read"
    # strace counts calls when they return
    assert mine.calls == {**calls, "exit_group": 1}
    assert {call: sum(mine.errors(call).values()) for call in mine.calls if mine.errors(call)} == errors


@pytest.mark.compiled
def test_a_fork_is_one_call_though_it_returns_twice_and_exits_are_counted(start, workload, unique, counted):
    probe, name = start(), unique("obifrk")
    workload.run(name, "forks", 31)

    calls = counted(probe, name).calls

    assert calls.get("clone", 0) + calls.get("clone3", 0) + calls.get("fork", 0) == 31
    assert calls["wait4"] == 31
    assert calls["exit_group"] == 32


@pytest.mark.compiled
def test_threads_that_end_by_themselves_count_one_exit_each(start, workload, unique, counted):
    probe, name = start(), unique("obithr")
    workload.run(name, "threads", 41)

    calls = counted(probe, name).calls
    # The last one to go, whichever it is, ends the process.
    assert (calls["exit"], calls["exit_group"]) == (41, 1)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="int 0x80 is x86's")
def test_32_bit_calls_count_under_their_own_names(start, workload, unique, counted):
    probe, name = start(calls=("open", "close", "fstat", "writev", "lstat", "getpid", "exit_group")), unique("obi32")
    workload.run(name, "compat", 37)

    mine = counted(probe, name)

    assert mine.calls == {"open": 37, "getpid": 37, "close": 37, "exit_group": 1, "_OTHER": 1}
    assert mine.errors("open") == {"EFAULT": 37}
    assert mine.errors("close") == {"EBADF": 37}
    assert mine.durations("close") == 37


@pytest.mark.compiled
@pytest.mark.parametrize("end", ["kill", "exit", "exec"])
def test_threads_that_end_in_mid_call_leave_nothing_behind(start, workload, unique, counted, mode, end):
    probe, name = start(calls=("read", "execve", "exit_group")), unique("obistk")
    step = workload.start(name, "stuck", 1500, end)
    step.wait()
    inside = step.wait_until_reading(1500 + 1)
    if end == "kill":
        step.process.kill()
        step.process.wait()  # the end of its input must not overtake the signal: a read that sees it returns 0
    else:
        step.go_on()
    step.finish()

    mine, true = counted(probe, name), counted(probe, "true")

    # A read that a kill breaks off returns before its thread dies; ours that waited for a line too.
    ended = mine.seen.counts("obi.syscall.errors", name, by="error.type", process_syscall_name="read")
    assert ended == {"ERESTARTSYS": 1500 + (end == "kill")}
    assert mine.durations("read") == mine.calls["read"]
    assert (mine.calls.get("exit_group", 0), true.calls.get("execve", 0) >= 1) == (end == "exit", end == "exec")
    if mode.name == "tracepoint":
        assert not inside & {key & 0xFFFFFFFF for key, _ in probe.bpf.rows("syscall_inflight")}
    # Thread ids come round: what a dead thread began no other must end.
    workload.run(unique("obilat"), "threads", 500)
    after = counted(probe, name)
    assert after.durations("read") == mine.durations("read")


def test_a_quantile_brackets_a_known_delay(start, workload, unique, counted):
    probe, name = start(calls=("read",)), unique("obidly")
    workload.run(name, "reads", 40, 20)

    mine = counted(probe, name)
    (row,) = [row for row in mine.seen.rows(name) if row.cells[0] == "read"]
    _, calls, errors, mean, p99, longest = row.cells
    buckets = mine.seen.buckets("obi.syscall.duration", name)
    at_least = sum(count for index, count in buckets.items() if 2 ** ((index + 1) / 4) >= 0.020)

    assert (calls, errors, mine.durations("read"), sum(buckets.values())) == (40, 0, 40, 40)
    assert at_least == 40, "no read can come back before its 20 ms are over"
    assert 0.020 <= mean <= longest
    assert 0.020 <= p99 <= longest


@pytest.mark.compiled
def test_blocking_calls_count_but_have_latencies_only_if_asked_for(start, workload, unique, counted):
    name, asked = unique("obislp"), unique("obiblk")
    probe = start()
    workload.run(name, "sleeps", 7, 10)
    without = counted(probe, name)
    probe.detach()
    probe = start(blocking=True)
    workload.run(asked, "sleeps", 7, 10)
    with_ = counted(probe, asked)

    call = next(call for call in without.calls if call.endswith("nanosleep"))
    assert (without.calls[call], without.durations(call)) == (7, 0)
    assert (with_.calls[call], with_.durations(call)) == (7, 7)
    assert min(with_.seen.buckets("obi.syscall.duration", asked)) >= -92
    (row,) = [row for row in with_.seen.rows(asked) if row.cells[0] == call]
    assert row.cells[3] >= 0.010


def test_a_name_that_changes_takes_what_follows_with_it(start, workload, unique, counted):
    probe, prefix = start(), unique("ch")
    workload.run("", "names", prefix, 53, 3)

    seen = Seen.of(probe)
    by_name = [seen.counts("obi.syscall.errors", f"{prefix[:8]}{number:04}", by="error.type") for number in range(53)]

    assert by_name == [{"ENOENT": 3}] * 53


def test_calls_in_two_cgroups_under_one_name_stay_apart(start, workload, unique, counted, cgroups):
    probe, name = start(), unique("obicgr")
    first, second = cgroups(), cgroups()
    step = workload.start(name, "waiting", 13, 17, 19)
    step.wait()
    first.take(step.process.pid)
    step.go_on()
    step.wait()
    second.take(step.process.pid)
    step.go_on()
    step.finish()

    failed = {
        each.owner.cgroup_id: each.value
        for each in Seen.of(probe).yielded
        if isinstance(each, Observation)
        and each.owner.comm == name
        and each.attributes.get("error.type") == "ENOENT"
        and isinstance(each.value, int)
    }
    assert failed == {first.id: 13}
