"""What the deployment's tests look at: the manifests, as a cluster would get them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "deploy/k8s"


def documents(text: str) -> list[dict[str, Any]]:
    """Every object of a stream of YAML documents."""
    return [document for document in yaml.safe_load_all(text) if document]


def name_of(thing: Mapping[str, Any]) -> str:
    return f"{thing['kind']}/{thing['metadata']['name']}"


class Objects:
    """Rendered objects, by kind and name."""

    def __init__(self, objects: list[dict[str, Any]]) -> None:
        self.all = objects

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.all)

    def __getitem__(self, name: str) -> dict[str, Any]:
        """`DaemonSet/obi`."""
        (found,) = [thing for thing in self.all if name_of(thing) == name]
        return found

    def __contains__(self, name: str) -> bool:
        return any(name_of(thing) == name for thing in self.all)

    @property
    def names(self) -> list[str]:
        return sorted(name_of(thing) for thing in self.all)

    def kind(self, kind: str) -> list[dict[str, Any]]:
        return [thing for thing in self.all if thing["kind"] == kind]

    def pods(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Templates of pods, with the name of what makes them."""
        for thing in self.all:
            spec = thing.get("spec", {})
            if thing["kind"] == "CronJob":
                spec = spec["jobTemplate"]["spec"]
            if "template" in spec:
                yield name_of(thing), spec["template"]

    def containers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every container that starts with a pod or before it."""
        for name, pod in self.pods():
            for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
                yield f"{name}/{container['name']}", container


@pytest.fixture(scope="session")
def plain() -> Objects:
    """What `kubectl apply -f deploy/k8s/` takes: the files that it would read, in its order."""
    # the Secret is not one of the tree's files: test_otlp_certs.py makes one
    files = sorted(path for path in K8S.iterdir() if path.suffix in {".yaml", ".yml", ".json"} and path.stem != "otlp-secret")
    return Objects([document for path in files for document in documents(path.read_text())])


@pytest.fixture(scope="session")
def kustomized(tmp_path_factory) -> Callable[..., Objects]:
    """Build a folder below deploy/k8s/kustomize, with components on top: what `kubectl apply -k` would send."""
    kubectl = Path(sys.executable).with_name("kubectl")
    folder = K8S / "kustomize"

    @cache
    def build(base: str, *components: str) -> Objects:
        here = tmp_path_factory.mktemp("kustomize")
        lists = {"resources": [folder / base], "components": [folder / "components" / name for name in components]}
        body = {key: [os.path.relpath(path, here.resolve()) for path in paths] for key, paths in lists.items()}
        (here / "kustomization.yaml").write_text(yaml.safe_dump(body))
        done = subprocess.run([kubectl, "kustomize", here], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return Objects(documents(done.stdout))

    return build


@pytest.fixture(scope="session")
def components() -> list[str]:
    return sorted(path.name for path in (K8S / "kustomize/components").iterdir())
