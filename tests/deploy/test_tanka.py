"""The jsonnet library renders what deploy/k8s has, object for object; an environment changes what it means to change."""

import json
from pathlib import Path

import _jsonnet
import kubernetes_validate
import pytest

ROOT = Path(__file__).resolve().parents[2]
TANKA = ROOT / "deploy/tanka"


def objects(value):
    """As Tanka finds them: whatever has a kind, at any depth."""
    if "kind" in value and "apiVersion" in value:
        return [value]
    return [found for each in value.values() for found in objects(each)]


def rendered(text):
    return objects(json.loads(_jsonnet.evaluate_snippet("test", text, jpathdir=[str(TANKA / "lib")])))


def by_name(things):
    return {(thing["kind"], thing["metadata"]["name"]): thing for thing in things}


def test_the_library_renders_the_plain_manifests(plain):
    ours, theirs = by_name(rendered("import 'obi/main.libsonnet'")), by_name(plain)
    assert ours.keys() == theirs.keys()
    for name, thing in theirs.items():
        assert ours[name] == thing, name


def test_the_library_has_every_file_of_the_configuration():
    text = (TANKA / "lib/obi/main.libsonnet").read_text()
    files = [path.relative_to(ROOT) for folder in ("config", "config/pools") for path in (ROOT / folder).glob("*.yaml")]
    assert [str(path) for path in files if f"importstr '../../../../{path}'" not in text] == []


def test_pools_of_the_library_partition_the_nodes_as_those_of_kustomize(kustomized):
    ours = by_name(rendered("(import 'obi/main.libsonnet') { _config+:: { pools: ['busy', 'small'] } }"))
    theirs = by_name(kustomized("overlays/pools"))
    for pool in ("obi", "obi-busy", "obi-small"):
        one, other = (each["DaemonSet", pool]["spec"]["template"]["spec"] for each in (ours, theirs))
        assert one["nodeSelector"] == other["nodeSelector"]
        assert one.get("affinity") == other.get("affinity")
        assert ours["DaemonSet", pool]["spec"]["selector"] == theirs["DaemonSet", pool]["spec"]["selector"]


@pytest.mark.parametrize("version", ["1.25.0", "1.37.0"])
def test_the_example_environment_is_applicable(version):
    found = rendered((TANKA / "environments/default/main.jsonnet").read_text())
    for thing in found:
        kubernetes_validate.validate(thing, version, strict=True)
    (agent,) = by_name(found)["DaemonSet", "obi-busy"]["spec"]["template"]["spec"]["containers"]
    assert agent["image"] == "registry.example/obi:0.1.0"
    environment = {entry["name"]: entry.get("value") for entry in agent["env"]}
    assert environment["OBI_OTLP__ENDPOINT"] == "http://otel-collector.monitoring:4318"
    assert environment["OBI_POOL"] == "busy"


def test_the_environment_says_where_it_is_applied():
    spec = json.loads((TANKA / "environments/default/spec.json").read_text())
    assert (spec["kind"], spec["spec"]["namespace"]) == ("Environment", "mop-system")
