"""How the agent asks the Kubernetes API who is who."""

from typing import Annotated, Literal

from pydantic import Field

from obi_core.settings.section import Section
from obi_core.settings.values import Names, Seconds

_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class KubernetesSettings(Section):
    """From container to pod and workload: one watch of this node's pods."""

    enabled: Literal["auto", "on", "off"] = Field(
        "auto", description="Whether to ask the API; auto: where KUBERNETES_SERVICE_HOST or `api` says where it is."
    )
    api: str | None = Field(
        None,
        min_length=1,
        description="`https://HOST:PORT`; not set: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT of the pod.",
    )
    node: str | None = Field(
        None, min_length=1, description="Name of this node in the cluster; not set: OBI_NODE_NAME, else the host's name."
    )
    token_file: str = Field(f"{_ACCOUNT}/token", description="Bearer token; read anew when it has been rotated.")
    ca_file: str = Field(f"{_ACCOUNT}/ca.crt", description="Certificates that the API server's may be signed by.")
    timeout_s: Seconds = Field(10.0, description="Time the API has to connect and to begin an answer.")
    pod_labels: Names = Field(
        (), description="Labels of pods that metrics carry, as `k8s.pod.label.<key>`; `*` stands for anything."
    )
    namespace_labels: Names = Field(
        (), description="The same of namespaces, as `k8s.namespace.label.<key>`; one small request per namespace."
    )
    node_labels: Names = Field((), description="Labels of this node that the agent says of itself, as `k8s.node.label.<key>`.")
    peers: bool = Field(
        False,
        description="Whether the pods, services and nodes of the whole cluster are watched, to name the other end of "
        "connections beyond this node; costs memory and API load by the size of the cluster.",
    )
    image: bool = Field(False, description="Whether metrics carry `container.image.name`.")
    ended_s: Seconds = Field(300.0, description="How long a pod that is gone is remembered: what it caused may be on its way.")
    max_pods: Annotated[int, Field(ge=16)] = Field(4096, description="Pods remembered at most, those that are gone too.")

    @property
    def naming(self) -> tuple[object, ...]:
        """What of it decides how series are called; the rest says how and where to ask."""
        return (self.enabled, self.pod_labels, self.namespace_labels, self.peers, self.image)
