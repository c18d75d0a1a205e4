"""Every key of section `tcp`, turned: what it changes in the kernel, and nothing else."""

from pathlib import Path

import pytest

from obi_core import Constant, Entries, Live, Switch
from obi_core.testing.fakes import FakeLoader
from obi_core.testing.seen import Seen
from obi_plugin_tcp.probe import TcpProbe
from obi_plugin_tcp.settings import TcpSettings

CONFIG = Path(__file__).parents[3] / "config/ebpf-tcp.yaml"

SWITCHES = {
    "rtt": ("obi.tcp.rtt",),
    "retransmits": ("obi.tcp.retransmits",),
    "resets": ("obi.tcp.resets",),
    "accepts": (),
    "open_connections": ("view connections",),
    "existing": (),
}
"""By field: what must be absent without it."""
TURNED = {
    "rtt_every": 3,
    "slow_connect_s": 2.0,
    "span_every": 7,
    "events_per_s": 11,
    "listen_port": True,
    "max_sockets": 128,
    "max_listeners": 32,
    "max_rows": 256,
    "max_histograms": 64,
    "event_bytes": 8_192,
}
"""By field: a value that is not its default."""


def markers(field, kind):
    return [mark for mark in TcpSettings.model_fields[field].metadata if isinstance(mark, kind)]


def test_no_key_is_forgotten_here_or_in_the_shipped_file():
    fields = TcpSettings.model_fields.keys() - {"interval_s"}
    assert {*SWITCHES, *TURNED} == fields
    text = CONFIG.read_text()
    assert [field for field in [*fields, "interval_s"] if f"# {field}: " not in text] == []


@pytest.mark.parametrize("field", SWITCHES)
@pytest.mark.parametrize("mode", [mode for mode in TcpProbe.modes if mode.programs], ids=lambda mode: mode.name)
def test_a_switch_leaves_its_programs_out_and_no_others(field, mode):
    loader = FakeLoader()
    off = {mark.program for mark in markers(field, Switch)}
    probe = TcpProbe(TcpSettings(**{field: False}))
    probe.load(loader, mode)
    probe.attach(mode)
    list(probe.collect())
    probe.detach()

    (loaded,) = loader.loaded
    ours = {program.name for program in mode.programs}
    assert {program.name for program in loaded.mode.programs} == ours - off
    assert off & ours, "every mode has programs of each switch"


@pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf", "tracefs", "cgroup2"))
@pytest.mark.parametrize("field", SWITCHES)
def test_what_is_switched_off_is_absent_and_the_rest_is_there(start, network, unique, field):
    probe, name = start(**{field: False, "rtt_every": 1}), unique("obiswch")
    network.run("reset", name, 5)
    network.run("timed-out", name, "4", 1)
    step = network.start("ping-pong", name, 20, 100)
    step.line()
    step.go_on()
    assert step.line() == "sent"
    seen = Seen.of(probe)
    step.go_on()
    step.finish()

    given = {
        "obi.tcp.connects": sum(seen.counts("obi.tcp.connects", name).values()),
        "obi.tcp.rtt": seen.durations("obi.tcp.rtt", name),
        "obi.tcp.retransmits": sum(seen.counts("obi.tcp.retransmits", name).values()),
        "obi.tcp.resets": sum(seen.counts("obi.tcp.resets", name).values()),
        "view connections": len(seen.rows(name)),
    }
    assert {what for what, count in given.items() if not count} == set(SWITCHES[field])


@pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf", "tracefs", "cgroup2"))
def test_connections_that_are_older_than_the_probe_are_taken_in_only_if_asked_for(start, network, unique):
    name = unique("obiolder")
    held = network.start("hold", name, 3, 1, 1)
    assert held.line() == "held"
    with_them = len(Seen.of(start()).rows(name))
    without = len(Seen.of(start(existing=False)).rows(name))
    held.go_on()
    held.line()
    held.go_on()
    held.finish()

    assert (with_them, without) == (6, 0)


@pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf", "tracefs", "cgroup2"))
def test_without_the_accept_hooks_the_listener_stands_in(start, network, unique):
    probe, listens, accepts = start(accepts=False), unique("obilstn"), unique("obiaccp")
    server = network.start("prefork", listens, accepts, 3)
    network.run("connect", unique("obicln"), "4", server.line(), 3, 3, 0)
    server.finish()

    seen = Seen.of(probe)
    owners = {name: sum(seen.counts("obi.tcp.connects", name).values()) for name in (listens, accepts)}
    # A worker that closes is still the one that had it: only what nobody closed falls to the listener.
    assert sum(owners.values()) == 3


@pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf", "tracefs", "cgroup2"))
@pytest.mark.parametrize("field", TURNED)
def test_a_number_reaches_the_kernel(start, field):
    value = TURNED[field]
    usual, turned = TcpSettings(), TcpSettings(**{field: value})
    assert getattr(usual, field) != value
    bpf = start(**{field: value}).bpf
    entries = {each.name: each.max_entries for each in bpf.maps()}

    for mark in markers(field, Entries):
        assert entries[mark.map_name] == value
    for mark in markers(field, Live):
        assert bpf.lookup(mark.c_name, 0) == turned.live()[mark.c_name] != usual.live()[mark.c_name]
    for mark in markers(field, Constant):
        assert turned.plan().constants[mark.c_name] != usual.plan().constants[mark.c_name]


@pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf", "tracefs", "cgroup2"))
def test_events_beyond_the_limit_stay_in_the_kernel_and_are_counted(start, network, unique):
    probe, name = start(events_per_s=0, span_every=1), unique("obimute")
    network.run("reset", name, 5)
    seen = Seen.of(probe)

    # Each end of five connections, and each reset where it was sent and where it came.
    assert seen.spans(name, "tcp connection") == []
    assert seen.events(name, "obi.tcp.reset") == []
    assert seen.losses()["events_limited"] >= 20


def test_what_was_opted_in_to_is_off_while_the_probe_sheds_and_is_off_by_default():
    opted = TcpSettings(listen_port=True)
    assert opted.opted_in() == ("listen_port",)
    assert opted.without_opt_ins() == TcpSettings()
