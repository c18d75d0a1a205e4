"""How OpenTelemetry names become Prometheus names."""

import re
import sys
from typing import Final

from obi_core.model import Kind, Metric

_SUFFIXES: Final = {"s": "_seconds", "By": "_bytes"}
_FOREIGN: Final = re.compile(r"[^a-zA-Z0-9_]")


def family_name(metric: Metric) -> str:
    """Name a metric for Prometheus, without a counter's `_total`.

    Dots become underscores, the unit a suffix: `obi.network.io` in `By` is `obi_network_io_bytes`; a unit in braces, such
    as `{packet}`, adds nothing. The agent's own metrics (no scope) are named in this form from the start.
    """
    instrument = metric.instrument
    name = _FOREIGN.sub("_", instrument.name)
    if metric.scope:
        suffix = _SUFFIXES.get(instrument.unit, "_ratio" if instrument.unit == "1" and instrument.kind is Kind.GAUGE else "")
        name = name if name.endswith(suffix) else name + suffix
    return name.removesuffix("_total") if instrument.kind is Kind.COUNTER else name


def label_name(attribute: str) -> str:
    """Name an attribute for Prometheus: `k8s.pod.name` is `k8s_pod_name`."""
    return sys.intern(_FOREIGN.sub("_", attribute))  # one string for all series


def label_value(value: str | float | bool) -> str:
    """Write an attribute's value as text; a bool as OpenTelemetry's JSON has it."""
    return ("false", "true")[value] if isinstance(value, bool) else str(value)
