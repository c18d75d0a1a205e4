"""The last line of a preflight that fails: Kubernetes keeps the end of a container's log as its termination message."""

from collections.abc import Sequence
from typing import Final

from obi_core.cli.doctor.findings import Finding

_MOST: Final = 1500
"""Characters; a termination message has 2,048 bytes."""


def verdict(found: Sequence[Finding], required: Sequence[str]) -> str:
    """Say which probes keep the agent from starting, why, and what to do: the required ones, or all if none is required."""
    stuck = [finding for finding in found if finding.support == "none" and (finding.name in required or not required)]
    missing = [name for name in required if name not in {finding.name for finding in found}]
    causes = [
        *(f"{finding.name}: {_cause(finding)}" for finding in stuck),
        *(f"{name}: it is required and not listed in agent.plugins" for name in missing),
    ]
    sentence = f"preflight: no agent can start here: {'; '.join(causes) or 'no probe is installed'}"
    return sentence if len(sentence) <= _MOST else f"{sentence[:_MOST]}…"


def _cause(finding: Finding) -> str:
    if finding.problem or not finding.modes:
        return finding.problem or "it has no mode"
    # what the best mode lacks is what people mean to give
    best = finding.modes[0]
    return "; ".join(filter(None, (f"{best.mode}: {best.reason.value}: {best.detail}", best.remedy)))
