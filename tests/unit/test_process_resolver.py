"""From an owner to process attributes, with recorded and real processes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from obi_core.host import Host
from obi_core.identity import ProcessResolver
from obi_core.model import Owner

HYBRID = Host(proc=Path(__file__).parents[1] / "fixtures/proc/hybrid")
TICK_NS = 10_000_000
NAME = "process.executable.name"


def resolver(host=HYBRID, **options):
    return ProcessResolver(host, ticks_per_s=100, **options)


def owner(comm, tgid=4243, start_ns=200 * TICK_NS):
    return Owner(tgid, start_ns, cgroup_id=1, comm=comm)


def test_a_short_name_is_taken_as_the_kernel_saw_it():
    subject = resolver().resolve(owner("curl", tgid=999_999))
    assert (subject.attributes, subject.complete) == ({NAME: "curl"}, True)


def test_a_name_that_was_cut_off_is_completed_from_the_arguments():
    assert resolver().resolve(owner("very-long-name-")).attributes == {NAME: "very-long-name-of-a-script"}


def test_a_start_time_within_the_same_tick_is_the_same_process():
    assert resolver().resolve(owner("very-long-name-", start_ns=200 * TICK_NS + 9_999_999)).attributes[NAME].endswith("script")


@pytest.mark.parametrize(("tgid", "start_ns"), [(4243, 201 * TICK_NS), (4243, 0), (4244, 200 * TICK_NS)])
def test_a_process_that_may_be_another_one_leaves_the_name_cut_off(tgid, start_ns):
    assert resolver().resolve(owner("very-long-name-", tgid, start_ns)).attributes == {NAME: "very-long-name-"}


def two_processes(tmp_path, *programs):
    for pid, program in enumerate(programs, 5):
        process = tmp_path / str(pid)
        process.mkdir()
        (process / "comm").write_text("very-long-name-\n")
        (process / "exe").symlink_to(f"/opt/{program}")
    return resolver(Host(proc=tmp_path))


def test_a_folded_owner_gets_the_whole_name_that_all_processes_of_the_cut_off_one_have(tmp_path):
    folded = two_processes(tmp_path, "very-long-name-of-a-server", "very-long-name-of-a-server")
    assert folded.resolve(owner("very-long-name-", tgid=0, start_ns=0)).attributes == {NAME: "very-long-name-of-a-server"}


def test_a_folded_owner_whose_processes_differ_keeps_the_cut_off_name(tmp_path):
    folded = two_processes(tmp_path, "very-long-name-of-a-server", "very-long-name-of-a-client")
    assert folded.resolve(owner("very-long-name-", tgid=0, start_ns=0)).attributes == {NAME: "very-long-name-"}


def test_an_argument_that_does_not_begin_with_the_name_is_no_name():
    assert resolver().resolve(owner("renamed-itself-")).attributes == {NAME: "renamed-itself-"}


def test_the_length_of_a_name_is_in_bytes(tmp_path):
    # seven characters, fifteen bytes: the kernel may have cut it
    comm = "äöüäöüä!"
    assert len(comm.encode()) == 15
    process = tmp_path / "5"
    process.mkdir()
    (process / "stat").write_text((HYBRID.proc / "4243/stat").read_text())
    (process / "exe").symlink_to(f"/opt/{comm}-server (deleted)")
    assert resolver(Host(proc=tmp_path)).resolve(owner(comm, tgid=5)).attributes == {NAME: f"{comm}-server"}


def test_an_owner_without_a_name_has_no_name_attribute():
    assert resolver().resolve(owner("", tgid=0, start_ns=0)).attributes == {}


def test_the_pid_is_opt_in():
    assert resolver(process_pid=True).resolve(owner("curl", tgid=7)).attributes == {NAME: "curl", "process.pid": 7}
    assert resolver(process_pid=True).resolve(owner("curl", tgid=0)).attributes == {NAME: "curl"}


def test_a_real_process_with_a_long_name_is_completed(tmp_path):
    program = tmp_path / "sleeper-with-a-long-name"
    shutil.copy(shutil.which("sleep"), program)
    with subprocess.Popen([program, "60"]) as process:
        try:
            host = Host()
            ticks = host.process_start_ticks(process.pid)
            start_ns = ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
            found = ProcessResolver(host).resolve(Owner(process.pid, start_ns, 1, "sleeper-with-a-"))
        finally:
            process.kill()
    assert found.attributes == {NAME: "sleeper-with-a-long-name"}


def test_while_the_kernel_s_word_is_awaited_nobody_else_s_process_lends_its_name(tmp_path):
    """Another cgroup's program with the same first 15 bytes runs; the owner's own has ended."""
    other = tmp_path / "4711"
    other.mkdir()
    (other / "comm").write_text("obi-short-lived\n")
    (other / "cmdline").write_bytes(b"/opt/obi-short-lived-omega\0")
    answers = [LookupError(), "obi-short-lived-alpha"]

    def noted(_):
        answer = answers.pop(0)
        if isinstance(answer, LookupError):
            raise answer
        return answer

    found = resolver(Host(proc=tmp_path), noted=noted)
    ended = Owner(0, 0, 7, "obi-short-lived")
    first = found.resolve(ended)
    assert (first.attributes, first.complete, first.missing) == ({NAME: "obi-short-lived"}, False, "process")
    assert found.resolve(ended).attributes == {NAME: "obi-short-lived-alpha"}
