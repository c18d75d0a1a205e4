"""Calls that fail for want of something: a prime number of them gives that number, in each mode with programs."""

import pytest

from obi_core import Observation
from obi_core.testing.seen import Seen
from obi_plugin_limits.settings import LimitsSettings

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs", "root"))


def failed(probe, name):
    """obi.limits.exhaustion of one process name: {(resource, error): count}."""
    found = [each for each in Seen.of(probe).yielded if isinstance(each, Observation)]
    return {
        (each.attributes["limit.resource"], each.attributes["error.type"]): each.value
        for each in found
        if each.instrument.name == "obi.limits.exhaustion" and each.owner.comm == name
    }


def run(workload, *step, group=None, command=()):
    made = workload(*step, group=group, command=command)
    made.go_on()
    made.finish()


@pytest.mark.compiled
def test_descriptors_that_are_used_up_are_counted_exactly(start, workload, unique):
    probe, name = start(exhaustion_calls=("openat", "socket", "pipe2")), unique("obifds")
    run(workload, "descriptors", name, 23)

    assert failed(probe, name) == {("file_descriptors", "EMFILE"): 23}


@pytest.mark.compiled
def test_forks_and_threads_beyond_a_pids_limit_are_counted_exactly_by_program_and_by_file(start, group, workload, unique):
    probe, name = start(exhaustion_calls=("clone", "clone3", "fork", "vfork")), unique("obiforks")
    group.limit("pids", 1)
    run(workload, "forks", name, 19, group=group)

    seen = Seen.of(probe)
    by_file = [
        each.value
        for each in seen.yielded
        if isinstance(each, Observation) and each.instrument.name == "obi.limits.pids.events" and each.owner
        if each.owner.cgroup_id == group.id
    ]
    assert failed(probe, name) == {("processes", "EAGAIN"): 19}
    assert by_file == [19] == [group.keyed("pids", "pids.events")["max"]]


@pytest.mark.compiled
def test_forks_beyond_the_users_own_limit_are_counted_exactly(start, workload, unique):
    probe, name = start(exhaustion_calls=("clone",)), unique("obinproc")
    run(workload, "threads-of-user", name, 7)

    assert failed(probe, name) == {("processes", "EAGAIN"): 7}


def test_a_call_that_would_block_is_not_taken_for_a_fork_that_failed(start, unique):
    import socket

    probe = start(exhaustion_calls=("accept4", "clone"))
    before = sum(account.count for account in Seen.of(probe).yielded if getattr(account, "outcome", "") == "seen")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        for _ in range(500):
            with pytest.raises(BlockingIOError):
                server.accept()
    after = sum(account.count for account in Seen.of(probe).yielded if getattr(account, "outcome", "") == "seen")

    assert after - before < 500


@pytest.mark.compiled
def test_address_space_that_is_used_up_is_counted_exactly(start, workload, unique):
    probe, name = start(exhaustion_calls=("mmap",)), unique("obimmap")
    run(workload, "memory", name, 13)

    assert failed(probe, name) == {("memory", "ENOMEM"): 13}


@pytest.mark.compiled
@pytest.mark.kernel(needs=("cmd:ip",))
def test_local_ports_that_are_used_up_are_counted_exactly(start, workload, unique):
    probe, name = start(exhaustion_calls=("connect",)), unique("obiports")
    run(workload, "ports", name, 17, command=("unshare", "--net"))

    assert failed(probe, name) == {("ports", "EADDRNOTAVAIL"): 17}


@pytest.mark.compiled
def test_a_full_file_system_is_counted_exactly_and_its_writes_once_they_are_asked_for(start, workload, unique, tmp_path):
    probe, name = start(exhaustion_calls=("fallocate",)), unique("obifull")
    run(workload, "storage", name, 11, 5, tmp_path, command=("unshare", "--mount"))
    assert failed(probe, name) == {("storage", "ENOSPC"): 11}

    probe, name = start(exhaustion_calls=("fallocate", "write")), unique("obiwrite")
    run(workload, "storage", name, 11, 5, tmp_path, command=("unshare", "--mount"))
    assert failed(probe, name) == {("storage", "ENOSPC"): 16}


def test_watches_that_are_used_up_are_no_want_of_storage(start, workload, unique):
    probe, name = start(exhaustion_calls=("inotify_add_watch",)), unique("obiwatch")
    run(workload, "watches", name, 5, command=("unshare", "--user", "--map-root-user"))

    assert failed(probe, name) == {("watches", "ENOSPC"): 5}


@pytest.mark.compiled
def test_a_full_table_of_rows_loses_exactly_what_it_does_not_count(start, workload, unique):
    probe = start(exhaustion_calls=("openat",), max_rows=64)
    prefix = unique("obir")[:11]
    run(workload, "descriptors-by-name", prefix, 150, prefix)

    seen = Seen.of(probe)
    counted = sum(
        each.value
        for each in seen.yielded
        if isinstance(each, Observation) and each.instrument.name == "obi.limits.exhaustion" and each.owner
        if each.owner.comm.startswith(prefix)
    )
    account = {each.outcome: each.count for each in seen.yielded if hasattr(each, "outcome")}
    # 150 is the workload's own count: each open failed, or it would have failed
    assert counted + seen.losses()["rows_full"] == 150
    assert 0 < seen.losses()["rows_full"] == account["lost"]
    assert account["seen"] == account["exported"] + account["filtered"] + account["sampled_out"] + account["lost"]


def test_the_default_calls_are_all_watched_and_one_that_is_unknown_costs_nothing_but_a_line(start, workload, unique, caplog):
    calls = (*LimitsSettings().exhaustion_calls, "open_sesame")
    probe, name = start(exhaustion_calls=calls), unique("obiall")
    run(workload, "descriptors", name, 3)

    assert failed(probe, name) == {("file_descriptors", "EMFILE"): 3}
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("limits.exhaustion_calls: open_sesame is not watched: ")
    assert "this kernel has no tracepoint syscalls/sys_exit_open_sesame" in line
