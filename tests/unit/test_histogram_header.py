"""`bpf/obi/histogram.h` as ordinary C, against exact arithmetic: a bucket boundary is where it is, to the nanosecond."""

import ctypes
import subprocess
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

_BPF = Path(__file__).parents[2] / "bpf"
_FIRST = 4 * -30
"""Index of the bucket of 1 ns: 10^-9 s lies between 2^(-120/4) s and 2^(-119/4) s."""
_LAST = 4 * 33
"""Index of the bucket of 2^63 - 1 ns, between 2^(132/4) s and 2^(133/4) s."""
_SECOND = 10**9


def _boundary_ns(index):
    """The upper end of the bucket below `index`: floor(2^(index/4) s) in ns, by exact arithmetic."""
    with localcontext() as context:
        context.prec = 60
        return int(Decimal(2) ** (Decimal(index) / 4) * _SECOND)


def _belongs(index, duration_ns):
    """Whether 2^(index/4) s < d <= 2^((index+1)/4) s, in integers: both sides to the fourth power, without a root."""
    duration = duration_ns**4 << 256
    lower, upper = (_SECOND**4 << 256 + end for end in (index, index + 1))
    return lower < duration <= upper


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    folder = tmp_path_factory.mktemp("histogram")
    source, library = folder / "histogram.c", folder / "histogram.so"
    source.write_text(
        "typedef unsigned int u32;\n"
        "typedef unsigned long long u64;\n"
        "#include <obi/histogram.h>\n"
        "int bucket(u64 duration_ns) { return obi_bucket(duration_ns); }\n"
        "u32 slot(u64 duration_ns, int first, u32 count) { return obi_slot(duration_ns, first, count); }\n"
        "int log2_floor(u64 value) { return obi_log2(value); }\n"
    )
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", f"-I{_BPF}"]
    subprocess.run(["clang", *flags, str(source), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.bucket.argtypes = (ctypes.c_uint64,)
    loaded.slot.argtypes = (ctypes.c_uint64, ctypes.c_int, ctypes.c_uint32)
    loaded.slot.restype = ctypes.c_uint32
    loaded.log2_floor.argtypes = (ctypes.c_uint64,)
    return loaded


def test_every_boundary_of_the_range_parts_its_buckets_to_the_nanosecond(header):
    boundaries = 0
    for index in range(_FIRST + 1, _LAST + 1):
        boundary = _boundary_ns(index)
        for duration in (boundary - 1, boundary, boundary + 1):
            if 1 <= duration < 1 << 63:
                assert _belongs(header.bucket(duration), duration), f"{duration} ns is not in bucket {header.bucket(duration)}"
        # below a few ns two boundaries share a nanosecond, or a bucket holds none
        if boundary >= 16:
            assert (header.bucket(boundary), header.bucket(boundary + 1)) == (index - 1, index)
            boundaries += 1
    assert boundaries == 236


def test_whole_seconds_end_their_bucket(header):
    assert [header.bucket(seconds * _SECOND) for seconds in (1, 2, 4, 1024)] == [-1, 3, 7, 39]
    assert [header.bucket(seconds * _SECOND + 1) for seconds in (1, 2, 4, 1024)] == [0, 4, 8, 40]


def test_the_ends_of_the_range_are_the_buckets_of_1_ns_and_of_292_years(header):
    assert header.bucket(1) == _FIRST
    assert header.bucket((1 << 63) - 1) == _LAST


def test_a_duration_outside_the_slots_lands_in_the_first_or_the_last(header):
    first, count = -80, 64
    assert header.slot(0, first, count) == 0
    assert header.slot(1, first, count) == 0
    assert header.slot(_boundary_ns(first), first, count) == 0
    assert header.slot(_boundary_ns(first + 1), first, count) == 0
    assert header.slot(_boundary_ns(first + 1) + 1, first, count) == 1
    assert header.slot(_boundary_ns(first + 63), first, count) == 62
    assert header.slot(_boundary_ns(first + 63) + 1, first, count) == 63
    assert header.slot((1 << 63) - 1, first, count) == 63


@given(duration=st.integers(min_value=1, max_value=(1 << 63) - 1))
def test_any_duration_lies_within_the_ends_of_its_bucket(header, duration):
    assert _belongs(header.bucket(duration), duration)


@given(shift=st.integers(min_value=0, max_value=62), share=st.floats(min_value=0, max_value=1, exclude_max=True))
def test_a_duration_of_any_magnitude_lies_within_the_ends_of_its_bucket(header, shift, share):
    duration = (1 << shift) + int(share * (1 << shift))
    assert _belongs(header.bucket(duration), duration)


@given(value=st.integers(min_value=1, max_value=(1 << 64) - 1))
def test_the_logarithm_is_the_place_of_the_top_bit(header, value):
    assert header.log2_floor(value) == value.bit_length() - 1
