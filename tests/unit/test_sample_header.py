"""`bpf/obi/sample.h` as ordinary C: the threshold to the last number, the hash against exact arithmetic."""

import ctypes
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

_BPF = Path(__file__).parents[2] / "bpf"
_U32, _U64 = 1 << 32, 1 << 64

_SOURCE = """
typedef unsigned int u32;
typedef unsigned long long u64;
#define OBI_SETTINGS_H
#define OBI_SETTING(type, name, initial) type name = initial
static u32 next;
static u32 bpf_get_prandom_u32(void) { return next; }
#include <obi/sample.h>
u32 sample(u32 random, u32 every) { next = random; return obi_sample(every); }
u32 sample_key(u64 key, u32 every) { return obi_sample_key(key, every); }
u64 hash(u64 key, u64 seed) { obi_sample_seed = seed; return obi_hash(key); }
"""


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    source, library = folder / "sample.c", folder / "sample.so"
    source.write_text(_SOURCE)
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", f"-I{_BPF}"]
    subprocess.run(["clang", *flags, str(source), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.sample.argtypes = (ctypes.c_uint32, ctypes.c_uint32)
    loaded.sample_key.argtypes = (ctypes.c_uint64, ctypes.c_uint32)
    loaded.hash.argtypes = (ctypes.c_uint64, ctypes.c_uint64)
    loaded.sample.restype = loaded.sample_key.restype = ctypes.c_uint32
    loaded.hash.restype = ctypes.c_uint64
    return loaded


def _hash(key, seed):
    mixed = ((key ^ seed) + 0x9E3779B97F4A7C15) % _U64
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % _U64
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % _U64
    return mixed ^ mixed >> 31


@pytest.mark.parametrize("every", [2, 3, 16, 1000, 65_537, (1 << 31) + 1, _U32 - 1])
def test_one_in_so_many_of_all_random_numbers_is_kept(header, every):
    kept = -(-_U32 // every)
    assert [header.sample(number, every) for number in (0, kept - 1, kept, _U32 - 1)] == [every, every, 0, 0]


@pytest.mark.parametrize("every", [0, 1])
def test_one_in_one_keeps_all(header, every):
    assert [header.sample(number, every) for number in (0, 1, _U32 - 1)] == [1, 1, 1]
    assert [header.sample_key(number, every) for number in (0, 1, _U64 - 1)] == [1, 1, 1]


def test_the_hash_is_splitmix64(header):
    # Its first numbers from state 1234567, as published with the algorithm.
    gamma = 0x9E3779B97F4A7C15
    numbers = [header.hash((1234567 + turn * gamma) % _U64, 0) for turn in range(3)]
    assert numbers == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(key=st.integers(0, _U64 - 1), seed=st.integers(0, _U64 - 1))
def test_the_hash_is_that_of_exact_arithmetic(header, key, seed):
    assert header.hash(key, seed) == _hash(key, seed)


@given(key=st.integers(0, _U64 - 1), few=st.integers(2, _U32 - 1), many=st.integers(2, _U32 - 1))
def test_a_key_that_is_in_at_one_factor_is_in_at_every_smaller_one(header, key, few, many):
    few, many = max(few, many), min(few, many)
    if header.sample_key(key, few):
        assert header.sample_key(key, many) == many


@pytest.mark.parametrize("stride", [1, 2, 8, 4096, 1 << 20, 1 << 32, 1 << 47])
@pytest.mark.parametrize("every", [7, 16])
def test_regular_keys_are_kept_evenly_within_five_sigma(header, stride, every):
    header.hash(0, 99)  # sets the seed
    keys = min(100_000, _U64 // stride)
    kept = sum(bool(header.sample_key(number * stride, every)) for number in range(keys))
    assert abs(kept * every - keys) < 5 * (keys * (every - 1)) ** 0.5
