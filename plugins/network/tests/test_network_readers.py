"""Rows → observations, interfaces and settings: without a kernel."""

from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from obi_core import AttachError, Loss, Observation
from obi_core.testing.fakes import FakeBpfObject
from obi_plugin_network import modes, readers, records
from obi_plugin_network.interfaces import Chosen, Names, local_ports
from obi_plugin_network.probe import NetworkProbe
from obi_plugin_network.settings import NetworkSettings

OWNER = SimpleNamespace(tgid=7, start_ns=1, cgroup_id=3, comm=b"curl")
HERE, THERE = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1]), bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 2])


class Key(SimpleNamespace):
    def __bytes__(self):
        return repr(sorted(self.__dict__)).encode()


def packets_key(**changes):
    values = {"owner": OWNER, "ifindex": 0, "netns": 0, "family": 2, "transport": 1, "direction": 1, "malformed": 0}
    return Key(**values | changes)


def sums(packets, size):
    return SimpleNamespace(packets=packets, bytes=size)


def no_interface(_netns, _index):
    raise AssertionError("rows without an interface have no name")


def test_a_row_gives_packets_and_bytes_and_those_of_its_conversation_under_the_key_that_retires_it():
    key = packets_key()

    found = list(readers.packets([(key, sums(3, 1500))], no_interface))

    attributes = {"network.io.direction": "transmit", "network.transport": "tcp"}
    assert [(each.instrument.name, each.value, each.attributes) for each in found] == [
        ("obi.network.packets", 3, {**attributes, "network.type": "ipv4"}),
        ("obi.network.io", 1500, {**attributes, "network.type": "ipv4"}),
        ("obi.network.conversation.packets", 3, attributes),
        ("obi.network.conversation.io", 1500, attributes),
    ]
    assert {each.key for each in found} == {("network_packets", bytes(key))}
    assert {each.owner.comm for each in found} == {"curl"}


def test_what_is_malformed_or_of_another_protocol_says_so():
    (first, *_) = readers.packets([(packets_key(malformed=1, family=0, transport=0, direction=0), sums(1, 60))], no_interface)

    assert first.attributes == {
        "network.io.direction": "receive",
        "network.transport": "_OTHER",
        "network.type": "_OTHER",
        "error.type": "malformed",
    }


@pytest.mark.parametrize(
    ("direction", "source", "destination"), [(1, "192.0.2.1", "192.0.2.2"), (0, "192.0.2.2", "192.0.2.1")]
)
def test_the_local_end_is_the_source_of_what_is_sent_and_the_destination_of_what_is_received(direction, source, destination):
    key = Key(packets=packets_key(direction=direction), local=HERE, peer=THERE, local_port=0, peer_port=443)

    found = list(readers.conversations([(key, sums(1, 40))], no_interface))

    port = "destination.port" if direction else "source.port"
    ends = {name: value for name, value in found[2].attributes.items() if not name.startswith("network.")}
    assert ends == {"source.address": source, "destination.address": destination, port: 443}
    assert "source.address" not in found[0].attributes
    assert {each.key[0] for each in found} == {"network_conversation"}


def test_rows_by_interface_carry_its_name():
    (first, *_) = readers.packets([(packets_key(ifindex=2, netns=5), sums(1, 40))], lambda netns, index: f"eth{netns}{index}")

    assert first.attributes["network.interface.name"] == "eth52"


def test_connections_have_a_count_in_each_state_but_no_state():
    found = list(readers.connections({0: 9, 1: 1, 3: 5, 8: 2, 99: 7}.items()))

    assert [
        (each.attributes["network.transport"], each.attributes["network.connection.state"], each.value) for each in found
    ] == [
        ("tcp", "syn_sent", 1),
        ("tcp", "established", 5),
        ("udp", "replied", 2),
    ]


def test_driven_out_is_what_tried_less_what_ended_and_is_here_and_never_falls():
    assert readers.driven_out([(0, 100), (1, 30)], 60, 0) == Loss("connections_evicted", 10)
    assert readers.driven_out([(0, 100), (1, 30)], 65, 10) == Loss("connections_evicted", 10)


def test_losses_have_names():
    found = list(readers.losses([(0, 1), (99, 2)]))

    assert found == [Loss("rows_full", 1), Loss("_OTHER", 2)]


def test_the_view_has_a_row_for_each_process():
    (row,) = records.process_rows([(OWNER, SimpleNamespace(received=sums(2, 80), sent=sums(1, 40)))])

    assert (row.key, row.cells) == ((7, 1), (80, 40, 2, 1))


def interface(sysfs, name, index, kind=1):
    (sysfs / name).mkdir(exist_ok=True)
    (sysfs / name / "ifindex").write_text(f"{index}\n")
    (sysfs / name / "type").write_text(f"{kind}\n")


def fake(**errors):
    return FakeBpfObject(modes.INTERFACES, NetworkSettings().plan(), errors=errors)


def test_an_interface_that_comes_back_under_another_number_is_attached_anew(tmp_path, caplog):
    interface(tmp_path, "eth0", 2)
    bpf, chosen = fake(), Chosen(["eth0"], modes.AT_INTERFACES, tmp_path)
    chosen.begin(bpf)
    interface(tmp_path, "eth0", 9)
    asked = len(bpf.asked)
    chosen.follow(bpf)

    assert sorted(bpf.places) == [("network_tc_in", "eth0:ingress"), ("network_tc_out", "eth0:egress")]
    assert len(bpf.asked) > asked
    assert [record.message.partition(";")[0] for record in caplog.records] == ["network: the interface eth0 is gone"]


def test_an_interface_of_a_kind_that_cannot_be_read_is_left_out_in_one_line(tmp_path, caplog):
    interface(tmp_path, "ib0", 2, kind=32)
    bpf, chosen = fake(), Chosen(["ib0"], modes.AT_INTERFACES, tmp_path)
    chosen.begin(bpf)
    chosen.follow(bpf)

    assert not bpf.places
    assert [record.message for record in caplog.records] == [
        "network: the interface ib0 is of type 32 (ARPHRD_*), which OBI cannot read: it is left out"
    ]


def test_a_refusal_at_the_start_ends_the_mode_and_later_it_is_a_line(tmp_path, caplog):
    interface(tmp_path, "eth0", 2)
    error = AttachError("refused", program="network_tc_out", errno=1)
    bpf, chosen = fake(**{"attach:network_tc_out": error}), Chosen(["eth0"], modes.AT_INTERFACES, tmp_path)

    with pytest.raises(AttachError):
        chosen.begin(bpf)
    chosen.follow(bpf)

    assert not bpf.places
    assert len(caplog.records) == 1


def test_names_of_interfaces_in_another_namespace_are_read_through_a_process_there(tmp_path):
    for pid, netns in (("self", "mine"), ("41", "mine"), ("42", "other")):
        (tmp_path / pid / "ns").mkdir(parents=True)
        (tmp_path / netns).touch()
        (tmp_path / pid / "ns" / "net").symlink_to(tmp_path / netns)
    net = tmp_path / "42" / "net"
    net.mkdir()
    (net / "igmp").write_text("Idx\tDevice    : Count Querier\tGroup\n1\tlo        :     1      V3\n\t\t\t\t010000E0\n")
    (net / "if_inet6").write_text("fe800000000000000000000000000001 0a 40 20 80     eth7\n")
    names = Names(tmp_path)
    other = (tmp_path / "other").stat().st_ino

    assert [names.name(other, index) for index in (1, 10, 11)] == ["lo", "eth7", "#11"]


def test_however_many_namespaces_are_unknown_the_processes_are_looked_at_a_twentieth_of_the_time(tmp_path):
    moments = iter([0.0, 0.1, 1.9, 2.1, 2.2, 2.3, 9.0, 9.0])  # a look takes 0.1 s
    looked = []

    class Proc(type(tmp_path)):
        def iterdir(self):
            looked.append(self)
            return super().iterdir()

    (tmp_path / "net0").touch()
    names = Names(Proc(tmp_path), lambda: next(moments))
    other = (tmp_path / "net0").stat().st_ino

    assert [names.name(other, 7), names.name(other + 1, 7)] == ["#7", "#7"]
    assert len(looked) == 1
    (tmp_path / "43/ns").mkdir(parents=True)
    (tmp_path / "43/ns/net").symlink_to(tmp_path / "net0")
    (tmp_path / "43/net").mkdir()
    (tmp_path / "43/net/igmp").write_text("Idx\n8\teth8 :\n")
    assert names.name(other, 8) == "eth8"
    assert len(looked) == 2
    assert names.name(other + 1, 8) == "#8", "not yet"
    assert len(looked) == 2


def test_the_ports_of_clients_are_the_nodes_own(tmp_path):
    (tmp_path / "sys/net/ipv4").mkdir(parents=True)
    (tmp_path / "sys/net/ipv4/ip_local_port_range").write_text("1024\t65535\n")

    assert local_ports(tmp_path) == (1024, 65535)
    assert local_ports(tmp_path / "none") == (32768, 60999)


def test_the_mode_at_interfaces_is_tried_only_where_some_are_chosen():
    assert [mode.name for mode in NetworkProbe.modes_for(NetworkSettings())] == ["cgroup_skb", "bcc", "netlink"]
    assert NetworkProbe.modes_for(NetworkSettings(interfaces=("eth0",)))[0].name == "tc"


@pytest.mark.parametrize(("given", "trace"), [(False, "off"), ("off", "off"), ("sampled", "sampled")])
def test_yaml_may_say_off_without_quotes(given, trace):
    settings = NetworkSettings(trace=given)

    assert settings.trace == trace
    assert settings.plan().constants["network_trace_on"] == (trace == "sampled")


def test_interfaces_are_a_list_or_names_separated_by_commas():
    assert NetworkSettings(interfaces="eth0, eth1").interfaces == NetworkSettings(interfaces=["eth0", "eth1"]).interfaces


@pytest.mark.parametrize(("ports", "number"), [("none", 0), ("server", 1), ("all", 2)])
def test_ports_are_numbers_in_c(ports, number):
    assert NetworkSettings(conversation_ports=ports).plan().constants["network_by_port"] == number


@pytest.mark.parametrize("wrong", [{"sample_every": 0}, {"trace": "on"}, {"conversation_ports": "some"}, {"max_rows": 1}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        NetworkSettings(**wrong)


def test_every_observation_of_a_row_is_declared():
    found = [*readers.packets([(packets_key(), sums(1, 1))], no_interface)]

    assert all(each.instrument in NetworkProbe.instruments for each in found if isinstance(each, Observation))
