"""Readers of DNS: codes, types, names, and whatever bytes stand where a name should."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obi_core import Owner
from obi_plugin_network.dns import CODES, TYPES, anomalies, durations, question_name


@dataclass
class OwnerRecord:
    cgroup_id: int = 7
    start_ns: int = 0
    tgid: int = 0
    comm: bytes = b"curl"


@dataclass
class Key:
    type: int = 1
    error: int = 0
    anomaly: int = 0
    name: bytes = bytes(64)
    owner: OwnerRecord = field(default_factory=OwnerRecord)

    def __bytes__(self) -> bytes:
        return b"row"


@dataclass
class Row:
    counts: tuple[int, ...] = (1, 2)
    sum_ns: int = 77


def wire(*labels: bytes) -> bytes:
    """A name as it stands in a message, in the room that a row has for it."""
    return (b"".join(bytes([len(label)]) + label for label in labels) + b"\0").ljust(64, b"\0")


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (wire(b"www", b"example", b"org"), "www.example.org"),
        (wire(), "."),
        (wire(b"a.b", b"c\\d", b"\xc3\xa9 "), "a\\046b.c\\092d.\\195\\169\\032"),
        (wire(b"x" * 62), "x" * 62),
        (b"\xff" + bytes(63), None),
        (b"\x3f" + b"x" * 63, None),
        (b"\x40" + b"x" * 63, None),
        (b"", None),
    ],
)
def test_a_name_is_written_the_usual_way(raw, name):
    assert question_name(raw) == name


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=3))
def test_every_label_comes_back_out_of_what_was_written(labels):
    written = question_name(wire(*labels))

    assert written is not None
    assert written.isascii()
    assert written.isprintable()
    if not labels:
        assert written == "."
        return
    assert [unescaped(label) for label in written.split(".")] == labels


def unescaped(label: str) -> bytes:
    first, *rest = label.split("\\")
    return first.encode() + b"".join(bytes([int(part[:3])]) + part[3:].encode() for part in rest)


@given(st.binary(max_size=80))
def test_whatever_bytes_there_are_they_give_a_printable_name_or_none(raw):
    name = question_name(raw)

    assert name is None or (0 < len(name) <= 4 * 80 and name.isprintable())


@pytest.mark.parametrize(
    ("key", "attributes"),
    [
        (Key(), {"dns.question.type": "A"}),
        (Key(type=28, error=3), {"dns.question.type": "AAAA", "error.type": "nx_domain"}),
        (Key(type=28, error=2), {"dns.question.type": "AAAA", "error.type": "server_failure"}),
        (Key(type=0, error=255), {"dns.question.type": "_OTHER", "error.type": "timeout"}),
        (Key(type=62, error=13), {"dns.question.type": "_OTHER", "error.type": "_OTHER"}),
    ],
)
def test_a_row_has_its_type_and_its_error_and_success_has_none(key, attributes):
    (seen,) = durations([(key, Row())], names=False)

    assert (seen.value, seen.attributes, seen.owner) == ((1, 2, 77), attributes, Owner(0, 0, 7, "curl"))
    assert seen.key == ("network_dns_duration", b"row")


def test_a_name_is_an_attribute_only_where_names_are_kept_and_it_had_room():
    rows = [(Key(name=wire(b"example", b"org")), Row()), (Key(name=b"\xff" + bytes(63)), Row())]

    kept = [each.attributes.get("dns.question.name") for each in durations(rows, names=True)]
    left = [each.attributes.get("dns.question.name") for each in durations(rows, names=False)]

    assert kept == ["example.org", None]
    assert left == [None, None]


def test_no_two_codes_or_types_share_a_name():
    assert len(set(CODES.values())) == len(CODES)
    assert len(set(TYPES.values())) == len(TYPES)


def test_an_anomaly_is_named():
    seen = [each.attributes["error.type"] for each in anomalies([(Key(anomaly=number), 1) for number in range(4)])]

    assert seen == ["malformed", "retransmitted", "unexpected", "_OTHER"]
