"""Everything that is rendered, against the API of the oldest and newest cluster, and against mistakes that no schema knows."""

import re
from pathlib import Path

import kubernetes_validate
import pytest

K8S = Path(__file__).resolve().parents[2] / "deploy/k8s"
COMPONENTS = sorted(path.name for path in (K8S / "kustomize/components").iterdir())
RENDERED = [("plain",), ("overlays/pools",), *(("overlays/pools", name) for name in COMPONENTS)]
VERSIONS = ("1.25.0", "1.37.0")
FOREIGN = {"PodMonitor", "PrometheusRule", "Certificate"}
"""Of operators: clusters know them where the operator is installed."""


@pytest.fixture(params=RENDERED, ids="-".join)
def rendered(request, plain, kustomized):
    return plain if request.param == ("plain",) else kustomized(*request.param)


def test_these_are_the_oldest_and_the_newest_schema_that_there_is():
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    there = sorted(tuple(map(int, re.findall(r"\d+", path.name))) for path in folder.iterdir() if path.name[0] == "v")
    assert [".".join(map(str, each)) for each in (there[0], there[-1])] == list(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_the_schema_strictly(rendered, version):
    for thing in rendered:
        if thing["kind"] not in FOREIGN:
            kubernetes_validate.validate(thing, version, strict=True)


def test_the_schema_would_find_a_misspelt_key(plain):
    thing = plain["Service/obi"]
    wrong = {**thing, "spec": {**thing["spec"], "clusterIp": "None"}}
    with pytest.raises(kubernetes_validate.ValidationError, match="clusterIp"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_no_capability_has_a_prefix(rendered):
    """CAP_BPF passes the API, and gives nothing."""
    for name, container in rendered.containers():
        given = container["securityContext"].get("capabilities", {})
        assert [each for each in (*given.get("add", ()), *given.get("drop", ())) if each.startswith("CAP_")] == [], name


def test_nobody_has_the_nodes_network_a_declared_port_and_a_surge(rendered):
    """The new pod would wait for the old one's port for ever."""
    for thing in rendered.kind("DaemonSet"):
        pod = thing["spec"]["template"]["spec"]
        ports = any("ports" in each for each in pod["containers"])
        surge = thing["spec"]["updateStrategy"]["rollingUpdate"].get("maxSurge", 0)
        assert not (pod.get("hostNetwork") and (ports or surge)), thing["metadata"]["name"]


def test_no_configuration_is_mounted_by_subpath(rendered):
    """It would never change again while the pod lives."""
    for name, template in rendered.pods():
        kinds = {volume["name"]: volume.keys() for volume in template["spec"]["volumes"]}
        for container in (*template["spec"].get("initContainers", ()), *template["spec"]["containers"]):
            for mount in container["volumeMounts"]:
                if kinds[mount["name"]] & {"configMap", "secret", "projected"}:
                    assert not mount.keys() & {"subPath", "subPathExpr"}, name


def test_every_mount_has_its_volume_and_every_volume_its_mount(rendered):
    for name, template in rendered.pods():
        there = {volume["name"] for volume in template["spec"]["volumes"]}
        every = (*template["spec"].get("initContainers", ()), *template["spec"]["containers"])
        assert {mount["name"] for container in every for mount in container["volumeMounts"]} == there, name


def test_every_container_has_limits(rendered):
    for name, container in rendered.containers():
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}, name


def test_only_the_privileged_component_is_privileged(rendered, request):
    privileged = {name for name, container in rendered.containers() if container["securityContext"].get("privileged")}
    expected = "privileged" in request.node.callspec.params["rendered"]
    assert bool(privileged) == expected
    if not expected:
        assert all(each["securityContext"]["allowPrivilegeEscalation"] is False for _, each in rendered.containers())


def test_every_object_of_ours_is_named_in_lower_case_and_once(rendered):
    assert len(rendered.names) == len(set(rendered.names))
    assert all(re.fullmatch(r"[a-z0-9.-]{1,63}", thing["metadata"]["name"]) for thing in rendered)
