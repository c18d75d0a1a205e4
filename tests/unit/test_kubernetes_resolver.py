"""From an owner's cgroup to its pod, as far as the watch has come."""

import pytest

from obi_core.identity.containers import Place
from obi_core.identity.kubernetes import KubernetesResolver
from obi_core.identity.kubernetes.objects import Wanted, pod_of
from obi_core.identity.kubernetes.table import PodTable
from obi_core.model import Owner
from obi_core.resolver import Subject
from obi_core.testing.fakes import FakeClock
from obi_core.testing.kube import pod

ID, SANDBOX = "ab" * 32, "cd" * 32
PLACES = {
    2: Place("containerd", ID, "uid"),
    3: Place("containerd", SANDBOX, "uid"),
    4: Place("docker", ID),
    5: Place(unit="x.service"),
    6: Place("containerd", ID, "hash"),
    7: Place(pod_uid="uid"),
}
POD = {"k8s.namespace.name": "shop", "k8s.pod.name": "web-1", "k8s.statefulset.name": "web"}


class Known:
    def __init__(self) -> None:
        self.pods = PodTable(10, 300.0, FakeClock())

    def namespace(self, name):
        return {"k8s.namespace.label.team": "a"} if name == "shop" else {}


@pytest.fixture
def cluster():
    return Known()


def resolve(cluster, cgroup_id, comm="app", *, image=False):
    return KubernetesResolver(cluster, PLACES.get, image=image).resolve(Owner(1, 1, cgroup_id, comm))


def learn(cluster, **more):
    cluster.pods.put(pod_of(pod("uid", "web-1", owner=("StatefulSet", "web"), **more), Wanted()))


def test_a_container_of_a_pod_has_all_names(cluster):
    learn(cluster, containers={"app": ID})
    expected = {**POD, "k8s.namespace.label.team": "a", "k8s.container.name": "app"}
    assert resolve(cluster, 2) == Subject(expected)
    assert resolve(cluster, 2, image=True).attributes["container.image.name"] == "registry/app:1"


def test_a_pod_that_the_api_has_not_told_of_is_waited_for(cluster):
    assert resolve(cluster, 2) == Subject({}, complete=False, missing="pod")


def test_a_container_without_a_status_is_waited_for_and_its_pod_is_known(cluster):
    learn(cluster)
    found = resolve(cluster, 2)
    assert (found.complete, found.missing, found.attributes["k8s.pod.name"]) == (False, "container", "web-1")


def test_nobody_waits_for_a_sandbox_or_for_a_pod_s_own_cgroup(cluster):
    learn(cluster)
    assert resolve(cluster, 3, "pause").complete
    assert resolve(cluster, 7).attributes["k8s.pod.name"] == "web-1"


@pytest.mark.parametrize("cgroup_id", [4, 5, 99])
def test_what_is_in_no_pod_is_none_of_its_business(cluster, cgroup_id):
    assert resolve(cluster, cgroup_id) == Subject({})


def test_a_static_pod_is_found_by_its_hash(cluster):
    learn(cluster, annotations={"kubernetes.io/config.hash": "hash"}, containers={"app": ID})
    assert resolve(cluster, 6).attributes["k8s.pod.name"] == "web-1"
