"""Readers of the tcp probe, fed with rows as the kernel lays them out."""

from dataclasses import dataclass, field

import pytest

from obi_core import Loss, Owner
from obi_plugin_tcp import catalogue, readers, records


@dataclass
class OwnerRecord:
    cgroup_id: int = 7
    start_ns: int = 0
    tgid: int = 0
    comm: bytes = b"curl"


@dataclass
class Key:
    owner: OwnerRecord = field(default_factory=OwnerRecord)
    role: int = 1
    outcome: int = 0
    direction: int = 0
    raw: bytes = b"row"

    def __bytes__(self) -> bytes:
        return self.raw


@dataclass
class Histogram:
    counts: tuple[int, ...]
    sum_ns: int


@dataclass
class Connection:
    owner: OwnerRecord = field(default_factory=OwnerRecord)
    peer_address: bytes = bytes(10) + b"\xff\xff\x7f\0\0\1"
    id: int = 99
    age_ns: int = 1_500_000_000
    rx_bytes: int = 3
    tx_bytes: int = 4
    rtt_us: int = 250
    retransmits: int = 1
    peer_port: int = 443
    state: int = 1
    role: int = 1


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (0, None),
        (1, "refused"),
        (2, "reset"),
        (3, "timed_out"),
        (4, "canceled"),
        (5, "host_unreachable"),
        (6, "net_unreachable"),
        (7, "_OTHER"),
    ],
)
def test_an_outcome_becomes_its_error_type_and_success_has_none(outcome: int, error: str | None) -> None:
    (seen,) = readers.connects([(Key(outcome=outcome), 5)])

    assert seen.value == 5
    assert seen.owner == Owner(0, 0, 7, "curl")
    assert seen.attributes == {catalogue.ROLE: "client", **({catalogue.ERROR: error} if error else {})}


def test_one_row_has_one_key_per_instrument() -> None:
    (connect,) = readers.connects([(Key(), 1)])
    (handshake,) = readers.handshakes([(Key(), Histogram((0,) * 96, 0))])

    assert connect.key == ("tcp_connects", b"row")
    assert handshake.key == ("tcp_handshake_duration", b"row")


def test_a_histogram_is_its_counts_and_then_its_sum() -> None:
    (seen,) = readers.lifetimes([(Key(role=2), Histogram((1, 0, 2), 77))])

    assert seen.value == (1, 0, 2, 77)
    assert seen.attributes == {catalogue.ROLE: "server"}


def test_bytes_have_a_direction() -> None:
    received, sent = readers.io([(Key(direction=0), 10), (Key(direction=1), 20)])

    assert received.attributes == {catalogue.DIRECTION: "receive"}
    assert sent.attributes == {catalogue.DIRECTION: "transmit"}


def test_connections_by_state_leave_out_states_that_cannot_be_and_read_a_racing_minus_one_as_none() -> None:
    rows = [(0, 9), (1, 4), (2, 2**64 - 1), (7, 3), (10, 1)]

    seen = {each.attributes[catalogue.STATE]: each.value for each in readers.connections(rows)}

    assert seen == {"established": 4, "syn_sent": 0, "listen": 1}


def test_losses_are_named_by_their_cause() -> None:
    assert list(readers.losses([(0, 1), (1, 0), (2, 5)])) == [
        Loss("sockets_full", 1),
        Loss("listeners_full", 0),
        Loss("rows_full", 5),
    ]


def test_a_connection_becomes_a_row_in_the_units_of_its_columns() -> None:
    (row,) = records.connection_rows([Connection()])

    assert row.key == 99
    assert row.cells == ("127.0.0.1:443", "client", "established", 0.00025, 3, 4, 1, 1.5)


def test_what_is_not_known_of_a_connection_is_left_empty() -> None:
    unknown = Connection(peer_address=bytes(15) + b"\1", age_ns=0, rtt_us=0)
    (row,) = records.connection_rows([unknown])

    assert row.cells == ("[::1]:443", "client", "established", None, 3, 4, 1, None)
