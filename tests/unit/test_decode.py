"""Raw kernel values become words."""

import ctypes
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obi_core import Owner, address, owner, tcp_state, text


class Record(ctypes.Structure):
    """struct obi_owner"""

    _fields_ = (
        ("cgroup_id", ctypes.c_uint64),
        ("start_ns", ctypes.c_uint64),
        ("tgid", ctypes.c_uint32),
        ("_pad", ctypes.c_uint32),
        ("comm", ctypes.c_char * 16),
    )


def test_an_owner_is_made_of_its_record():
    assert owner(Record(7, 23, 42, 0, b"curl")) == Owner(42, 23, 7, "curl")


def test_a_name_in_a_byte_array_ends_at_the_first_nul():
    assert text((ctypes.c_byte * 16)(*b"nginx\0rest")) == "nginx"
    assert text((ctypes.c_ubyte * 4)(*b"abcd")) == "abcd"
    assert text(b"caf\xe9") == "caf\ufffd"


@pytest.mark.parametrize(
    ("raw", "written"),
    [
        (bytes(10) + b"\xff\xff\x7f\0\0\1", "127.0.0.1"),
        (bytes(10) + b"\xff\xff" + bytes(4), "0.0.0.0"),
        (bytes(15) + b"\1", "::1"),
        (bytes(16), "::"),
        (b"\x20\x01\x0d\xb8" + bytes(11) + b"\1", "2001:db8::1"),
        ((ctypes.c_ubyte * 16)(*bytes(10), 255, 255, 192, 0, 2, 1), "192.0.2.1"),
    ],
)
def test_an_address_is_written_the_usual_way(raw, written):
    assert address(raw) == written


@given(st.ip_addresses(v=6))
def test_every_ipv6_address_keeps_its_value(value):
    expected = value.ipv4_mapped or value
    assert ipaddress.ip_address(address(value.packed)) == expected


def test_an_address_of_another_length_is_refused():
    with pytest.raises(ValueError, match="an address has 16 bytes, not 4"):
        address(b"\x7f\0\0\1")


def test_tcp_states_have_the_names_of_the_semantic_conventions():
    assert [tcp_state(number) for number in range(14)] == [
        "_OTHER",
        "established",
        "syn_sent",
        "syn_received",
        "fin_wait_1",
        "fin_wait_2",
        "time_wait",
        "closed",
        "close_wait",
        "last_ack",
        "listen",
        "closing",
        "syn_received",
        "_OTHER",
    ]
