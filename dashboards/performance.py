"""What OBI costs: CPU, memory, and what one event costs."""

from typing import Final

from dashboards.board import Board, Jump, Panel, Query, Row
from dashboards.promql import CHOSEN, NODE_LABEL, WINDOW, by_node, grouped, legend, own_rate, top

KERNEL: Final = 'obi_probe_cpu_seconds_total{side="kernel"}'
USER: Final = 'obi_probe_cpu_seconds_total{side="user"}'
SEEN: Final = 'obi_probe_events_total{outcome="seen"}'


def _own_spans(name: str) -> str:
    return f'{{ resource.service.name = "obi" && name = "{name}" }}'


CPU = Row(
    "CPU",
    (
        Panel(
            "What does the costliest agent use?",
            "CPU time of the agent's process on the node where it is most; 5 % is one twentieth of one CPU.",
            "percentunit",
            (Query(f"max(rate(obi_process_cpu_seconds_total[{WINDOW}]) {CHOSEN})"),),
            "number",
            width=8,
            height=4,
        ),
        Panel(
            "What do its programs cost the node in the kernel?",
            "CPU time of all probes' programs, charged to whoever made the call, on the node where it is most.",
            "percentunit",
            (Query(f"max(sum by (job, instance, service_instance_id) (rate({KERNEL}[{WINDOW}]) {CHOSEN}))"),),
            "number",
            width=8,
            height=4,
        ),
        Panel(
            "How much memory has the largest agent?",
            "Memory of the agent with all its maps.",
            "bytes",
            (Query(f"max(obi_memory_bytes {CHOSEN})"),),
            "number",
            width=8,
            height=4,
        ),
        Panel(
            "Which agents use the most CPU?",
            "CPU time of the agent's process, the ten most, by node; 100 % is one CPU.",
            "percentunit",
            (Query(top(by_node(f"rate(obi_process_cpu_seconds_total[{WINDOW}])")), legend(NODE_LABEL)),),
        ),
        Panel(
            "Which probe costs the kernel the most?",
            "CPU time of its programs, estimated from short measurements; no cgroup limit bounds it, the budgets do.",
            "percentunit",
            (Query(own_rate(KERNEL, ("probe",)), legend("probe")),),
            "areas",
        ),
        Panel(
            "Which probe costs the agent the most?",
            "CPU time of its own thread.",
            "percentunit",
            (Query(own_rate(USER, ("probe",)), legend("probe")),),
            "areas",
        ),
        Panel(
            "What does one event cost?",
            "CPU time in the kernel per thing that a probe's programs saw.",
            "s",
            (Query(f"{own_rate(KERNEL, ('probe',))} / ({own_rate(SEEN, ('probe',))} > 0)", legend("probe")),),
        ),
    ),
)

MEMORY = Row(
    "Memory",
    (
        Panel(
            "Which agents are the largest?",
            "Memory with all maps, and what the node with the tightest limit may use.",
            "bytes",
            (
                Query(top(by_node("obi_memory_bytes")), legend(NODE_LABEL)),
                Query(grouped("obi_memory_allowed_bytes", function="min"), "smallest limit"),
            ),
        ),
        Panel(
            "How much of it is the process?",
            "Resident memory of the agent's process, the ten largest.",
            "bytes",
            (Query(top(by_node("obi_process_resident_memory_bytes")), legend(NODE_LABEL)),),
        ),
        Panel(
            "How much kernel memory do maps take?",
            "Memory of each probe's maps on the node where it is most.",
            "bytes",
            (Query(grouped("obi_probe_map_bytes", ("probe",), "max"), legend("probe")),),
        ),
        Panel(
            "Which maps are nearly full?",
            "The fifteen fullest; what does not fit is lost, and counted.",
            "percentunit",
            (Query(top(grouped("obi_probe_map_fill_ratio", ("probe", "map"), "max"), 15), legend("probe", "map")),),
            "bars",
            bad_from=0.9,
        ),
    ),
)

WORK = Row(
    "Work",
    (
        Panel(
            "How much do the probes see?",
            "Things that the programs saw in the kernel, by probe.",
            "cps",
            (Query(own_rate(SEEN, ("probe",)), legend("probe")),),
            "areas",
        ),
        Panel(
            "How long does a collection take?",
            "Duration of the last one, the longest of all nodes, by probe.",
            "s",
            (Query(grouped("obi_probe_collect_seconds", ("probe",), "max"), legend("probe")),),
            jumps=(Jump("A sample of collections, one by one", "traces", _own_spans("obi collect")),),
        ),
        Panel(
            "How many series does each probe make?",
            "Series that all agents keep, by probe; this is what the store must bear.",
            "short",
            (Query(grouped("obi_series", ("probe",)), legend("probe")),),
            "areas",
        ),
        Panel(
            "How long does an export take?",
            "Duration of the last request, the longest of all nodes, by signal.",
            "s",
            (Query(grouped("otlp_exporter_request_seconds", ("signal",), "max"), legend("signal")),),
            jumps=(Jump("A sample of exports, one by one", "traces", _own_spans("obi export")),),
        ),
        Panel(
            "How much is handed to the exporter?",
            "Items by signal: points of metrics, spans, log records.",
            "cps",
            (Query(own_rate("otlp_exporter_enqueued_items_total", ("signal",)), legend("signal")),),
        ),
        Panel(
            "What was done so that a probe costs less?",
            "Steps taken, by probe, on the node where there are most; 0: nothing had to be done.",
            "short",
            (Query(grouped("obi_probe_shed_level", ("probe",), "max"), legend("probe")),),
            bad_from=1,
        ),
    ),
)

BOARD = Board(
    "obi-performance",
    "OBI: performance",
    "What OBI costs on every node: CPU in user space and in the kernel, memory, series, and what one event costs.",
    (CPU, MEMORY, WORK),
)
