"""What `/health`, `/ready` and `/status` say."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from obi_core.model import Reason
from obi_core.runtime.http import Route
from obi_core.runtime.status import Status

STALE_S: Final = 15.0
"""The agent's loop turns every second; past this age of its last turn it counts as stuck."""


def routes(
    age_s: Callable[[], float],
    statuses: Callable[[], Iterable[Status]],
    required: Iterable[str],
    everything: Callable[[], Mapping[str, object]],
) -> Mapping[str, Route]:
    """Make the routes.

    Args:
        age_s: Seconds since the agent's loop turned last.
        statuses: Where every plugin stands.
        required: Names of the probes without which the agent is not ready.
        everything: The document of `/status`.
    """
    names = tuple(required)

    def health() -> tuple[int, Mapping[str, object]]:
        age = age_s()
        alive = age < STALE_S
        return 200 if alive else 503, {"healthy": alive, "loop_age_s": round(age, 1)}

    def ready() -> tuple[int, Mapping[str, object]]:
        document = readiness(statuses(), names)
        return 200 if document["ready"] else 503, document

    return {"/health": health, "/ready": ready, "/status": lambda: (200, everything())}


def readiness(statuses: Iterable[Status], required: tuple[str, ...]) -> dict[str, object]:
    """Say whether every required probe runs in some mode, and at least one probe runs. Reasons are codes."""
    known = {status.probe: status for status in statuses}
    active = {name for name, status in known.items() if status.active}
    probes = {name: status.brief() for name, status in sorted(known.items())}
    for name in required:
        if name not in known:
            probes[name] = {"state": None, "reason": Reason.NOT_LISTED.value, "mode": "", "without_bpf": False, "loses": []}
    return {"ready": bool(active) and active.issuperset(required), "required": list(required), "probes": probes}
