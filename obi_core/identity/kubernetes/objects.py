"""What is kept of a pod, and how it is read out of the API's JSON. Pure; whatever does not look as it should is left out."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final

_HASH: Final = "pod-template-hash"
_MIRROR: Final = ("kubernetes.io/config.hash", "kubernetes.io/config.mirror")
"""Annotations of a static pod: its cgroup is called by this hash, not by the uid that the API gives."""
_CRON: Final = re.compile(r"(?P<name>.+)-(?P<minutes>\d{7,10})")
_CRON_LATE_S: Final = (-3_600, 7 * 86_400)
"""How long after its scheduled time a cron job's pod may be made, s."""
_OWNERS: Final[Mapping[str, str]] = {
    "ReplicaSet": "k8s.replicaset.name",
    "StatefulSet": "k8s.statefulset.name",
    "DaemonSet": "k8s.daemonset.name",
    "Job": "k8s.job.name",
    "ReplicationController": "k8s.replicationcontroller.name",
}
_FINISHED: Final = ("Succeeded", "Failed")
_STATUSES: Final = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What goes into the attributes of a pod beside its names."""

    labels: tuple[str, ...] = ()
    """Of pods, `*` for anything."""
    image: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod."""

    name: str
    image: str


@dataclass(frozen=True, slots=True)
class Pod:
    """What is kept of a pod."""

    uid: str
    namespace: str
    node: str
    aliases: tuple[str, ...]
    """Other names under which its cgroup may stand."""
    addresses: tuple[str, ...]
    """Its own; none if it uses the node's."""
    containers: Mapping[str, Container]
    """By container id, those before a restart too."""
    attributes: Mapping[str, str]
    """`k8s.namespace.name`, `k8s.pod.name`, its workload, its labels."""
    finished: bool = False
    """Its containers have ended for good: another may have its addresses, which its status goes on to show."""


def pod_of(found: Mapping[str, Any], wanted: Wanted) -> Pod | None:
    """Read a pod; None if it is none."""
    metadata, status, spec = (_mapping(found.get(key)) for key in ("metadata", "status", "spec"))
    uid, name, namespace = (_text(metadata.get(key)) for key in ("uid", "name", "namespace"))
    if not uid or not name:
        return None
    annotations = _mapping(metadata.get("annotations"))
    labels = {key: text for key, text in _mapping(metadata.get("labels")).items() if isinstance(text, str)}
    own = () if spec.get("hostNetwork") is True else _texts(status.get("podIPs"), "ip") or (_text(status.get("podIP")),)
    return Pod(
        uid,
        namespace,
        _text(spec.get("nodeName")),
        tuple(filter(None, (_text(annotations.get(key)) for key in _MIRROR))),
        tuple(filter(None, own)),
        dict(_containers(status)),
        {
            "k8s.namespace.name": namespace,
            "k8s.pod.name": name,
            **_workload(metadata, labels),
            **labelled("k8s.pod.label", labels, wanted.labels),
        },
        _text(status.get("phase")) in _FINISHED,
    )


def labelled(prefix: str, labels: Mapping[str, str], patterns: Iterable[str]) -> dict[str, str]:
    """Give the labels that fit a pattern, as attributes."""
    wanted = tuple(patterns)
    return {f"{prefix}.{key}": text for key, text in labels.items() if any(fnmatchcase(key, pattern) for pattern in wanted)}


def labels_of(found: Mapping[str, Any]) -> dict[str, str]:
    """The labels of any object."""
    labels = _mapping(_mapping(found.get("metadata")).get("labels"))
    return {key: text for key, text in labels.items() if isinstance(text, str)}


def _workload(metadata: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, str]:
    owners = [_mapping(owner) for owner in _list(metadata.get("ownerReferences"))]
    owner = next((owner for owner in owners if owner.get("controller") is True), {})
    kind, name = _text(owner.get("kind")), _text(owner.get("name"))
    if not name or kind not in _OWNERS:
        return {}
    suffix = f"-{labels.get(_HASH, '')}"
    if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
        # so a Deployment names its ReplicaSets; one made by hand has no such label
        return {"k8s.deployment.name": name.removesuffix(suffix)}
    named = {_OWNERS[kind]: name}
    if kind == "Job" and (cron := _CRON.fullmatch(name)) and _scheduled(int(cron["minutes"]), metadata):
        named["k8s.cronjob.name"] = cron["name"]
    return named


def _scheduled(minutes: int, metadata: Mapping[str, Any]) -> bool:
    """Whether a number at the end of a job's name is the minute that a cron job was due, as its controller writes it."""
    try:
        made = datetime.fromisoformat(_text(metadata.get("creationTimestamp"))).timestamp()
    except ValueError:
        return False
    earliest, latest = _CRON_LATE_S
    return earliest <= made - minutes * 60 <= latest


def _containers(status: Mapping[str, Any]) -> Iterable[tuple[str, Container]]:
    for kind in _STATUSES:
        for each in map(_mapping, _list(status.get(kind))):
            container = Container(_text(each.get("name")), _text(each.get("image")))
            states = [_mapping(_mapping(each.get(key)).get("terminated")) for key in ("state", "lastState")]
            for said in (each, *states):
                number = _text(said.get("containerID")).rpartition("://")[2]
                if number:
                    yield number, container


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object, key: str) -> tuple[str, ...]:
    return tuple(filter(None, (_text(_mapping(each).get(key)) for each in _list(value))))
