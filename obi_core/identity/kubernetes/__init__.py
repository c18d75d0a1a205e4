"""Who is who in Kubernetes: a watch of this node's pods through the API, in the standard library alone (docs/adr/0010)."""

from obi_core.identity.kubernetes.api import Api, ApiError
from obi_core.identity.kubernetes.cluster import Cluster
from obi_core.identity.kubernetes.resolver import KubernetesResolver

__all__ = ["Api", "ApiError", "Cluster", "KubernetesResolver"]
