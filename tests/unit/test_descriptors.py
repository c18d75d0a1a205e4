"""Descriptors that a probe leaves open: counted around its collections, and who leaves most of them is given up."""

import os
from contextlib import suppress

import pytest

from obi_core.host import Host
from obi_core.runtime.descriptors import LeakGuard, LeftOpen, open_descriptors
from obi_core.runtime.orders import GiveUp


class FakeRunner:
    def __init__(self, name, left_open) -> None:
        self.name, self.left_open, self.orders = name, left_open, []

    def order(self, order):
        self.orders.append(order)


def test_descriptors_are_counted_as_the_kernel_says_or_one_by_one(tmp_path):
    before = open_descriptors(Host())
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(23)]
    assert open_descriptors(Host()) - before == 23
    for fd in fds:
        os.close(fd)
    folder = tmp_path / "self/fd"
    folder.mkdir(parents=True)
    for number in range(5):
        (folder / str(number)).touch()
    assert open_descriptors(Host(proc=tmp_path)) in (5, folder.stat().st_size), "an older kernel's folder has no size"
    assert open_descriptors(Host(proc=tmp_path / "none")) == 0


def test_what_collections_leave_open_adds_up_and_what_is_long_ago_is_forgotten():
    number = 10
    left = LeftOpen(lambda: number)
    with left.around():
        number += 500
    for _ in range(15):
        with left.around():
            number += 2
    assert (left.lately, left.total) == (530, 530)
    with left.around():
        number -= 1
    assert (left.lately, left.total) == (29, 529)


def test_a_collection_that_raises_has_left_open_what_it_has_left_open():
    number = 0
    left = LeftOpen(lambda: number)
    with suppress(ZeroDivisionError), left.around():
        number = 7
        raise ZeroDivisionError
    assert left.total == 7


def test_beyond_the_limit_the_one_that_leaves_most_open_is_given_up_and_nobody_else():
    runners = FakeRunner("x", 12), FakeRunner("y", 40), FakeRunner("z", 0)
    number = 100
    guard = LeakGuard(100, lambda: number, lambda: 1_000)
    guard.check(runners)
    assert [runner.orders for runner in runners] == [[], [], []]
    number = 101
    guard.check(runners)
    assert [len(runner.orders) for runner in runners] == [0, 1, 0]
    (order,) = runners[1].orders
    assert isinstance(order, GiveUp)
    assert order.detail.startswith(
        "its last collections have left 40 file descriptors open, and the agent has 101 of at most 100;"
    )


@pytest.mark.parametrize(("own", "allowed"), [(100, 75), (10_000, 200), (-1, 200)])
def test_the_process_s_own_limit_counts_where_it_is_lower(own, allowed):
    runner = FakeRunner("x", 16)
    number = allowed
    guard = LeakGuard(200, lambda: number, lambda: own)
    guard.check((runner,))
    assert runner.orders == []
    number += 1
    guard.check((runner,))
    assert len(runner.orders) == 1


def test_descriptors_that_no_probe_leaves_open_are_told_once(caplog):
    runner = FakeRunner("x", 15)
    guard = LeakGuard(100, lambda: 500, lambda: -1)
    for _ in range(3):
        guard.check((runner,))
    assert runner.orders == []
    assert caplog.messages == ["500 file descriptors are open, of at most 100; no probe that runs leaves them open"]
