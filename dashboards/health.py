"""OBI's own health: does it run everywhere, is anything lost, does its data arrive."""

from typing import Final

from dashboards.board import Board, Jump, Panel, Query, Row
from dashboards.export import AGE, EXPORT
from dashboards.promql import CHOSEN, NODE, NODE_LABEL, by_node, grouped, legend, own_rate

LOST: Final = 'obi_probe_events_total{outcome="lost"}'
SEEN: Final = 'obi_probe_events_total{outcome="seen"}'

GLANCE = Row(
    "At a glance",
    (
        Panel(
            "How many nodes report?",
            "Agents whose data is in this store now.",
            "none",
            (Query(f"count({NODE})"),),
            "number",
            width=4,
            height=4,
        ),
        Panel(
            "How many probes run?",
            "Probes that are attached, over all nodes.",
            "none",
            (Query(f'count(obi_probe_state{{state="attached"}} {CHOSEN})'),),
            "number",
            width=4,
            height=4,
        ),
        Panel(
            "How many probes do not run?",
            "Probes that are listed and not attached: unsupported, failed, or given up.",
            "none",
            (Query(f'count(obi_probe_state {CHOSEN}) - count(obi_probe_state{{state="attached"}} {CHOSEN})'),),
            "number",
            width=4,
            height=4,
            bad_from=1,
        ),
        Panel(
            "What share of events is lost?",
            "Of all that the probes' programs saw in the kernel; what was left out by sampling or settings is not lost.",
            "percentunit",
            (Query(f"{own_rate(LOST)} / {own_rate(SEEN)}"),),
            "number",
            width=4,
            height=4,
            bad_from=0.01,
        ),
        Panel(
            "How old is the oldest last export?",
            "Time since each signal of each agent was last taken by its endpoint; the largest.",
            "s",
            (Query(f"max(({AGE}) {CHOSEN})"),),
            "number",
            width=4,
            height=4,
            bad_from=600,
        ),
        Panel(
            "How near to its memory limit is an agent?",
            "Memory with all maps of what it may use, for the agent that is nearest.",
            "percentunit",
            (Query(f"max((obi_memory_bytes / obi_memory_allowed_bytes) {CHOSEN})"),),
            "number",
            width=4,
            height=4,
            bad_from=0.95,
        ),
    ),
)

PROBES = Row(
    "Do the probes run?",
    (
        Panel(
            "In which state is each probe, and why?",
            "One line per node and probe; reason codes are explained in docs/obi-troubleshooting.md.",
            "none",
            (Query(by_node("obi_probe_state", "probe", "state", "reason")),),
            "table",
            jumps=(Jump("What has changed, as log events", "logs", '{service_name="obi"} | scope_name="obi-core"'),),
        ),
        Panel(
            "In which mode does each probe run?",
            "Nodes per probe and mode; modes further down a probe's list give less.",
            "none",
            (Query(grouped("obi_probe_mode", ("probe", "mode"), "count"), legend("probe", "mode")),),
        ),
        Panel(
            "Where does a probe give less than it could?",
            "1 where a running probe's mode, or a program that did not load, costs it something.",
            "none",
            (Query(by_node("obi_probe_degraded", "probe"), legend(NODE_LABEL, "probe")),),
            width=8,
        ),
        Panel(
            "Which probes keep restarting?",
            "Starts after the first, in the last hour.",
            "short",
            (Query(by_node("increase(obi_probe_restarts_total[1h])", "probe"), legend(NODE_LABEL, "probe")),),
            width=8,
            bad_from=1,
        ),
        Panel(
            "Does somebody detach our programs?",
            "Programs that were detached from outside and put back, in the last hour.",
            "short",
            (Query(by_node("increase(obi_probe_reattached_total[1h])", "probe"), legend(NODE_LABEL, "probe")),),
            width=8,
            bad_from=1,
        ),
        Panel(
            "Which probes have been made to cost less?",
            "Steps taken because it was over a budget; counts stay right under sampling, later steps leave something out.",
            "short",
            (Query(by_node("obi_probe_shed_level", "probe"), legend(NODE_LABEL, "probe")),),
            bad_from=1,
        ),
        Panel(
            "Who is over a budget?",
            "1 where a probe is over a budget of its own, or (without a probe) an agent over one of the whole agent's.",
            "none",
            (
                Query(by_node("obi_probe_over_budget", "probe", "budget"), legend(NODE_LABEL, "probe", "budget")),
                Query(by_node("obi_over_budget", "budget"), legend(NODE_LABEL, "budget")),
            ),
            bad_from=1,
        ),
    ),
)

LOSSES = Row(
    "Is anything lost?",
    (
        Panel(
            "What becomes of what the kernel saw?",
            "Events by outcome: exported, left out by settings (filtered) or by sampling, lost; together, what was seen.",
            "cps",
            (Query(own_rate('obi_probe_events_total{outcome!="seen"}', ("outcome",)), legend("outcome")),),
            "areas",
        ),
        Panel(
            "Which probe loses events?",
            "Share of what each probe saw that was lost in the kernel.",
            "percentunit",
            (
                Query(
                    f"{own_rate(LOST, ('probe',))} / ({own_rate(SEEN, ('probe',))} > 0)",
                    legend("probe"),
                ),
            ),
            bad_from=0.01,
        ),
        Panel(
            "Where was something lost, and why?",
            "By probe, place and the probe's own word for the cause, such as a map that was full.",
            "cps",
            (Query(own_rate("obi_probe_lost_total", ("probe", "place", "cause")), legend("probe", "place", "cause")),),
        ),
        Panel(
            "What becomes of what the probes hand over?",
            "Entries that were not accepted: not declared by their probe, or lost on the way, by place.",
            "cps",
            (
                Query(
                    own_rate('obi_probe_entries_total{outcome!="accepted"}', ("probe", "outcome")),
                    legend("probe", "outcome"),
                ),
            ),
        ),
        Panel(
            "Which probe has too many series?",
            "Kernel rows that went to the overflow series: sums stay right, their owners are no longer told apart.",
            "cps",
            (Query(own_rate("obi_series_overflow_total", ("probe",)), legend("probe")),),
        ),
        Panel(
            "Whose name is not known?",
            "Kernel rows bound to an owner that was known only in part, by reason.",
            "cps",
            (Query(own_rate("obi_identity_unresolved_total", ("reason",)), legend("reason")),),
        ),
    ),
)

SURROUNDINGS = Row(
    "Configuration and Kubernetes",
    (
        Panel(
            "Do all nodes run one configuration?",
            "Agents by the hash of the configuration that is in force.",
            "none",
            (Query(grouped("obi_config_info", ("hash",), "count"), legend("hash")),),
            width=8,
        ),
        Panel(
            "Do all nodes run one version?",
            "Agents by version.",
            "none",
            (Query(grouped("obi_build_info", ("version", "python_version"), "count"), legend("version", "python_version")),),
            width=8,
        ),
        Panel(
            "What became of changed configurations?",
            "Reloads by result, in the last hour: applied, unchanged, refused.",
            "short",
            (Query(grouped("increase(obi_config_reloads_total[1h])", ("result",)), legend("result")),),
            width=8,
        ),
        Panel(
            "How long have the agents run?",
            "Time since each agent started.",
            "s",
            (Query(by_node("(time() - obi_process_start_time_seconds)"), legend(NODE_LABEL)),),
            width=8,
        ),
        Panel(
            "Whose clock is wrong?",
            "How far each node's clock is from the store's; to be trusted where the store scrapes the agents.",
            "s",
            (Query(by_node("abs(timestamp(obi_clock_seconds) - obi_clock_seconds)"), legend(NODE_LABEL)),),
            width=8,
            bad_from=30,
        ),
        Panel(
            "Are names of what lives for moments known?",
            "1 where the kernel notes programs (exec) and groups (cgroup) as they begin.",
            "none",
            (Query(by_node("obi_identity_noted", "what", function="min"), legend(NODE_LABEL, "what")),),
            width=8,
        ),
        Panel(
            "Is what is known of the cluster out of date?",
            "1 where the API server is away; pods that began since then have no names.",
            "none",
            (Query(by_node("obi_kubernetes_stale", "resource"), legend(NODE_LABEL, "resource")),),
            width=8,
        ),
        Panel(
            "Does the API server answer?",
            "Requests to it that failed, by resource and reason.",
            "cps",
            (Query(own_rate("obi_kubernetes_failures_total", ("resource", "reason")), legend("resource", "reason")),),
            width=8,
        ),
        Panel(
            "How many pods are known?",
            "Pods in the agents' tables, running and ended.",
            "short",
            (Query(grouped("obi_kubernetes_pods", ("state",)), legend("state")),),
            width=8,
        ),
    ),
)

BOARD = Board(
    "obi-health",
    "OBI: health",
    "Does OBI run on every node, is anything lost, and does its data arrive?",
    (GLANCE, PROBES, LOSSES, EXPORT, SURROUNDINGS),
)
