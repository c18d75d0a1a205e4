"""Slots come back when their owner is gone, and no call is lost or counted twice over it."""

import pytest

from obi_core import Observation, Retired
from obi_core.testing.live import row_ages
from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs"))


class Told:
    """What all collections said of the calls of one process name."""

    def __init__(self, probe, comm):
        self._probe, self._comm = probe, comm
        self.values = {}
        self.retired = set()

    def collect(self):
        for each in Seen.of(self._probe).yielded:
            if isinstance(each, Retired):
                self.retired.add(each.key)
            elif isinstance(each, Observation) and each.owner.comm == self._comm:
                assert each.key not in self.retired, "what is over stays over"
                key = each.instrument.name, each.owner.cgroup_id, each.attributes["process.syscall.name"], each.key
                if isinstance(each.value, int):
                    assert each.value >= self.values.get(key, 0), "a row never falls"
                    self.values[key] = each.value

    def sums(self, instrument, call):
        """By cgroup, over all rows there were."""
        found = {}
        for (name, cgroup, called, _), value in self.values.items():
            if (name, called) == (instrument, call):
                found[cgroup] = found.get(cgroup, 0) + value
        return found


def live_in(workload, group, name):
    """A short life in a cgroup, which is gone afterwards."""
    step = workload.start(name, "waiting", 7, 11, 0)
    step.wait()
    group.take(step.process.pid)
    step.go_on()
    step.wait()
    step.finish()
    group.path.rmdir()


def test_slots_of_cgroups_that_are_gone_serve_those_that_come(start, workload, unique, cgroups):
    probe, name = start(calls=("getppid", "openat"), max_owners=128), unique("obislt")
    probe.ages = row_ages(look_every_s=0)
    told = Told(probe, name)
    made = []
    for number in range(160):
        made.append(cgroups())
        identity = made[-1].id
        live_in(workload, made[-1], name)
        made[-1] = identity
        if number % 10 == 9:
            told.collect()
    for _ in range(3):
        told.collect()

    assert Seen.of(probe).losses()["owners_full"] == 0
    assert {group: told.sums("obi.syscall.calls", "getppid").get(group) for group in made} == dict.fromkeys(made, 11)
    assert {group: told.sums("obi.syscall.errors", "openat").get(group) for group in made} == dict.fromkeys(made, 7)
    mine = {key for (_, cgroup, _, key) in told.values if cgroup in made}
    assert mine <= told.retired


def test_a_thread_that_remembers_a_slot_that_was_taken_back_gets_another(start, workload, unique):
    """An owner that is idle for long is let go though it lives; what it calls later goes to nobody else."""
    probe, name, other = start(calls=("getppid", "openat"), max_owners=128), unique("obiidl"), unique("obinew")
    step = workload.start(name, "waiting", 7, 11, 0)
    step.wait()
    told, told_other = Told(probe, name), Told(probe, other)
    for ages in (None, row_ages(look_every_s=0, idle_s=0), None, None):
        probe.ages = ages
        told.collect()
    before = set(told.retired)
    # All slots that were let go are free again: take as many as there are.
    workload.run("", "names", unique("fl"), 60, 1)
    workload.run(other, "getppid", 13)
    step.go_on()
    step.wait()
    told.collect()
    told_other.collect()
    step.finish()

    assert before, "its first row was retired"
    assert told.sums("obi.syscall.calls", "getppid") == dict.fromkeys(told.sums("obi.syscall.calls", "getppid"), 11)
    assert sum(told.sums("obi.syscall.calls", "getppid").values()) == 11
    assert sum(told.sums("obi.syscall.errors", "openat").values()) == 7
    assert sum(told_other.sums("obi.syscall.calls", "getppid").values()) == 13


def test_a_full_house_takes_in_newcomers_once_somebody_has_left(start, workload, unique, cgroups):
    probe, name = start(calls=("getppid",), max_owners=16), unique("obiful")
    step = workload.start(name, "waiting", 0, 11, 0)
    step.wait()
    workload.run("", "names", unique("fl"), 60, 1)
    full = Seen.of(probe).losses()["owners_full"]
    probe.ages = row_ages(look_every_s=0, idle_s=0)
    told = Told(probe, name)
    told.collect()
    probe.ages = None
    told.collect()
    step.go_on()
    step.wait()
    told.collect()
    step.finish()

    assert full > 0
    assert sum(told.sums("obi.syscall.calls", "getppid").values()) == 11
