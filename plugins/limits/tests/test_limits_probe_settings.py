"""Every key of section `limits`, turned: what it changes, and nothing else."""

import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import ValidationError

from obi_core import Constant, Entries, Live, Observation
from obi_core.testing.fakes import FakeLoader
from obi_core.testing.seen import Seen
from obi_plugin_limits.probe import LimitsProbe
from obi_plugin_limits.settings import LimitsSettings

CONFIG = Path(__file__).parents[3] / "config/ebpf-limits.yaml"
KERNEL = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs", "root"))

SWITCHES = {
    "oom": {"limits_oom_btf", "limits_oom_tp", "limits_victim_tp"},
    "exhaustion": {"limits_call", "limits_fork", "limits_watch"},
    "signals": set(),
}
"""By field: programs that are left out without it. Without `signals` the victims of the OOM killer still need theirs."""
TURNED = {
    "victim_name": True,
    "oom_events_per_s": 3,
    "handled_signals": True,
    "signal_events_per_s": 7,
    "max_kills": 128,
    "max_rows": 256,
    "event_bytes": 8_192,
}
"""By field that the kernel knows: a value that is not its default."""
ELSEWHERE = {
    "exhaustion_calls",
    "signal_names",
    "resources",
    "max_cgroups",
    "open_files",
    "processes",
    "processes_per_collection",
    "listeners",
    "listen_port",
}
"""Fields that tests below, and those of files and groups, turn."""


def markers(field, kind):
    return [mark for mark in LimitsSettings.model_fields[field].metadata if isinstance(mark, kind)]


def test_no_key_is_forgotten_here_or_in_the_shipped_file():
    fields = LimitsSettings.model_fields.keys() - {"interval_s"}
    assert {*SWITCHES, *TURNED, *ELSEWHERE} == fields
    text = CONFIG.read_text()
    assert [field for field in [*fields, "interval_s"] if f"# {field}:" not in text] == []


@pytest.mark.parametrize("field", SWITCHES)
@pytest.mark.parametrize("mode", [mode for mode in LimitsProbe.modes if mode.programs], ids=lambda mode: mode.name)
def test_a_switch_leaves_its_programs_out_and_no_others(field, mode):
    loader, probe = FakeLoader(), LimitsProbe(LimitsSettings(**{field: False}))
    probe.load(loader, mode)
    probe.attach(mode)
    list(probe.collect())
    probe.detach()

    (loaded,) = loader.loaded
    assert {program.name for program in loaded.mode.programs} == {each.name for each in mode.programs} - SWITCHES[field]


def test_everything_switched_off_leaves_the_files():
    loader, probe = FakeLoader(), LimitsProbe(LimitsSettings(oom=False, signals=False, exhaustion=False))
    probe.load(loader, LimitsProbe.modes[0])
    probe.attach(LimitsProbe.modes[0])
    given = [each for each in probe.collect() if isinstance(each, Observation)]
    probe.detach()

    assert {program.name for loaded in loader.loaded for program in loaded.mode.programs} == set()
    assert given


def test_each_call_is_watched_where_it_returns_and_no_other_is():
    loader, probe = FakeLoader(), LimitsProbe(LimitsSettings(exhaustion_calls=("openat", "dup", "clone3", "epoll_ctl")))
    probe.load(loader, LimitsProbe.modes[0])
    probe.attach(LimitsProbe.modes[0])
    (loaded,) = loader.loaded

    assert loaded.places == [
        ("limits_call", "syscalls/sys_exit_dup"),
        ("limits_fork", "syscalls/sys_exit_clone3"),
        ("limits_watch", "syscalls/sys_exit_epoll_ctl"),
    ]
    assert set(loaded.attached) >= {"limits_call", "limits_fork", "limits_watch"}
    probe.detach()


def test_the_chosen_signals_become_a_mask():
    chosen = LimitsSettings(signal_names=("SIGKILL", "SIGHUP")).plan().constants["limits_signal_mask"]
    assert chosen == 1 << (signal.SIGKILL - 1) | 1
    assert LimitsSettings(signals=False).plan().constants["limits_signal_mask"] == 0


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("event_bytes", 5_000, "must be a power of two"),
        ("exhaustion_calls", ["open at"], "'open at' is not the name of a system call"),
        ("exhaustion_calls", [f"call{number}" for number in range(65)], "at most 64 system calls"),
        ("signal_names", ["SIGCHLD"], "SIGHUP"),
        ("resources", ["disk"], "cpu"),
        ("max_cgroups", 0, "greater than or equal to 1"),
    ],
)
def test_what_a_key_cannot_be_is_said(field, value, message):
    with pytest.raises(ValidationError, match=message):
        LimitsSettings(**{field: value})


@KERNEL
@pytest.mark.parametrize("field", TURNED)
def test_a_value_reaches_the_kernel(start, field):
    value = TURNED[field]
    usual, turned = LimitsSettings(), LimitsSettings(**{field: value})
    assert getattr(usual, field) != value
    bpf = start(**{field: value, "exhaustion_calls": ("openat",)}).bpf
    entries = {each.name: each.max_entries for each in bpf.maps()}

    for mark in markers(field, Entries):
        assert entries[mark.map_name] == value
    for mark in markers(field, Live):
        assert bpf.lookup(mark.c_name, 0) == turned.live()[mark.c_name] != usual.live()[mark.c_name]
    for mark in markers(field, Constant):
        assert turned.plan().constants[mark.c_name] != usual.plan().constants[mark.c_name]


@KERNEL
@pytest.mark.parametrize("field", ["oom", "exhaustion", "signals"])
def test_what_is_switched_off_is_absent_and_the_rest_is_there(start, group, workload, unique, field):
    probe, killed, failing = start(**{field: False, "exhaustion_calls": ("openat",)}), unique("obikill"), unique("obifail")
    group.limit("memory", 32 << 20)
    victim = workload("eat", killed, 64, group=group)
    victim.go_on()
    assert victim.process.wait(10) == -signal.SIGKILL
    step = workload("descriptors", failing, 5)
    step.go_on()
    step.finish()
    seen = Seen.of(probe)

    given = {
        "oom": sum(
            each.value
            for each in seen.yielded
            if isinstance(each, Observation) and each.instrument.name == "obi.limits.oom_kills" and each.owner
            if each.owner.cgroup_id == group.id
        ),
        "exhaustion": sum(seen.counts("obi.limits.exhaustion", failing).values()),
        "signals": sum(seen.counts("obi.limits.signals", killed).values()),
    }
    assert {what for what, count in given.items() if not count} == {field}


@KERNEL
def test_programs_are_told_of_as_far_as_they_are_asked_for(start):
    def told(**settings):
        seen = Seen.of(start(listeners=0, **settings))
        usage = [each for each in seen.yielded if isinstance(each, Observation) and each.instrument.name == "obi.limits.usage"]
        return len([each for each in usage if each.owner and each.owner.comm])

    assert told(processes=2) == 2
    assert told(processes=0) == 0
    assert told(processes=2, processes_per_collection=1) <= 2


@KERNEL
@pytest.mark.parametrize(
    ("settings", "points"),
    [
        ({"listeners": 0}, 0),
        ({"listeners": 5}, 1),
        ({"listeners": 1, "listen_port": True}, 1),
        ({"listeners": 1_000, "listen_port": True}, 2),
    ],
)
def test_queues_are_told_of_as_far_as_they_are_asked_for_and_ports_only_then(start, settings, points):
    with ExitStack() as open_:
        servers = [open_.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2)) for _ in range(2)]
        bound = {server.getsockname()[1] for server in servers}
        for server in servers:
            for _ in range(2):
                open_.enter_context(socket.create_connection(server.getsockname()))
        seen = Seen.of(start(processes=0, **settings))
    usage = [each for each in seen.yielded if isinstance(each, Observation) and each.instrument.name == "obi.limits.usage"]
    queues = [each for each in usage if each.attributes["limit.resource"] == "listen_queue"]
    ports = {each.attributes.get("server.port") for each in queues}

    if points == 2:
        assert ports >= bound
    else:
        assert len(queues) == points
    assert (None in ports) is (points == 1 and not settings.get("listen_port"))


@KERNEL
def test_the_maps_of_the_defaults_are_small_and_the_smallest_sizes_load(start):
    usual = sum(each.memory_bytes for each in start(exhaustion_calls=("openat", "clone")).bpf.maps())
    least = start(max_kills=64, max_rows=64, event_bytes=4_096, exhaustion_calls=("openat",)).bpf.maps()

    assert usual < 4 << 20
    assert sum(each.memory_bytes for each in least) < 1 << 20


def test_what_was_opted_in_to_is_off_while_the_probe_sheds_and_is_off_by_default():
    opted = LimitsSettings(victim_name=True, listen_port=True)
    assert opted.opted_in() == ("victim_name", "listen_port")
    assert opted.without_opt_ins() == LimitsSettings()
