"""What this agent says of itself with everything it exports: OpenTelemetry's resource attributes."""

import logging
import platform
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from obi_core.host import Host
from obi_core.settings import CoreSettings

_log = logging.getLogger(__name__)

_NAMESPACE: Final = uuid.UUID("4d63009a-8d0f-11ee-aad7-4c796ed8e320")
"""OpenTelemetry's namespace for instance ids made from names (semantic conventions, `service.instance.id`)."""
_ARCHITECTURES: Final[Mapping[str, str]] = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm32",
    "i686": "x86",
    "ppc64le": "ppc64",
}
"""`uname -m` → `host.arch`; s390x and others are called the same."""
_VARIABLE: Final = "OTEL_RESOURCE_ATTRIBUTES"
_DOWNWARD: Final[Mapping[str, str]] = {
    "K8S_CLUSTER_NAME": "k8s.cluster.name",
    "K8S_NAMESPACE_NAME": "k8s.namespace.name",
    "K8S_NODE_NAME": "k8s.node.name",
    "K8S_POD_NAME": "k8s.pod.name",
    "K8S_POD_UID": "k8s.pod.uid",
}
"""Variables that the DaemonSet fills from the downward API."""
_CGROUP_ID: Final = re.compile(r"(?m)([0-9a-f]{64})(?:\.scope)?$")
_MOUNT_ID: Final = re.compile(r"/(?:containers|overlay-containers|sandboxes)/([0-9a-f]{64})/")


@dataclass(frozen=True, slots=True)
class Described:
    """One attribute, and who says so."""

    value: str
    source: str
    """`found`, the variable, or `resource.attributes`."""


def resource_attributes(
    settings: CoreSettings, host: Host, environ: Mapping[str, str], *, etc: Path = Path("/etc")
) -> Mapping[str, str]:
    """Describe this agent; see `described`."""
    return {name: found.value for name, found in described(settings, host, environ, etc=etc).items()}


def described(
    settings: CoreSettings, host: Host, environ: Mapping[str, str], *, etc: Path = Path("/etc")
) -> Mapping[str, Described]:
    """Describe this agent, with the source of each attribute.

    Precedence: section `resource` > `OTEL_RESOURCE_ATTRIBUTES` > Kubernetes' downward API > what is found here. A cloud is
    not asked for: an attribute that comes from one is configured.

    Args:
        settings: All core sections.
        host: This node.
        environ: The environment.
        etc: Where `machine-id` is.
    """
    layers: tuple[tuple[str, Mapping[str, str]], ...] = (
        ("found", _found(settings, host, etc)),
        *((name, {attribute: environ.get(name, "").strip()}) for name, attribute in _DOWNWARD.items()),
        (_VARIABLE, _from_environment(environ.get(_VARIABLE, ""))),
        ("resource.attributes", settings.resource.attributes),
    )
    # a later layer may leave an attribute out with an empty text, except for a variable that is not set
    merged = {
        name: Described(text, source)
        for source, attributes in layers
        for name, text in attributes.items()
        if text or source not in _DOWNWARD
    }
    return {name: one for name, one in sorted(merged.items()) if one.value}


def _found(settings: CoreSettings, host: Host, etc: Path) -> Mapping[str, str]:
    name = (host.proc / "sys/kernel/hostname").read_text().strip() if (host.proc / "sys/kernel/hostname").exists() else ""
    machine_id = _machine_id(etc)
    return {
        "app": "obi",
        "container.id": _container_id(host.proc),
        "host.arch": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "host.id": machine_id,
        "host.name": name or platform.node(),
        "os.type": "linux",
        "os.version": host.release(),
        "service.instance.id": _instance_id(machine_id, str(settings.http.listen)),
        "service.name": "obi",
        "service.version": agent_version(),
        "telemetry.distro.name": "obi",
    }


def _container_id(proc: Path) -> str:
    """Id of our own container: 64 hexadecimal digits at the end of a cgroup's name, or in the path of a mounted file."""
    for file, pattern in (("self/cgroup", _CGROUP_ID), ("self/mountinfo", _MOUNT_ID)):
        try:
            found = pattern.search((proc / file).read_text(errors="replace"))
        except OSError:
            continue
        if found:
            return found[1]
    return ""


def agent_version() -> str:
    """Version of the distribution obi-core; empty in a tree that is not installed."""
    try:
        return version("obi-core")
    except PackageNotFoundError:
        return ""


def _machine_id(etc: Path) -> str:
    try:
        return (etc / "machine-id").read_text().strip()
    except OSError:
        return ""


def _instance_id(machine_id: str, listen: str) -> str:
    # The same over restarts, so that series go on; two agents of one machine cannot share their health address.
    return str(uuid.uuid5(_NAMESPACE, f"{machine_id}/{listen}") if machine_id else uuid.uuid4())


def _from_environment(text: str) -> Mapping[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(equals and key.strip() for key, equals, _ in pairs):
        # the whole value is dropped, as the OpenTelemetry specification wants
        _log.warning("OTEL_RESOURCE_ATTRIBUTES is ignored: it must be key=value pairs separated by commas")
        return {}
    return {unquote(key.strip()): unquote(value.strip()) for key, _, value in pairs}
