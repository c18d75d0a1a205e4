"""Every key of section `network`, turned: what it changes in the kernel."""

from pathlib import Path

import pytest

from obi_core import Constant, Entries, Live, Switch
from obi_core.testing.fakes import FakeLoader
from obi_core.testing.seen import Seen
from obi_plugin_network.probe import NetworkProbe
from obi_plugin_network.settings import NetworkSettings

CONFIG = Path(__file__).parents[3] / "config/ebpf-network.yaml"
KERNEL = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf", "tracefs", "cgroup2"))
DIRECTION = "network.io.direction"

SWITCHES = ("drops", "accepts", "existing")
TURNED = {
    "sample_every": 3,
    "loopback": False,
    "interface_name": True,
    "conversation_addresses": True,
    "trace_every": 5,
    "trace_per_s": 7,
    "connections": False,
    "udp_new_s": 11.0,
    "udp_replied_s": 13.0,
    "tcp_opening_s": 17.0,
    "tcp_gone_s": 19.0,
    "dns": False,
    "dns_timeout_s": 2.5,
    "dns_names": True,
    "max_rows": 128,
    "max_conversations": 128,
    "max_connections": 128,
    "max_processes": 128,
    "max_listeners": 128,
    "max_owners": 128,
    "max_accepted": 128,
    "max_drops": 128,
    "max_dns_questions": 128,
    "max_dns_rows": 128,
    "max_dns_anomalies": 128,
}
"""By field: a value that is not its default."""
WORDS = {
    "conversation_ports": ("server", "network_by_port"),
    "trace": ("sampled", "network_trace_on"),
}
"""By field: another word, and the constant that it becomes."""
COMPILED = {"network_owners", "network_opening"}
"""Maps of mode `bcc` alone; test_network_compiled_kernel.py looks at their sizes."""
MODES = ("interfaces",)
"""Chooses the mode; test_network_interfaces_kernel.py turns it."""


def markers(field, kind):
    return [mark for mark in NetworkSettings.model_fields[field].metadata if isinstance(mark, kind)]


def test_no_key_is_forgotten_here_or_in_the_shipped_file():
    fields = NetworkSettings.model_fields.keys() - {"interval_s"}
    assert {*SWITCHES, *TURNED, *WORDS, *MODES} == fields
    text = CONFIG.read_text()
    assert [field for field in [*fields, "interval_s"] if f"# {field}: " not in text] == []


@pytest.mark.parametrize("field", SWITCHES)
@pytest.mark.parametrize("name", ["cgroup_skb", "tc"])
def test_a_switch_leaves_its_programs_out_and_no_others(field, name):
    loader = FakeLoader()
    (mode,) = [each for each in NetworkProbe.modes if each.name == name]
    off = {mark.program for mark in markers(field, Switch)}
    probe = NetworkProbe(NetworkSettings(**{field: False}, interfaces=("lo",) if name == "tc" else ()))
    probe.load(loader, mode)
    probe.attach(mode)
    list(probe.collect())
    probe.detach()

    (loaded,) = loader.loaded
    ours = {program.name for program in mode.programs}
    assert {program.name for program in loaded.mode.programs} == ours - off
    assert off <= ours


@pytest.mark.parametrize("field", WORDS)
def test_a_word_becomes_a_constant(field):
    value, constant = WORDS[field]
    turned = NetworkSettings(**{field: value})
    assert turned.plan().constants[constant] != NetworkSettings().plan().constants[constant]


@KERNEL
@pytest.mark.parametrize("field", TURNED)
def test_a_value_reaches_the_kernel(start, field):
    value = TURNED[field]
    usual, turned = NetworkSettings(), NetworkSettings(**{field: value})
    assert getattr(usual, field) != value
    bpf = start(**{field: value}).bpf
    entries = {each.name: each.max_entries for each in bpf.maps()}

    assert markers(field, Entries | Live | Constant)
    for mark in markers(field, Entries):
        assert entries.get(mark.map_name, value if mark.map_name in COMPILED else 0) == value
    for mark in markers(field, Live):
        assert turned.live()[mark.c_name] != usual.live()[mark.c_name]
        # What only the programs of a trace read is not there without one.
        if mark.c_name in entries:
            assert bpf.lookup(mark.c_name, 0) == turned.live()[mark.c_name]
    for mark in markers(field, Constant):
        assert turned.plan().constants[mark.c_name] != usual.plan().constants[mark.c_name]


@KERNEL
def test_without_drops_none_is_counted(start, packets, unique):
    probe = start(drops=False)
    packets.run("datagrams", unique("obidrop"), "4", 5)
    seen = Seen.of(probe)
    assert [
        each for each in seen.yielded if getattr(each, "instrument", None) and each.instrument.name == "obi.network.drops"
    ] == []


@KERNEL
def test_without_existing_sockets_older_than_the_probe_have_no_owner(start, packets, unique):
    name = unique("obiyet")
    held = packets.start("held", name, "4", 23)
    assert held.line()
    probe = start(existing=False)
    held.go_on()
    assert held.line() == "used"
    seen = Seen.of(probe)
    held.go_on()
    held.finish()

    assert seen.counts("obi.network.packets", name, by=DIRECTION, network_transport="udp") == {}


def test_what_was_opted_in_to_is_off_while_the_probe_sheds_and_is_off_by_default():
    opted = NetworkSettings(interface_name=True, conversation_addresses=True, conversation_ports="server", dns_names=True)
    assert opted.opted_in() == ("interface_name", "conversation_addresses", "conversation_ports", "dns_names")
    assert opted.without_opt_ins() == NetworkSettings()
