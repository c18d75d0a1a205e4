"""The core's own sections. Every default is written here and nowhere else."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from obi_core.settings.identity import IdentitySettings
from obi_core.settings.kubernetes import KubernetesSettings
from obi_core.settings.otlp import (
    Export,
    OtlpLogsSettings,
    OtlpMetricsSettings,
    OtlpSettings,
    OtlpSignalSettings,
    OtlpTracesSettings,
    Signal,
    SpoolSettings,
    resolved,
)
from obi_core.settings.section import Section
from obi_core.settings.values import Bytes, Count, Listen, Names, OptionalNames, Pairs, Seconds, Share


class AgentSettings(Section):
    """Which probes run, how often, and what is said of it."""

    plugins: OptionalNames = Field(
        None, description="Probes to run, as `name` or `name@distribution`; not set: every built-in probe that is installed."
    )
    interval_s: Seconds = Field(10.0, description="Time between two collections of a probe.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe messages that are logged."
    )
    view: Literal["auto", "table", "lines", "off"] = Field(
        "auto", description="What `obi run` prints: a live table, one line per interval, nothing; auto: a table on a terminal."
    )
    views: Names = Field(
        ("processes", "connections", "calls", "limits"),
        description="Views of the live table, from above; those not named follow. Keys choose: Tab, 0 all, 1 and so on one.",
    )
    step_deadline_s: Seconds = Field(30.0, description="Time a probe has to be constructed, loaded and attached, each.")
    collect_deadline_s: Seconds = Field(10.0, description="Time one collection may take before the probe is quarantined.")
    shutdown_deadline_s: Seconds = Field(5.0, description="Time for the last collection and flush when the agent ends.")
    own_spans_every: Annotated[int, Field(ge=0)] = Field(
        6, description="One in so many of the agent's own collections and exports becomes a span; 0: none."
    )
    reload: Literal["watch", "signal", "off"] = Field(
        "watch", description="When changed files take effect: by themselves and on SIGHUP, on SIGHUP only, never."
    )


class AttributeRule(Section):
    """Which attributes the metrics of one pattern carry."""

    allow: OptionalNames = Field(None, description="Attributes that stay, `*` for anything; not set: all.")
    deny: Names = Field((), description="Attributes that go, of those that stay.")


class MetricsSettings(Section):
    """Metrics: the Prometheus endpoint, the bounds of the series table, attributes that are opt-in."""

    enabled: bool = Field(True, description="Whether Prometheus text is served.")
    listen: Listen = Field(Listen("127.0.0.1", 9090), description="Where Prometheus text is served, at `/metrics`.")
    series_limit: Count = Field(2000, description="Series of one metric; what is beyond goes to one overflow series.")
    series_idle_s: Seconds = Field(
        3600.0, description="A series, and the kernel row behind it, that has not moved for so long is dropped."
    )
    series_ended_s: Seconds = Field(
        120.0, description="How long a series stays after its container has ended, so that its last value gets out."
    )
    bind_grace_s: Seconds = Field(5.0, description="How long a new series waits for its owner to become known.")
    pod_uid: bool = Field(False, description="Whether metrics carry `k8s.pod.uid` beside `container.id`.")
    process_pid: bool = Field(False, description="Whether metrics carry `process.pid`; many series on busy machines.")
    attributes: dict[str, AttributeRule] = Field(
        default_factory=dict,
        description="By metric (`obi.tcp.*`): attributes to `allow` and `deny`; series that differ in nothing else add up.",
    )


class HttpSettings(Section):
    """The health endpoint: `/health`, `/ready`, `/status`, and a page for people at `/`."""

    listen: Listen = Field(Listen("127.0.0.1", 8080), description="Where health, readiness and status are served.")
    required: Names = Field((), description="Probes without which the agent is not ready.")
    hosts: Names = Field(
        (),
        description="Names under which the page at `/` is shown, beside `localhost` and any address; under others it is"
        " refused, as a page elsewhere could have its own name point here.",
    )


class KernelSettings(Section):
    """How programs get into the kernel."""

    btf: str | None = Field(
        None,
        min_length=1,
        description="BTF of this kernel, if it has none of its own: a file, or a tree as BTFHub keeps it, unpacked"
        " (`<distribution>/<version>/<arch>/<release>.btf`).",
    )


class BudgetSettings(Section):
    """What the agent and each probe may cost at most, and how a probe is made to cost less."""

    enforce: bool = Field(True, description="Whether a probe over its budget is made to cost less; if not, it is only told.")
    cpu: Share = Field(0.05, description="CPU time of the agent and of all its programs in the kernel, of this node's.")
    memory: Bytes = Field(
        200_000_000, description="Memory of the agent and of all its maps; where its cgroup allows less, that counts."
    )
    kernel_cpu: Share = Field(0.03, description="CPU time that one probe's programs may take in the kernel, of this node's.")
    user_cpu: Share = Field(0.01, description="CPU time that one probe may take in the agent, of this node's.")
    events_per_s: Count = Field(1_000, description="Spans and log events that one probe may hand over in a second.")
    series: Count = Field(20_000, description="Series of one probe; what is beyond goes to overflow series.")

    map_memory: Bytes = Field(
        64 << 20, description="Kernel memory of one probe's maps, worked out before they are made; `obi doctor` prints it."
    )
    scale_maps: bool = Field(
        True, description="Whether maps that are over the budget shrink until they fit; if not, the mode is refused."
    )
    descriptors: Count = Field(
        4_096,
        description="File descriptors that the agent may have open, or three quarters of `ulimit -n` where that is less; then"
        " the probe whose collections leave most of them open is given up.",
    )
    measure_s: Seconds = Field(
        2.0, description="How long the kernel's run-time statistics, which are not free, are on at a time."
    )
    measure_every_s: Seconds = Field(
        60.0, description="Time between two measurements; while a probe is over its budget or sheds, a sixth of it."
    )
    restore_s: Seconds = Field(
        120.0,
        description="How long a probe must be well below its budget before it gets one step back; twice as long after each"
        " relapse.",
    )
    sampling_steps: Annotated[int, Field(ge=0, le=16)] = Field(
        4, description="How often sampling may double, or collections become half as frequent, before something is left out."
    )


class ResourceSettings(Section):
    """What the agent says of itself with everything it exports."""

    attributes: Annotated[dict[str, str], Pairs] = Field(
        default_factory=dict, description="Resource attributes to add; they win over those that are found."
    )


class CoreSettings(BaseModel):
    """All core sections."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: AgentSettings = Field(default_factory=AgentSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    kernel: KernelSettings = Field(default_factory=KernelSettings)
    budgets: BudgetSettings = Field(default_factory=BudgetSettings)
    otlp: OtlpSettings = Field(default_factory=OtlpSettings)
    otlp_traces: OtlpTracesSettings = Field(default_factory=OtlpTracesSettings)
    otlp_metrics: OtlpMetricsSettings = Field(default_factory=OtlpMetricsSettings)
    otlp_logs: OtlpLogsSettings = Field(default_factory=OtlpLogsSettings)
    spool: SpoolSettings = Field(default_factory=SpoolSettings)
    resource: ResourceSettings = Field(default_factory=ResourceSettings)
    identity: IdentitySettings = Field(default_factory=IdentitySettings)
    kubernetes: KubernetesSettings = Field(default_factory=KubernetesSettings)

    def export(self, signal: Signal) -> Export | None:
        """How one signal is exported; None if it is not."""
        sections: dict[Signal, OtlpSignalSettings] = {
            "traces": self.otlp_traces,
            "metrics": self.otlp_metrics,
            "logs": self.otlp_logs,
        }
        own = sections[signal]
        chosen = resolved(self.otlp, own, signal)
        return chosen if own.enabled and chosen.settings.endpoint else None
