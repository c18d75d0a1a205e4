"""What this agent says of itself with everything it exports: OpenTelemetry's resource attributes."""

import logging
import platform
import uuid
from collections.abc import Mapping
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


def resource_attributes(
    settings: CoreSettings, host: Host, environ: Mapping[str, str], *, etc: Path = Path("/etc")
) -> Mapping[str, str]:
    """Describe this agent.

    Precedence: section `resource` > `OTEL_RESOURCE_ATTRIBUTES` > what is found here.

    Args:
        settings: All core sections.
        host: This node.
        environ: The environment.
        etc: Where `machine-id` is.
    """
    name = (host.proc / "sys/kernel/hostname").read_text().strip() if (host.proc / "sys/kernel/hostname").exists() else ""
    machine_id = _machine_id(etc)
    found = {
        "app": "obi",
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
    merged = {**found, **_from_environment(environ.get("OTEL_RESOURCE_ATTRIBUTES", "")), **settings.resource.attributes}
    return {name: text for name, text in sorted(merged.items()) if text}


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
