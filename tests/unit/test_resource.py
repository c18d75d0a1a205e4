"""What the agent says of itself."""

import logging
import platform
from pathlib import Path

import pytest

from obi_core.host import Host
from obi_core.identity import resource_attributes
from obi_core.settings import CoreSettings, load_settings

HYBRID = Host(proc=Path(__file__).parents[1] / "fixtures/proc/hybrid")


@pytest.fixture
def etc(tmp_path):
    (tmp_path / "machine-id").write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    return tmp_path


def describe(etc, environ=(), settings=None):
    return resource_attributes(settings or CoreSettings(), HYBRID, dict(environ), etc=etc)


def test_the_fixed_attributes_are_there(etc, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    found = dict(describe(etc))
    assert len(found.pop("service.instance.id")) == 36
    found.pop("service.version", None)
    assert found == {
        "app": "obi",
        "host.arch": "arm64",
        "host.id": "3d1219c7c4c5404aaa1f6d2a48adfda4",
        "host.name": "node-1",
        "os.type": "linux",
        "os.version": "6.18.44",
        "service.name": "obi",
        "telemetry.distro.name": "obi",
    }


def test_the_instance_is_the_same_after_a_restart_and_another_beside_it(etc):
    one, again = describe(etc), describe(etc)
    beside = describe(etc, settings=load_settings(None, {"OBI_HTTP__LISTEN": "127.0.0.1:8081"}, {}).core)
    assert one["service.instance.id"] == again["service.instance.id"]
    assert one["service.instance.id"] != beside["service.instance.id"]


def test_without_a_machine_id_every_start_is_an_instance(tmp_path):
    one, again = describe(tmp_path), describe(tmp_path)
    assert "host.id" not in one
    assert one["service.instance.id"] != again["service.instance.id"]


def test_settings_win_over_the_variable_and_the_variable_over_what_is_found(etc):
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "k8s.node.name=a%2Cb, host.name=var,os.type=other"}
    settings = load_settings(None, {"OBI_RESOURCE__ATTRIBUTES": "host.name=set"}, {}).core
    found = describe(etc, environ, settings)
    assert (found["k8s.node.name"], found["host.name"], found["os.type"]) == ("a,b", "set", "other")


def test_a_malformed_variable_is_ignored_as_a_whole_and_said(etc, caplog):
    with caplog.at_level(logging.WARNING):
        found = describe(etc, {"OTEL_RESOURCE_ATTRIBUTES": "a=b,nonsense"})
    assert "a" not in found
    assert caplog.messages == ["OTEL_RESOURCE_ATTRIBUTES is ignored: it must be key=value pairs separated by commas"]


@pytest.fixture
def pod(etc, tmp_path):
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    return proc


POD = {
    "K8S_NODE_NAME": "node-7",
    "K8S_POD_NAME": "obi-x",
    "K8S_POD_UID": "8c5a",
    "K8S_NAMESPACE_NAME": "mop-system",
    "K8S_CLUSTER_NAME": "",
}


def test_in_a_pod_the_downward_api_says_node_pod_and_namespace_and_a_variable_without_value_says_nothing(etc):
    found = describe(etc, POD)
    assert {name: text for name, text in found.items() if name.startswith("k8s.")} == {
        "k8s.namespace.name": "mop-system",
        "k8s.node.name": "node-7",
        "k8s.pod.name": "obi-x",
        "k8s.pod.uid": "8c5a",
    }


def test_the_clusters_name_and_the_cloud_are_configured_and_win_over_the_downward_api(etc):
    said = "k8s.cluster.name=berlin-1,cloud.provider=aws,k8s.pod.name=other"
    settings = load_settings(None, {"OBI_RESOURCE__ATTRIBUTES": said}, {}).core
    found = describe(etc, {**POD, "K8S_CLUSTER_NAME": "paris"}, settings)
    assert [found[name] for name in ("k8s.cluster.name", "cloud.provider", "k8s.pod.name")] == ["berlin-1", "aws", "other"]


def test_an_attribute_that_is_set_to_nothing_is_left_out(etc):
    settings = load_settings(None, {"OBI_RESOURCE__ATTRIBUTES": "host.id="}, {}).core
    assert "host.id" not in describe(etc, settings=settings)


CONTAINER = "ab" * 32


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cgroup", f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{CONTAINER}.scope\n"),
        ("cgroup", f"12:memory:/kubepods/pod1/{CONTAINER}\n"),
        ("mountinfo", f"1 2 0:1 /var/lib/docker/containers/{CONTAINER}/hostname /etc/hostname rw - ext4 /dev/sda rw\n"),
    ],
)
def test_our_own_container_is_found_in_the_cgroups_name_or_among_the_mounts(etc, pod, file, text):
    (pod / "self" / file).write_text(text)
    found = resource_attributes(CoreSettings(), Host(proc=pod), {}, etc=etc)
    assert found["container.id"] == CONTAINER


def test_each_attribute_says_where_it_is_from(etc):
    from obi_core.identity.resource import described

    environ = {**POD, "OTEL_RESOURCE_ATTRIBUTES": "host.name=var"}
    settings = load_settings(None, {"OBI_RESOURCE__ATTRIBUTES": "os.type=set"}, {}).core
    found = described(settings, HYBRID, environ, etc=etc)
    assert [found[name].source for name in ("host.id", "k8s.node.name", "host.name", "os.type")] == [
        "found",
        "K8S_NODE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
        "resource.attributes",
    ]
