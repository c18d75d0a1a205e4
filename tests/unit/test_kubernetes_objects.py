"""From the API's JSON to what is kept of a pod."""

import json
from pathlib import Path

import pytest

from obi_core.identity.kubernetes.objects import Container, Wanted, pod_of
from obi_core.identity.kubernetes.table import PodTable, plain
from obi_core.testing.fakes import FakeClock
from obi_core.testing.kube import pod

LINES = (Path(__file__).parents[1] / "fixtures/kubernetes/watch.jsonl").read_text(encoding="utf-8").splitlines()
EVENTS = [json.loads(line) for line in LINES]
NOW, BEFORE = "0123456789abcdef" * 4, "fedcba9876543210" * 4


def test_a_pod_of_a_deployment_is_read_whole():
    found = pod_of(EVENTS[3]["object"], Wanted(("team", "app.*", "long")))
    assert found.attributes == {
        "k8s.namespace.name": "shop",
        "k8s.pod.name": "checkout-7d9c5b8f6-x2x7k",
        "k8s.deployment.name": "checkout",
        "k8s.pod.label.app.kubernetes.io/name": "checkout",
        "k8s.pod.label.team": "Zahlung-Ü",
        "k8s.pod.label.long": "x" * 63,
    }
    image = "registry.example/checkout:1.4.2"
    assert found.containers == {NOW: Container("app", image), BEFORE: Container("app", image)}
    assert (found.node, found.addresses) == ("n1", ("10.244.1.42", "fd00:10:244::2a"))


@pytest.mark.parametrize(
    ("owner", "labels", "workload"),
    [
        (("ReplicaSet", "web-5f4"), {"pod-template-hash": "5f4"}, {"k8s.deployment.name": "web"}),
        (("ReplicaSet", "web-5f4"), {}, {"k8s.replicaset.name": "web-5f4"}),
        (("ReplicaSet", "by-hand"), {"pod-template-hash": "5f4"}, {"k8s.replicaset.name": "by-hand"}),
        (("StatefulSet", "db"), {}, {"k8s.statefulset.name": "db"}),
        (("DaemonSet", "obi"), {}, {"k8s.daemonset.name": "obi"}),
        (("Job", "once"), {}, {"k8s.job.name": "once"}),
        # 2026-01-01T00:00:00Z is minute 29453760
        (("Job", "nightly-29453760"), {}, {"k8s.job.name": "nightly-29453760", "k8s.cronjob.name": "nightly"}),
        (("Job", "nightly-29453000"), {}, {"k8s.job.name": "nightly-29453000", "k8s.cronjob.name": "nightly"}),
        (("Job", "import-20251231"), {}, {"k8s.job.name": "import-20251231"}),
        (("Node", "n1"), {}, {}),
        (("Rollout", "x"), {}, {}),
        (None, {}, {}),
    ],
)
def test_its_workload_is_found_by_the_names_that_controllers_give(owner, labels, workload):
    found = pod_of(pod("u", owner=owner, labels=labels), Wanted())
    assert found.attributes == {"k8s.namespace.name": "shop", "k8s.pod.name": "u", **workload}


def test_a_static_pod_s_cgroup_is_called_by_its_hash():
    found = pod_of(pod("u", annotations={"kubernetes.io/config.hash": "abc", "kubernetes.io/config.mirror": "abd"}), Wanted())
    assert found.aliases == ("abc", "abd")


def test_a_pod_on_the_node_s_network_has_no_address_of_its_own():
    document = pod("u", ip="10.0.0.4")
    document["spec"]["hostNetwork"] = True
    assert pod_of(document, Wanted()).addresses == ()


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"metadata": None},
        {"metadata": []},
        {"metadata": {"uid": 7, "name": "x"}},
        {"metadata": {"uid": "u"}},
    ],
)
def test_what_is_no_pod_is_none(broken):
    assert pod_of(broken, Wanted()) is None


def test_what_does_not_look_as_it_should_is_left_out():
    broken = pod("u")
    broken["metadata"] |= {"labels": {"a": 1, "b": None}, "ownerReferences": "me", "annotations": [1]}
    broken["status"] = {"containerStatuses": [None, {"name": 3, "containerID": 4}, {"state": 7}], "podIPs": {"ip": "x"}}
    found = pod_of(broken, Wanted(("*",)))
    assert (found.containers, found.addresses, found.aliases) == ({}, (), ())


def test_a_pod_that_is_gone_is_remembered_for_a_while():
    clock = FakeClock()
    table = PodTable(100, 300.0, clock)
    table.put(pod_of(pod("u", ip="10.0.0.1"), Wanted()))
    table.end("u")
    clock.advance(299)
    table.end("nobody")
    assert (table.pod("u").uid, table.at("10.0.0.1").uid, table.running, len(table)) == ("u", "u", 0, 1)
    clock.advance(2)
    table.end("nobody")
    assert (table.pod("u"), table.at("10.0.0.1"), len(table)) == (None, None, 0)


def test_an_address_belongs_to_who_has_it_now():
    table = PodTable(100, 300.0, FakeClock())
    table.put(pod_of(pod("old", ip="10.0.0.1"), Wanted()))
    table.end("old")
    table.put(pod_of(pod("new", ip="10.0.0.1"), Wanted()))
    assert table.at("::ffff:10.0.0.1").uid == "new"


def test_an_address_is_not_taken_back_by_the_last_states_of_who_had_it():
    table = PodTable(100, 300.0, FakeClock())
    old, done = pod("old", ip="10.0.0.1"), pod("done", ip="10.0.0.1")
    done["status"]["phase"] = "Succeeded"
    for found in (old, pod("new", ip="10.0.0.1"), old, done):
        table.put(pod_of(found, Wanted()))
    assert table.at("10.0.0.1").uid == "new"
    table.end("old")
    table.put(pod_of(pod("new", ip="10.0.0.2"), Wanted()))
    assert table.at("10.0.0.1") is None
    table.put(pod_of(done, Wanted()))
    assert table.at("10.0.0.1").uid == "done", "a free one names who had it last: what it caused may be on its way"


def test_the_table_is_bounded_and_those_that_ended_first_go():
    table = PodTable(3, 300.0, FakeClock())
    for uid in ("a", "b", "c"):
        table.put(pod_of(pod(uid), Wanted()))
    table.end("b")
    table.put(pod_of(pod("d"), Wanted()))
    assert [uid for uid in "abcd" if table.pod(uid)] == ["a", "c", "d"]
    table.put(pod_of(pod("e"), Wanted()))
    assert (table.pod("e"), table.refused) == (None, 1)


def test_containers_before_a_restart_still_name_what_is_on_its_way():
    table = PodTable(3, 300.0, FakeClock())
    for number in range(200):
        table.put(pod_of(pod("u", containers={"app": f"{number:064x}"}), Wanted()))
    assert table.pod("u").containers[f"{199:064x}"].name == "app"
    assert len(table.pod("u").containers) <= 64


@pytest.mark.parametrize(
    ("written", "expected"), [("::ffff:10.0.0.1", "10.0.0.1"), ("FD00:0::1", "fd00::1"), ("no address", "no address")]
)
def test_an_address_has_one_form(written, expected):
    assert plain(written) == expected
