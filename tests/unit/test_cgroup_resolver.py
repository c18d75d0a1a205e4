"""From a cgroup id to a container, a unit or a path."""

from pathlib import PurePosixPath

import pytest

from obi_core.cgroups import Cgroup
from obi_core.identity import Both, CgroupResolver
from obi_core.model import Owner
from obi_core.resolver import Subject
from obi_core.testing.fakes import FakeClock

ID = "0123456789abcdef" * 4
UID = "6c1a2f0e-9d5b-4a77-8a55-0f3d2b1c4e5f"
POD = f"/kubepods/burstable/pod{UID}/{ID}"


class Node:
    """Its cgroups, by id."""

    def __init__(self, **groups):
        self.groups = groups
        self.walks = 0

    def all(self):
        self.walks += 1
        yield Cgroup(1, PurePosixPath("/"))
        for number, path in self.groups.items():
            yield Cgroup(int(number.removeprefix("n")), PurePosixPath(path))


def owner(cgroup_id):
    return Owner(7, 1, cgroup_id, "nginx")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.mark.parametrize(
    ("path", "attributes"),
    [
        (POD, {"container.id": ID}),
        ("/system.slice/nginx.service", {"systemd.unit": "nginx.service"}),
        ("/batch/job-7", {"process.linux.cgroup": "/batch/job-7"}),
        (f"/kubepods/burstable/pod{UID}", {"k8s.pod.uid": UID}),
    ],
)
def test_a_cgroup_is_a_container_or_a_unit_or_itself(clock, path, attributes):
    assert CgroupResolver(Node(n42=path), clock=clock).resolve(owner(42)) == Subject(attributes)


def test_the_pod_s_uid_is_opt_in(clock):
    resolver = CgroupResolver(Node(n42=POD), pod_uid=True, clock=clock)
    assert resolver.resolve(owner(42)).attributes == {"container.id": ID, "k8s.pod.uid": UID}


@pytest.mark.parametrize("cgroup_id", [0, 1])
def test_nobody_s_cgroup_and_the_root_say_nothing_and_cost_no_walk(clock, cgroup_id):
    node = Node(n42=POD)
    assert CgroupResolver(node, clock=clock).resolve(owner(cgroup_id)) == Subject({})
    assert node.walks == 0


def test_what_is_known_costs_no_walk_and_what_is_new_costs_at_most_one_a_second(clock):
    node = Node(n42=POD)
    resolver = CgroupResolver(node, clock=clock)
    for _ in range(100):
        resolver.resolve(owner(42))
    assert node.walks == 1
    for number in range(100, 200):
        assert resolver.resolve(owner(number)) == Subject({}, complete=False, missing="cgroup")
    assert node.walks == 1
    clock.advance(1)
    node.groups["n100"] = "/docker/" + ID
    assert resolver.resolve(owner(100)) == Subject({"container.id": ID})
    assert node.walks == 2


def test_an_ended_cgroup_is_remembered_for_a_while_and_then_forgotten(clock):
    node = Node(n42=POD)
    resolver = CgroupResolver(node, clock=clock)
    resolver.resolve(owner(42))
    node.groups.clear()
    for _ in range(5):
        clock.advance(60)
        resolver.resolve(owner(43))
        assert resolver.resolve(owner(42)).attributes == {"container.id": ID}
    clock.advance(60)
    resolver.resolve(owner(43))
    assert resolver.resolve(owner(42)) == Subject({}, complete=False, missing="cgroup")


def test_two_resolvers_are_asked_as_one():
    class Says:
        def __init__(self, attributes, *, complete):
            self.subject = Subject(attributes, complete=complete)

        def resolve(self, owner):
            return self.subject

    both = Both(Says({"a": 1, "b": 1}, complete=True), Says({"b": 2}, complete=False))
    assert both.resolve(owner(42)) == Subject({"a": 1, "b": 2}, complete=False)
