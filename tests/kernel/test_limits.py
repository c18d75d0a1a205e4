"""Sampling, the token bucket and counted losses of `bpf/obi` through both loaders: exact, or within five sigma."""

import time

import pytest

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs", "root", "cmd:clang"))

CALLS = 120_000
SECOND = 10**9
MASK = (1 << 64) - 1


def hashed(key, seed):
    """`obi_hash` of bpf/obi/sample.h."""
    mixed = ((key ^ seed) + 0x9E3779B97F4A7C15) & MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & MASK
    return mixed ^ mixed >> 31


def chosen(keys, every, seed):
    """The keys that `obi_sample_key` keeps."""
    return {key for key in keys if (hashed(key, seed) >> 32) * every < 1 << 32}


@pytest.mark.parametrize("every", [2, 16, 1000])
def test_sampling_by_chance_is_unbiased_within_five_sigma(loader, limits, every):
    with limits.running(loader, "sample", every=every) as loaded:
        limits.call(range(CALLS))
        sums = limits.summed(loaded)
    assert sums["calls"] == CALLS
    assert sums["weight"] == every * sums["kept"]
    # kept is binomial; times `every`, its deviation is sqrt(n * (every - 1))
    assert abs(sums["weight"] - CALLS) < 5 * (CALLS * (every - 1)) ** 0.5


@pytest.mark.parametrize("every", [0, 1])
def test_one_in_one_is_all_of_them(loader, limits, every):
    with limits.running(loader, "sample", every=every) as loaded:
        limits.call([3, 5, 3])
        assert limits.summed(loaded) == {"calls": 3, "kept": 3, "weight": 3, "passed": 0}
        assert dict(loaded.rows("limits_keys")) == {3: 2, 5: 1}


@pytest.mark.parametrize("seed", [0, 1, 0xFEEDFACECAFEBEEF])
def test_sampling_by_key_keeps_exactly_the_keys_that_the_hash_says(loader, limits, seed):
    keys = {*range(1_500), *(1 << bit for bit in range(64)), MASK}
    with limits.running(loader, "sample", seed=seed, every=8) as loaded:
        for _ in range(3):
            limits.call(keys)
        assert dict(loaded.rows("limits_keys")) == dict.fromkeys(chosen(keys, 8, seed), 24)


def test_a_changed_factor_acts_at_once_and_more_sampling_only_takes_away(loader, limits):
    keys = range(1_000)
    with limits.running(loader, "sample", seed=7, every=4) as loaded:
        limits.call(keys)
        loaded.tune("limits_every", 32)
        limits.call(keys)
        few, many = chosen(keys, 32, 7), chosen(keys, 4, 7)
        assert few < many
        assert dict(loaded.rows("limits_keys")) == {key: 36 if key in few else 4 for key in many}


def test_what_a_full_map_refuses_is_counted_at_its_place(loader, limits):
    with limits.running(loader, "sample", every=1, entries={"limits_keys": 10}) as loaded:
        limits.call(range(97))
        assert limits.lost(loaded) == {"token": 0, "key": 87, "record": 0}


class Meter:
    """Counts calls that may pass, and knows the least and the most that passed by the clock."""

    def __init__(self, limits, rate):
        self.limits, self.rate, self.times = limits, rate, []

    def call(self, count):
        """Call, and note the clock before and after the first call and the last."""
        for part in (1, count - 2, 1):
            self.times.append(time.monotonic_ns())
            self.limits.call(range(part))
            self.times.append(time.monotonic_ns())

    def bounds(self):
        """Least and most tokens refilled between the first call and the last, which lie in known gaps."""
        return self._refilled(self.times[1], self.times[-2]), self._refilled(self.times[0], self.times[-1])

    def _refilled(self, sooner, later):
        """Tokens that came between two moments: the bucket counts whole tokens since boot."""
        return later * self.rate // SECOND - sooner * self.rate // SECOND


def test_a_burst_passes_at_once_and_nothing_more_until_it_refills(loader, limits):
    meter = Meter(limits, rate=1)
    with limits.running(loader, "pass", rate=1, burst=10) as loaded:
        meter.call(1_000)
        sums, lost = limits.summed(loaded), limits.lost(loaded)
    least, most = meter.bounds()
    assert 10 + least <= sums["passed"] <= 10 + most
    assert lost == {"token": 1_000 - sums["passed"], "key": 0, "record": 0}


def test_it_refills_at_its_rate_by_the_kernel_s_clock(loader, limits):
    # The burst is worth more than any pause of this process, so that the bucket never runs over.
    meter = Meter(limits, rate=1_000)
    with limits.running(loader, "pass", rate=1_000, burst=30_000) as loaded:
        meter.call(CALLS)
        passed = limits.summed(loaded)["passed"]
    least, most = meter.bounds()
    assert least > 0
    assert 30_000 + least <= passed <= 30_000 + most


def test_a_changed_rate_fills_the_bucket_once_and_without_a_rate_or_a_burst_nothing_passes(loader, limits):
    with limits.running(loader, "pass", rate=1, burst=10) as loaded:

        def passes(rate, burst):
            """Passed of 100 calls, and the most that are due to the refill."""
            before, meter = limits.summed(loaded)["passed"], Meter(limits, rate)
            loaded.tune("limits_rate", rate)
            loaded.tune("limits_burst", burst)
            meter.call(100)
            return limits.summed(loaded)["passed"] - before, meter.bounds()

        for rate in (1, 2, 1):
            count, (least, most) = passes(rate, 10)
            assert 10 + least <= count <= 10 + most
        assert [passes(0, 10)[0], passes(1, 0)[0]] == [0, 0]
