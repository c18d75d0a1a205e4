"""What the agent knows of its cluster: the watches, and the tables that they fill."""

import os
import time
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

from obi_core.identity.kubernetes.api import Api, ApiError
from obi_core.identity.kubernetes.objects import Wanted, labelled, labels_of, pod_of
from obi_core.identity.kubernetes.peers import Addresses
from obi_core.identity.kubernetes.table import PodTable
from obi_core.identity.kubernetes.watch import Contact, Watch
from obi_core.settings import KubernetesSettings

_NAMESPACE_S: Final = 600.0
_MOST_NAMESPACES: Final = 4096


class Cluster:
    """The node's pods, kept up to date.

    Args:
        api: The API server.
        node: Name of this node.
        settings: What to keep.
    """

    def __init__(self, api: Api, node: str, settings: KubernetesSettings) -> None:
        self._api, self.node, self._settings = api, node, settings
        self.pods = PodTable(settings.max_pods, settings.ended_s)
        self.others = Addresses(settings.max_pods * 16) if settings.peers else None
        selector = "" if settings.peers else f"spec.nodeName={node}"
        self._watches = [Watch(api, "pods", "/api/v1/pods", _Pods(self, settings), selector=selector)]
        if self.others is not None:
            self._watches.append(Watch(api, "services", "/api/v1/services", self.others.services))
            self._watches.append(Watch(api, "nodes", "/api/v1/nodes", self.others.nodes))
        self._lock = Lock()
        self._namespaces: dict[str, tuple[float, Mapping[str, str]]] = {}

    def start(self) -> None:
        """Begin to watch; returns at once."""
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """End all watches."""
        for watch in self._watches:
            watch.stop()

    @property
    def synced(self) -> bool:
        """Whether all pods of the node were ever known."""
        return self._watches[0].contact.synced

    def peer(self, address: str) -> Mapping[str, str]:
        """Say who has an address: a pod of this node, or with `peers` any pod, service or node; empty: not known."""
        pod = self.pods.at(address)
        if pod is not None:
            return pod.attributes
        return self.others.at(address) if self.others is not None else {}

    def namespace(self, name: str) -> Mapping[str, str]:
        """Wanted labels of a namespace, as attributes, from what is known. Never blocks."""
        return self._namespaces.get(name, (0.0, {}))[1]

    def learn_namespace(self, name: str) -> None:
        """Fetch the wanted labels of a namespace, unless that was done lately. On a watch's thread."""
        patterns, now = self._settings.namespace_labels, time.monotonic()
        if not patterns or (name in self._namespaces and now - self._namespaces[name][0] < _NAMESPACE_S):
            return
        try:
            labels = labels_of(self._api.get(f"/api/v1/namespaces/{name}", partial=True))
            known: Mapping[str, str] = labelled("k8s.namespace.label", labels, patterns)
        except ApiError:
            known = self.namespace(name)
        with self._lock:
            if len(self._namespaces) >= _MOST_NAMESPACES:
                self._namespaces.clear()
            self._namespaces[name] = (now, known)

    def contacts(self) -> Mapping[str, Contact]:
        """How each watch is doing, by resource."""
        return {watch.resource: watch.contact for watch in self._watches}


class _Pods:
    """Files pods of this node as pods, and others as addresses."""

    def __init__(self, cluster: Cluster, settings: KubernetesSettings) -> None:
        self._cluster = cluster
        self._wanted = Wanted(settings.pod_labels, settings.image)

    def put(self, found: dict[str, Any]) -> str:
        pod = pod_of(found, self._wanted)
        if pod is None:
            return ""
        if pod.node == self._cluster.node or self._cluster.others is None:
            self._cluster.learn_namespace(pod.namespace)
            self._cluster.pods.put(pod)
        else:
            self._cluster.others.pods.put_pod(pod)
        return pod.uid

    def end(self, found: dict[str, Any]) -> None:
        pod = pod_of(found, self._wanted)
        if pod is not None:
            self._cluster.pods.end(pod.uid)
            if self._cluster.others is not None:
                self._cluster.others.pods.end_uid(pod.uid)

    def only(self, uids: set[str]) -> None:
        self._cluster.pods.only(uids)
        if self._cluster.others is not None:
            self._cluster.others.pods.only(uids)


def node_name(settings: KubernetesSettings, environ: Mapping[str, str]) -> str:
    """Name of this node in its cluster."""
    return settings.node or environ.get("OBI_NODE_NAME", "") or os.uname().nodename.lower()


def node_labels(settings: KubernetesSettings, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Labels of this node, read now.

    Raises:
        ApiError: They cannot be had.
    """
    api = Api.found(settings, environ)
    if api is None:
        return {}
    return labels_of(api.get(f"/api/v1/nodes/{node_name(settings, environ)}", partial=True))
