"""PromQL that means the same in every store.

What differs between stores, and what is done about it:

* Resource attributes are labels in some stores and not in others. Nodes are therefore chosen through `obi_node_info`, which
  the agent itself sends: every series of an agent joins it by `job` and `instance` (a scrape, Mimir, Cortex, Prometheus) or by
  `service_instance_id` (VictoriaMetrics, which makes labels of resources and no `job`); a label that is missing on both sides
  matches.
* An exponential histogram is a native histogram (Mimir, Cortex, Prometheus), has `vmrange` buckets (VictoriaMetrics), or `le`
  buckets (a scrape, `histograms: explicit`). A quantile asks for all, and one of them answers.
"""

from collections.abc import Sequence
from typing import Final

from obi_core.model import Instrument, Kind, Metric
from obi_core.sinks.naming import family_name, label_name

JOIN: Final = "on (job, instance, service_instance_id)"
NODE_LABEL: Final = "k8s_node_name"
NODE: Final = f'obi_node_info{{k8s_cluster_name=~"$cluster",{NODE_LABEL}=~"$node"}}'
CHOSEN: Final = f"and {JOIN} {NODE}"
"""Keeps the series of the nodes that were chosen."""
WINDOW: Final = "$__rate_interval"
WORKLOADS: Final = (
    "k8s_cronjob_name",
    "k8s_daemonset_name",
    "k8s_deployment_name",
    "k8s_job_name",
    "k8s_replicaset_name",
    "k8s_statefulset_name",
    "systemd_unit",
)
"""What may own a process, by label; of several, the first in this order is shown."""
ANY_WORKLOAD: Final = 'k8s_pod_name=~".*"'
"""A matcher that everything passes."""
PLACE: Final = ("k8s_namespace_name", "k8s_pod_name", "systemd_unit", "process_linux_cgroup")
"""Labels that say where something ran."""
WHO: Final = (*PLACE, "process_executable_name")
"""Labels that say who caused something."""


def name_of(instrument: Instrument) -> str:
    """Name an instrument as a store does."""
    counted = "_total" if instrument.kind is Kind.COUNTER else ""
    return family_name(Metric(instrument, "any", ())) + counted


def labels_of(*attributes: str) -> tuple[str, ...]:
    """Name attributes as a store does."""
    return tuple(label_name(attribute) for attribute in attributes)


def legend(*labels: str) -> str:
    """Write a series' legend of these labels."""
    return " ".join(f"{{{{{label}}}}}" for label in labels)


def series(instrument: Instrument, *matchers: str, suffix: str = "") -> str:
    """Select an instrument's series, of the namespace and workload that were chosen if it says whose it is."""
    whose = ('k8s_namespace_name=~"$namespace"', "${workload:raw}") if instrument.subject else ()
    every = ",".join((*whose, *matchers))
    return name_of(instrument) + suffix + (f"{{{every}}}" if every else "")


def grouped(what: str, by: Sequence[str] = (), function: str = "sum") -> str:
    """Aggregate `what` on the nodes that were chosen."""
    return f"{function} by ({', '.join(by)}) ({what} {CHOSEN})" if by else f"{function}({what} {CHOSEN})"


def now(instrument: Instrument, *matchers: str, by: Sequence[str] = ()) -> str:
    """Sum a gauge or updowncounter."""
    return grouped(series(instrument, *matchers), by)


def rate(instrument: Instrument, *matchers: str, by: Sequence[str] = ()) -> str:
    """Sum a counter's rate."""
    return grouped(f"rate({series(instrument, *matchers)}[{WINDOW}])", by)


def own_rate(selector: str, by: Sequence[str] = ()) -> str:
    """Sum the rate of a counter of the agent itself."""
    return grouped(f"rate({selector}[{WINDOW}])", by)


def by_node(what: str, *others: str, function: str = "max") -> str:
    """Aggregate `what` by node, on those that were chosen, and by other labels."""
    return f"{function} by ({', '.join((NODE_LABEL, *others))}) ({what} * {JOIN} group_left ({NODE_LABEL}) {NODE})"


def top(what: str, most: int = 10) -> str:
    """Keep the largest."""
    return f"topk({most}, {what})"


def quantile(share: float, instrument: Instrument, *matchers: str, by: Sequence[str] = ()) -> str:
    """Estimate a quantile of a histogram, in whichever form the store has it."""
    classic = grouped(f"rate({series(instrument, *matchers, suffix='_bucket')}[{WINDOW}])", ("le", "vmrange", *by))
    native = grouped(f"rate({series(instrument, *matchers)}[{WINDOW}])", by)
    return f"histogram_quantile({share}, {classic}) or histogram_quantile({share}, {native})"
