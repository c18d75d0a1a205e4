"""Settings that change while a probe runs: applied through its maps where the fields are live, and a restart otherwise."""

import pytest

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs", "root", "cmd:clang"))


@pytest.fixture
def probe(loader, limits):
    probe = limits.probe.LimitsProbe(limits.settings(every=4))
    try:
        probe.load(loader, probe.modes[1])
        probe.attach(probe.modes[1])
        yield probe
    finally:
        probe.detach()


@pytest.fixture
def weight(probe, limits):
    """Give the weight that one call of a sampled key has now."""

    def read():
        before = dict(probe.bpf.rows("limits_keys"))
        limits.call(range(500))
        after = dict(probe.bpf.rows("limits_keys"))
        [grown] = {after[key] - before.get(key, 0) for key in after} - {0}
        return grown

    return read


def test_a_changed_live_field_acts_in_the_running_program(probe, limits, weight):
    assert weight() == 4
    changed = limits.settings(every=16)
    assert probe.retune(changed) is True
    assert probe.settings is changed
    assert weight() == 16


@pytest.mark.parametrize("fields", [{"ring_bytes": 8192}, {"interval_s": 3.0}, {"rate": None}])
def test_another_changed_field_asks_for_a_restart_and_changes_nothing(probe, limits, weight, fields):
    before = probe.settings
    assert probe.retune(limits.settings(every=16, **fields)) is False
    assert probe.settings is before
    assert weight() == 4


def test_shedding_doubles_the_sampling_factor_with_each_level_and_zero_restores_it(probe, limits, weight):
    weights = []
    for level in (1, 3, 0):
        probe.shed(level)
        weights.append(weight())
    assert weights == [8, 32, 4]
    probe.shed(2)
    assert probe.retune(limits.settings(every=2)) is True
    assert weight() == 8, "a change of settings does not end the shedding"
    probe.shed(0)
    assert weight() == 2
