"""Names and paths that the kernel has noted, and what happens where it does not note them."""

import os
import subprocess
import sys
from pathlib import PurePosixPath
from types import SimpleNamespace

import pytest

from obi_core.cgroups import Cgroup
from obi_core.errors import LoadError
from obi_core.host import Host
from obi_core.identity import CgroupResolver, ProcessResolver, Tracking
from obi_core.model import Owner
from obi_core.resolver import Subject
from obi_core.settings import IdentitySettings, load_settings
from obi_core.testing.fakes import FakeClock, FakeLoader

COMM = "obi-short-lived"
ID = "0123456789abcdef" * 4


class Able(Host):
    def has_capability(self, name):
        return True

    def btf(self):
        return self.proc


def tracking(tables=None, clock=None, errors=None, host=None, **settings):
    made = Tracking(IdentitySettings(**settings), clock or FakeClock())
    made.open(FakeLoader(tables=tables or {}, errors=errors or {}), host or Able())
    return made


class Struct(SimpleNamespace):
    __hash__ = object.__hash__


def row(cgroup_id, path, several=0):
    return Struct(cgroup_id=cgroup_id, comm=COMM.encode() + b"\0"), Struct(path=path.encode() + b"\0\0", several=several)


def owner(cgroup_id, comm=COMM, tgid=0, start_ns=0):
    return Owner(tgid, start_ns, cgroup_id, comm)


def names(*rows):
    return {"identity_names": dict(row(*each) for each in rows)}


def test_a_program_is_called_by_its_cgroup_s_own(tmp_path):
    noted = tracking(names((7, "/opt/obi-short-lived-alpha"), (8, "/opt/obi-short-lived-omega")))
    resolver = ProcessResolver(Host(proc=tmp_path), noted=noted.name)
    assert resolver.resolve(owner(7)) == Subject({"process.executable.name": "obi-short-lived-alpha"})
    assert resolver.resolve(owner(8)) == Subject({"process.executable.name": "obi-short-lived-omega"})


def test_a_short_name_is_whole_and_nobody_looks(tmp_path):
    asked = []
    resolver = ProcessResolver(Host(proc=tmp_path), noted=asked.append)
    assert resolver.resolve(owner(7, "curl")) == Subject({"process.executable.name": "curl"})
    assert asked == []


def test_two_programs_of_one_cgroup_and_comm_stay_cut_off(tmp_path):
    noted = tracking(names((7, "/opt/obi-short-lived-alpha", 1)))
    resolver = ProcessResolver(Host(proc=tmp_path), noted=noted.name)
    assert resolver.resolve(owner(7)) == Subject({"process.executable.name": COMM})


def test_a_miss_right_after_a_read_is_asked_again_in_a_moment(tmp_path):
    clock, tables = FakeClock(), names((7, "/opt/obi-short-lived-alpha"))
    noted = tracking(tables, clock)
    resolver = ProcessResolver(Host(proc=tmp_path), noted=noted.name)
    assert resolver.resolve(owner(7)).complete
    tables["identity_names"] |= dict([row(9, "/opt/obi-short-lived-omega")])
    assert resolver.resolve(owner(9)) == Subject({"process.executable.name": COMM}, complete=False, missing="process")
    clock.advance(0.3)
    assert resolver.resolve(owner(9)) == Subject({"process.executable.name": "obi-short-lived-omega"})
    assert resolver.resolve(owner(10)).complete is False
    clock.advance(0.3)
    assert resolver.resolve(owner(10)) == Subject({"process.executable.name": COMM}), "read, and not there"


def test_a_cgroup_that_is_gone_is_known_by_what_was_noted():
    class Empty:
        def all(self):
            yield Cgroup(1, PurePosixPath("/"))

    tables = {"identity_cgroups": {42: SimpleNamespace(path=f"/docker/{ID}".encode() + b"\0")}}
    resolver = CgroupResolver(Empty(), noted=tracking(tables).path)
    assert resolver.resolve(owner(42)) == Subject({"container.id": ID})
    assert resolver.resolve(owner(43)) == Subject({}, complete=False, missing="cgroup")


def execution(arguments, **settings):
    key = Struct(tgid=12, start_ns=99)
    value = SimpleNamespace(vpid=3, path=b"/bin/x\0", args=arguments.ljust(512, b"\0"), args_len=len(arguments))
    noted = tracking({"identity_execs": {key: value}}, **settings)
    return noted.execution(owner(7, tgid=12, start_ns=99))


def test_a_command_line_is_opt_in():
    assert execution(b"x\0--fast\0") is None
    found = execution(b"x\0--fast\0", command_lines=True)
    assert (found.vpid, found.path, found.command_line) == (3, "/bin/x", "x --fast")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (b"mysql\0--password=hunter2\0-h\0db\0", "mysql --password=[redacted] -h db"),
        (b"app\0--api-key\0abc\0--x\0", "app --api-key [redacted] --x"),
        (b"curl\0https://me:pw@host/\0", "curl https://me:[redacted]@host/"),
        (b"env\0DB_TOKEN=abc\0run\0", "env DB_TOKEN=[redacted] run"),
        (b"plain\0password\0", "plain password"),
        (b"\xff\xfe\0", "\ufffd\ufffd"),
        (b"", ""),
    ],
)
def test_secrets_in_a_command_line_are_redacted(arguments, expected):
    assert execution(arguments, command_lines=True).command_line == expected


def test_a_process_that_ran_before_the_agent_is_read_from_proc():
    program = "print(flush=True); input()"
    arguments = [sys.executable, "-c", program, "--token=hunter2"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.readline()
        ticks = Host().process_start_ticks(process.pid)
        start_ns = ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        noted = tracking(host=Host(), command_lines=True)
        found = noted.execution(owner(7, tgid=process.pid, start_ns=start_ns))
        assert (found.vpid, found.path) == (process.pid, os.path.realpath(sys.executable))
        assert found.command_line == f"{sys.executable} -c {program} --token=[redacted]"
        assert noted.execution(owner(7, tgid=process.pid, start_ns=start_ns - 10**9)) is None, "an id that went to another"
        assert tracking(host=Host()).execution(owner(7, tgid=process.pid, start_ns=start_ns)) is None, "opt-in"
        process.stdin.close()
    assert noted.execution(owner(7, tgid=process.pid, start_ns=start_ns)) == found, "what was read outlives the process"
    assert tracking(host=Host(), command_lines=True).execution(owner(7, tgid=process.pid, start_ns=start_ns)) is None


def test_a_process_whose_files_cannot_be_read_has_its_own_id_and_no_path(tmp_path):
    process = tmp_path / "12"
    process.mkdir()
    (process / "stat").write_text("12 (x) y) S " + "0 " * 18 + "100 0\n")
    start_ns = 100 * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    one = owner(7, tgid=12, start_ns=start_ns)
    noted = tracking(host=Able(proc=tmp_path), command_lines=True)
    assert noted.execution(one) is None
    (process / "cmdline").touch()
    (process / "status").touch()
    assert noted.execution(one) is None, "in the middle of an exec"
    (process / "cmdline").write_bytes(b"x\0-v\0")
    (process / "status").write_text("Name:\tx\nNSpid:\t12\t3\t1\n")
    found = noted.execution(one)
    assert (found.vpid, found.path, found.command_line) == (1, "", "x -v")


def test_a_pattern_without_a_group_hides_all_that_it_matches():
    assert execution(b"pay\0--card\0" + b"412\0", command_lines=True, redact=(r"--card \d+",)).command_line == "pay [redacted]"


def test_a_pattern_that_is_none_is_a_configuration_error():
    with pytest.raises(Exception, match=r"must be regular expressions; '\(' is none"):
        load_settings(None, {}, {"identity.redact": ("(",)})


def test_what_the_node_does_not_allow_is_said_once(tmp_path, caplog):
    noted = tracking(host=Host(proc=tmp_path, sys=tmp_path))
    assert set(noted.lost) == {"identity_exec", "identity_mkdir"}
    noted.tell()
    (record,) = caplog.records
    expected = "programs that have ended; containers that lived for less than a second: cap:bpf is missing"
    assert (record.levelname, expected in record.getMessage()) == ("WARNING", True)
    assert noted.name(owner(7)) is None
    assert noted.path(42) is None
    noted.close()


def test_a_program_that_the_kernel_refuses_costs_the_other_nothing():
    noted = tracking(names((7, "/opt/obi-short-lived-alpha")), errors={"load:identity_mkdir": LoadError("no such hook")})
    assert noted.lost == {"identity_mkdir": "no such hook"}
    assert noted.name(owner(7)) == "obi-short-lived-alpha"
    noted.close()
    noted.close()


def test_switched_off_it_loads_nothing_and_says_nothing(caplog):
    noted = tracking(tracking=False)
    noted.tell()
    assert (noted.path(42), caplog.records) == (None, [])
