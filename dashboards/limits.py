"""OBI's limits: what is used up, who is held back, who is killed."""

from typing import Final

from dashboards.board import Board, Jump, Panel, Query, Row
from dashboards.promql import NODE_LABEL, PLACE, WHO, by_node, grouped, labels_of, legend, name_of, rate, series, top
from obi_plugin_limits import catalogue as limits

(RESOURCE, ERROR, SIGNAL, SENDER) = labels_of(limits.RESOURCE, limits.ERROR, limits.SIGNAL, limits.SENDER)
(EVENT, PRESSED, SHARE) = labels_of(limits.MEMORY_EVENT, limits.PRESSURE_RESOURCE, limits.PRESSURE_KIND)
EVENTS: Final = Jump("OOM kills and signals as log events", "logs", '{service_name="obi"} | scope_name="obi-plugin-limits"')
NODE_WIDE: Final = tuple(f'{label}=""' for label in (*WHO[1:], "k8s_pod_uid"))
"""Of nobody: of the node itself."""


def used(*matchers: str) -> str:
    """What share of each limit is used: usage and limit have the same labels."""
    return f"({series(limits.USAGE, *matchers)} / {series(limits.LIMIT, *matchers)})"


def waited(*matchers: str) -> str:
    """Share of the time that somebody waited."""
    return f"rate({series(limits.PRESSURE, *matchers)}[$__rate_interval])"


BOARD = Board(
    "obi-limits",
    "OBI: limits",
    "What is close to its limit or used up, who is held back or killed for it, and who waits for CPU, memory or disks.",
    subjects=name_of(limits.USAGE),
    rows=(
        Row(
            "How close",
            (
                Panel(
                    "What is closest to its limit?",
                    "The fifteen groups, processes and node-wide resources that have used the largest share of what they may.",
                    "percentunit",
                    (Query(top(grouped(used(), (RESOURCE, *WHO), "max"), 15), legend(RESOURCE, *WHO)),),
                    kind="bars",
                    bad_from=0.9,
                ),
                Panel(
                    "How close are the nodes themselves?",
                    "Used share of what is the node's own: memory, processes, descriptors, connections, listen queues.",
                    "percentunit",
                    (Query(top(by_node(used(*NODE_WIDE), RESOURCE), 15), legend(NODE_LABEL, RESOURCE)),),
                    bad_from=0.9,
                ),
                Panel(
                    "Who uses the most memory?",
                    "Memory of the ten largest groups, whether they have a limit or not.",
                    "bytes",
                    (
                        Query(
                            top(grouped(series(limits.USAGE, f'{RESOURCE}="{limits.MEMORY}"'), PLACE, "max")), legend(*PLACE)
                        ),
                    ),
                ),
                Panel(
                    "Who has the most descriptors open?",
                    "Open descriptors of the process that has the most of each name, ten names.",
                    "short",
                    (
                        Query(
                            top(grouped(series(limits.USAGE, f'{RESOURCE}="{limits.DESCRIPTORS}"'), WHO, "max")), legend(*WHO)
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Who is refused or killed",
            (
                Panel(
                    "Who runs out of something?",
                    "System calls that failed because something was used up, by resource and errno: ten owners.",
                    "cps",
                    (Query(top(rate(limits.EXHAUSTION, by=(*WHO, RESOURCE, ERROR))), legend(*WHO, RESOURCE, ERROR)),),
                ),
                Panel(
                    "Who is killed for want of memory?",
                    "OOM kills in the window of the graph, by victim.",
                    "short",
                    (
                        Query(
                            top(grouped(f"increase({series(limits.OOM_KILLS)}[$__rate_interval])", WHO)),
                            legend(*WHO),
                        ),
                    ),
                    jumps=(EVENTS,),
                ),
                Panel(
                    "Who is ended by a signal, and by whom?",
                    "Signals that end the process that they were sent to, by target, signal and sender.",
                    "cps",
                    (Query(top(rate(limits.SIGNALS, by=(*WHO, SIGNAL, SENDER))), legend(*WHO, SIGNAL, SENDER)),),
                    jumps=(EVENTS,),
                ),
                Panel(
                    "Which groups meet their memory limit?",
                    "How often a group met its limit (max), its soft limits (low, high) or had a process killed (oom).",
                    "cps",
                    (Query(top(rate(limits.MEMORY_EVENTS, by=(*PLACE, EVENT))), legend(*PLACE, EVENT)),),
                ),
                Panel(
                    "Which groups may not have more processes?",
                    "Forks that failed because a group has as many processes as it may have.",
                    "cps",
                    (Query(top(rate(limits.REFUSED_FORKS, by=PLACE)), legend(*PLACE)),),
                    width=24,
                ),
            ),
        ),
        Row(
            "Who waits",
            (
                Panel(
                    "Who is throttled, and for how long?",
                    "Share of time that a group's processes waited because its CPU quota was used up; several CPUs add up.",
                    "percentunit",
                    (Query(top(rate(limits.THROTTLED, by=PLACE)), legend(*PLACE)),),
                ),
                Panel(
                    "In what share of its periods is a group throttled?",
                    "Periods in which the quota was used up, of those in which the group was runnable.",
                    "percentunit",
                    (
                        Query(
                            top(f"{rate(limits.THROTTLED_PERIODS, by=PLACE)} / ({rate(limits.PERIODS, by=PLACE)} > 0)"),
                            legend(*PLACE),
                        ),
                    ),
                ),
                Panel(
                    "How much do the nodes wait?",
                    "Pressure of whole nodes: share of time in which some or all processes waited for CPU, memory or disks.",
                    "percentunit",
                    (Query(top(by_node(waited(*NODE_WIDE), PRESSED, SHARE), 20), legend(NODE_LABEL, PRESSED, SHARE)),),
                ),
                Panel(
                    "Which groups wait, and for what?",
                    "Pressure of the ten groups that wait the most: share of time in which some of their processes waited.",
                    "percentunit",
                    (
                        Query(
                            top(grouped(waited(f'{SHARE}="some"'), (*PLACE, PRESSED), "max")),
                            legend(*PLACE, PRESSED),
                        ),
                    ),
                ),
            ),
        ),
    ),
)
