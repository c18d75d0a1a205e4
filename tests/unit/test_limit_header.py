"""The token bucket of `bpf/obi/limit.h` as ordinary C, with a clock that the test moves, and with threads that race for it."""

import ctypes
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

_BPF = Path(__file__).parents[2] / "bpf"
_SECOND = 10**9
_U32 = (1 << 32) - 1

_SOURCE = """
#include <pthread.h>
#include <stdbool.h>
#include <time.h>
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;
#define OBI_MAPS_H
static u64 clock_ns; /* 0: the real one */
static u64 bpf_ktime_get_ns(void)
{
    struct timespec now;
    if (clock_ns)
        return clock_ns;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ULL + now.tv_nsec;
}
#include <obi/limit.h>
static struct obi_tokens bucket;
static u32 race_rate, race_burst, race_calls;
static u64 race_passed;
void reset(void) { bucket = (struct obi_tokens){}; }
u32 take(u64 now_ns, u32 rate, u32 burst, u32 calls)
{
    u32 passed = 0;
    clock_ns = now_ns;
    while (calls--)
        passed += obi_token(&bucket, rate, burst);
    return passed;
}
static void *racer(void *unused)
{
    u64 passed = take(0, race_rate, race_burst, race_calls);
    __sync_fetch_and_add(&race_passed, passed);
    return unused;
}
u64 race(u32 threads, u32 rate, u32 burst, u32 calls)
{
    pthread_t ids[64];
    race_rate = rate; race_burst = burst; race_calls = calls; race_passed = 0;
    for (u32 i = 0; i < threads; i++)
        pthread_create(&ids[i], 0, racer, 0);
    for (u32 i = 0; i < threads; i++)
        pthread_join(ids[i], 0);
    return race_passed;
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limit")
    source, library = folder / "limit.c", folder / "limit.so"
    source.write_text(_SOURCE)
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread", f"-I{_BPF}"]
    subprocess.run(["clang", *flags, str(source), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.take.argtypes = (ctypes.c_uint64, *[ctypes.c_uint32] * 3)
    loaded.race.argtypes = (ctypes.c_uint32,) * 4
    loaded.take.restype, loaded.race.restype = ctypes.c_uint32, ctypes.c_uint64
    return loaded


@pytest.fixture
def bucket(library):
    library.reset()
    return library


def test_a_full_bucket_gives_its_burst_and_then_one_token_per_interval(bucket):
    start = 1_000 * _SECOND
    assert bucket.take(start, 4, 10, 100) == 10
    assert bucket.take(start + _SECOND // 4 - 1, 4, 10, 100) == 0
    assert bucket.take(start + _SECOND // 4, 4, 10, 100) == 1
    assert bucket.take(start + _SECOND, 4, 10, 100) == 3


def test_an_idle_bucket_holds_no_more_than_its_burst(bucket):
    for hour in range(3):
        assert bucket.take((1 + hour) * 3_600 * _SECOND, 50, 7, 100) == 7


def test_what_is_not_taken_stays_up_to_the_burst(bucket):
    start = 77 * _SECOND
    assert bucket.take(start, 10, 5, 2) == 2
    assert bucket.take(start + _SECOND // 10, 10, 5, 100) == 4
    assert bucket.take(start + _SECOND // 2, 10, 5, 3) == 3
    assert bucket.take(start + _SECOND // 2, 10, 5, 100) == 1


def test_without_a_rate_or_a_burst_nothing_passes_ever(bucket):
    assert [bucket.take(_SECOND, 0, 10, 10), bucket.take(_SECOND, 10, 0, 10)] == [0, 0]


@pytest.mark.parametrize(("before", "after"), [(1, 1_000), (1_000, 1), (_U32, 1), (1, _U32)])
def test_a_change_of_the_rate_fills_the_bucket_once(bucket, before, after):
    now = 10_000_000 * _SECOND
    assert [bucket.take(now, rate, 6, 100) for rate in (before, after, after)] == [6, 6, 0]
    # and from there on the new rate counts
    assert bucket.take(now + _SECOND, after, 6, 100) == min(after, 6)


def test_a_smaller_burst_acts_at_once_and_a_larger_one_fills_at_the_rate(bucket):
    now = 50 * _SECOND
    assert [bucket.take(now, 2, 100, 1), bucket.take(now, 2, 3, 100)] == [1, 3]
    assert [bucket.take(now, 2, 100, 100), bucket.take(now + 5 * _SECOND, 2, 100, 100)] == [0, 10]


def test_a_clock_that_steps_back_gives_nothing_and_takes_nothing_away(bucket):
    now = 50 * _SECOND
    assert bucket.take(now, 1, 5, 5) == 5
    assert bucket.take(now - 3 * _SECOND, 1, 5, 5) == 0
    assert bucket.take(now + _SECOND, 1, 5, 5) == 1


@given(
    rate=st.integers(1, _U32),
    burst=st.integers(1, 50),
    uptime=st.integers(0, 100 * 365 * 86_400 * _SECOND),
    gaps=st.lists(st.integers(0, 3 * _SECOND), max_size=20),
)
def test_any_course_of_time_gives_what_exact_arithmetic_gives(library, rate, burst, uptime, gaps):
    library.reset()
    now, left, counted = uptime + 1, burst, (uptime + 1) * rate // _SECOND
    for gap in [0, *gaps]:
        now += gap
        refilled = now * rate // _SECOND
        left, counted = min(burst, left + refilled - counted), refilled
        taken = min(left, 30)
        assert library.take(now, rate, burst, 30) == taken
        left -= taken


@pytest.mark.parametrize(("rate", "burst"), [(1, 100), (1_000_000, 10), (20_000_000, 1), (_U32, 1_000)])
def test_threads_that_race_pass_at_most_the_burst_the_refill_and_one_each(bucket, rate, burst):
    threads, calls = 8, 50_000
    before = time.monotonic_ns()
    passed = bucket.race(threads, rate, burst, calls)
    after = time.monotonic_ns()
    refilled = after * rate // _SECOND - before * rate // _SECOND
    assert min(burst, threads * calls) <= passed <= burst + refilled + threads
