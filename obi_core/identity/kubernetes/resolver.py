"""From a container to its pod and workload, from what the watch has brought so far."""

from collections.abc import Callable
from typing import Final

from obi_core.identity.containers import Place
from obi_core.identity.kubernetes.cluster import Cluster
from obi_core.model import Owner
from obi_core.resolver import Subject

_SANDBOX: Final = "pause"
"""What keeps a pod's namespaces; no status of the pod names its container."""


class KubernetesResolver:
    """Names the pod, its workload and the container of an owner.

    Args:
        cluster: What is known.
        place: Where an owner's cgroup stands; None while that is not known.
        image: Whether subjects carry `container.image.name`.
    """

    def __init__(self, cluster: Cluster, place: Callable[[int], Place | None], *, image: bool = False) -> None:
        self._cluster, self._place, self._image = cluster, place, image

    def resolve(self, owner: Owner) -> Subject:
        """Describe the pod of `owner`; nothing if it is in none."""
        place = self._place(owner.cgroup_id)
        if place is None or not place.pod_uid:
            return Subject({})
        pod = self._cluster.pods.pod(place.pod_uid)
        if pod is None:
            return Subject({}, complete=False, missing="pod")
        attributes: dict[str, str | int] = {**pod.attributes, **self._cluster.namespace(pod.namespace)}
        if not place.container_id or owner.comm == _SANDBOX:
            return Subject(attributes)
        container = pod.containers.get(place.container_id)
        if container is None:
            return Subject(attributes, complete=False, missing="container")
        attributes["k8s.container.name"] = container.name
        if self._image and container.image:
            attributes["container.image.name"] = container.image
        return Subject(attributes)
