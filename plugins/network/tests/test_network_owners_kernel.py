"""Whose packets they are, and which end is the server: on the real kernel."""

import pytest

from obi_core import Observation
from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:net_admin", "cap:perfmon", "btf", "cgroup2", "tracefs"))

DIRECTION = "network.io.direction"


def conversations(seen, comm):
    """Attributes of one process's conversations that sent something, without what is always there."""
    return [
        {name: value for name, value in each.attributes.items() if name.startswith(("source.", "destination."))}
        for each in seen.yielded
        if isinstance(each, Observation)
        and each.instrument.name == "obi.network.conversation.packets"
        and each.owner.comm == comm
        and each.attributes[DIRECTION] == "transmit"
    ]


def test_a_connection_belongs_to_the_process_that_accepted_it_from_then_on(start, packets, unique):
    probe = start()
    listener, worker, client = unique("obilist"), unique("obiwork"), unique("obiclnt")
    packets.run("accepted_elsewhere", listener, worker, client, 100)

    seen = Seen.of(probe)
    sent = {name: seen.counts("obi.network.packets", name, by=DIRECTION) for name in (listener, worker, client)}

    assert sent[worker]["transmit"] >= 100, "the answers"
    assert sent[worker]["receive"] >= 99, "the questions, but for one that may have come before the accept"
    assert sent[listener].get("receive", 0) <= 4, "SYN, ACK, and what came before the accept"


@pytest.mark.parametrize("kind", ["4", "6"], ids=["ipv4", "ipv6"])
def test_sockets_older_than_the_agent_have_their_owner(start, packets, unique, kind):
    name = unique("obiold")
    held = packets.start("held", name, kind, 23)
    assert held.line()
    probe = start()
    held.go_on()
    assert held.line() == "used"

    seen = Seen.of(probe)
    held.go_on()
    held.finish()

    assert seen.counts("obi.network.packets", name, by=DIRECTION, network_transport="udp") == {"transmit": 46, "receive": 46}
    tcp = seen.counts("obi.network.packets", name, by=DIRECTION, network_transport="tcp")
    assert tcp["transmit"] == tcp["receive"] >= 23
    shown = {(row.owner.tgid, *row.cells[:4]) for row in seen.rows(name)}
    assert not shown, "the view begins when somebody looks"


def test_the_view_shows_processes_from_when_somebody_looks(start, packets, unique):
    probe = start()
    Seen.of(probe)
    name = unique("obishow")
    held = packets.start("held", name, "4", 23)
    assert held.line()
    held.go_on()
    assert held.line() == "used"

    (row,) = Seen.of(probe).rows(name)
    held.go_on()
    held.finish()

    received, sent, packets_in, packets_out = row.cells
    assert row.owner.tgid == held.pid
    assert (received, packets_in) == (sent, packets_out), "all of it stays on the loopback interface"
    assert packets_in >= 3 * 23


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [{}]),
        ({"conversation_ports": "server"}, ["destination.port"]),
        ({"conversation_addresses": True}, ["destination.address", "source.address"]),
        (
            {"conversation_addresses": True, "conversation_ports": "all"},
            ["destination.address", "destination.port", "source.address", "source.port"],
        ),
    ],
    ids=["nothing", "server's port", "addresses", "everything"],
)
def test_conversations_keep_apart_what_the_settings_ask_for(start, packets, unique, settings, expected):
    probe = start(**settings)
    client, listener, worker = unique("obiclnt"), unique("obilist"), unique("obiwork")
    packets.run("accepted_elsewhere", listener, worker, client, 3)

    found = conversations(Seen.of(probe), client)

    assert [sorted(each) for each in found] == [sorted(expected)] if settings else found == expected
    if settings.get("conversation_addresses"):
        assert found[0]["source.address"] == found[0]["destination.address"] == "127.0.0.1"


def test_the_ports_of_clients_fold_into_one_conversation_with_the_server(start, packets, unique):
    probe = start(conversation_ports="server")
    name = unique("obishort")
    running = packets.start("short_connections", name, 50)
    port = int(running.line())
    running.finish()

    found = conversations(Seen.of(probe), name)

    assert sorted(map(str, found)) == sorted(map(str, [{"destination.port": port}, {"source.port": port}]))


def test_who_listened_before_the_agent_is_the_server_too(start, packets, unique):
    name = unique("obiold")
    held = packets.start("held", name, "4", 5)
    port = int(held.line())
    probe = start(conversation_ports="server")
    held.go_on()
    assert held.line() == "used"

    found = [
        each
        for each in Seen.of(probe).yielded
        if isinstance(each, Observation)
        and each.instrument.name == "obi.network.conversation.packets"
        and each.owner.comm == name
        and each.attributes["network.transport"] == "tcp"
    ]
    held.go_on()
    held.finish()

    ports = {each.attributes.get("source.port", each.attributes.get("destination.port")) for each in found}
    assert ports == {port}, "both ends know the listener's port, and fold the other"


def test_interfaces_have_names_in_other_network_namespaces_too(start, packets, unique):
    probe = start(interface_name=True)
    name = unique("obiname")
    held = packets.start("held", name, "4", 5)
    assert held.line()
    held.go_on()
    assert held.line() == "used"

    found = Seen.of(probe).counts("obi.network.packets", name, by="network.interface.name")
    held.go_on()
    held.finish()

    assert list(found) == ["lo"]


def test_with_process_keys_unset_two_processes_of_one_name_share_a_row(start, packets, unique):
    probe = start()
    name = unique("obitwin")
    packets.run("datagrams", name, "4", 5)
    packets.run("datagrams", name, "4", 7)

    mine = [
        each
        for each in Seen.of(probe).yielded
        if isinstance(each, Observation) and each.instrument.name == "obi.network.packets" and each.owner.comm == name
    ]

    assert {each.attributes[DIRECTION]: each.value for each in mine} == {"receive": 12, "transmit": 12}
    assert len(mine) == 2
