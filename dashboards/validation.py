"""Whether OBI's data can be believed: does it all arrive, does it add up, do two sources agree."""

from typing import Final

from dashboards.board import Board, Panel, Query, Row
from dashboards.promql import CHOSEN, NODE, NODE_LABEL, by_node, grouped, labels_of, legend, name_of
from obi_core.model import Instrument
from obi_plugin_limits import catalogue as limits
from obi_plugin_network import catalogue as network
from obi_plugin_syscall import catalogue as syscall
from obi_plugin_tcp import catalogue as tcp

AGENT: Final = "job, instance, service_instance_id"
HEADLINES: Final = (
    network.PACKETS,
    network.IO,
    network.CONNECTIONS,
    tcp.CONNECTS,
    tcp.IO,
    tcp.CONNECTIONS,
    syscall.CALLS,
    syscall.ERRORS,
    limits.OOM_KILLS,
    limits.EXHAUSTION,
)
"""There as 0 from an agent's first export on, so that a node without them is a node whose data is missing."""
(DIRECTION, STATE, TRANSPORT, ERROR) = labels_of(tcp.DIRECTION, tcp.STATE, network.TRANSPORT, tcp.ERROR)
RESOURCE: Final = labels_of(limits.RESOURCE)[0]
SEEN: Final = 'obi_probe_events_total{outcome="seen"}'
ENDED: Final = 'obi_probe_events_total{outcome!="seen"}'
ITEMS: Final = "otlp_exporter_{}_items_total"


def rate(instrument: Instrument, matcher: str, *by: str) -> str:
    """Sum a rate over all owners: a comparison is of whole nodes."""
    return grouped(f"rate({name_of(instrument)}{{{matcher}}}[$__rate_interval])", by)


def items(ended: str) -> str:
    """Items that ended so, by signal."""
    return grouped(ITEMS.format(ended), ("signal",))


BOARD = Board(
    "obi-validation",
    "OBI: validation",
    "Can the data be believed: does everything arrive, do the accounts balance, and do two probes that see one thing agree?",
    (
        Row(
            "Does everything arrive?",
            (
                Panel(
                    "From how many nodes does each metric come?",
                    "These are there as 0 from an agent's first export on: a shorter bar is data that does not "
                    "arrive, or a probe that is off.",
                    "none",
                    tuple(
                        Query(f"count(count by ({AGENT}) ({name_of(instrument)} {CHOSEN}))", name_of(instrument))
                        for instrument in HEADLINES
                    ),
                    "bars",
                    height=10,
                ),
                Panel(
                    "How old is the newest data of each node?",
                    "Age of the newest sample in this store; more than two export intervals is late.",
                    "s",
                    (Query(by_node("(time() - timestamp(obi_build_info))"), legend(NODE_LABEL)),),
                    height=10,
                    bad_from=60,
                ),
                Panel(
                    "What share of the samples arrives?",
                    "Samples of 15 minutes beside those of the node that has most; an agent that began later has fewer.",
                    "percentunit",
                    (
                        Query(
                            f"{by_node('count_over_time(obi_build_info[15m])')} / "
                            f"scalar(max(count_over_time(obi_build_info[15m]) {CHOSEN}))",
                            legend(NODE_LABEL),
                        ),
                    ),
                ),
                Panel(
                    "Which nodes have gone silent?",
                    "Nodes that reported an hour ago and do not now.",
                    "none",
                    (
                        Query(
                            f"group by (k8s_cluster_name, {NODE_LABEL}) ({NODE} offset 1h) "
                            f"unless on (k8s_cluster_name, {NODE_LABEL}) obi_node_info"
                        ),
                    ),
                    "table",
                ),
            ),
        ),
        Row(
            "Does it add up?",
            (
                Panel(
                    "Does the account of each probe balance?",
                    "What its programs saw, less what was exported, filtered, sampled out and lost: 0, or gone by the next "
                    "collection.",
                    "short",
                    (
                        Query(
                            f"{grouped(SEEN, ('probe',))} - {grouped(ENDED, ('probe',))}",
                            legend("probe"),
                        ),
                    ),
                ),
                Panel(
                    "Does the account of the export balance?",
                    "Items handed over, less those sent, rejected, failed, dropped and those that wait in memory or on disk: "
                    "what is on its way now.",
                    "short",
                    (
                        Query(
                            " - ".join(
                                (
                                    *map(items, ("enqueued", "sent", "rejected", "failed", "dropped")),
                                    grouped("otlp_exporter_queue_size", ("signal",)),
                                    grouped("otlp_exporter_spool_items", ("signal",)),
                                )
                            ),
                            legend("signal"),
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Do two sources agree?",
            (
                Panel(
                    "Are TCP's bytes the same for both probes?",
                    "Payload as the tcp probe counts it, and packets with their headers as the network probe does: the second "
                    "is larger by the headers and by what was sent again.",
                    "binBps",
                    (
                        Query(rate(tcp.IO, "", DIRECTION), f"payload {legend(DIRECTION)}"),
                        Query(rate(network.IO, f'{TRANSPORT}="tcp"', DIRECTION), f"packets {legend(DIRECTION)}"),
                    ),
                ),
                Panel(
                    "Are the open connections the same for both probes?",
                    "Established TCP connections as sockets (tcp), and as their packets tell it (network: each end that is on "
                    "the node, from its first packet on).",
                    "short",
                    (
                        Query(grouped(f'{name_of(tcp.CONNECTIONS)}{{{STATE}="established"}}'), "sockets"),
                        Query(
                            grouped(f'{name_of(network.CONNECTIONS)}{{{TRANSPORT}="tcp",{STATE}="established"}}'), "packets"
                        ),
                    ),
                ),
                Panel(
                    "Is it noticed twice when descriptors run out?",
                    "Calls that failed with EMFILE or ENFILE, as the syscall and the limits probe count them; the first those "
                    "that its settings name.",
                    "cps",
                    (
                        Query(rate(syscall.ERRORS, f'{ERROR}=~"EMFILE|ENFILE"'), "syscall"),
                        Query(rate(limits.EXHAUSTION, f'{RESOURCE}="{limits.DESCRIPTORS}"'), "limits"),
                    ),
                ),
                Panel(
                    "Is each agent counted once?",
                    "Agents by node; more than one means two agents, or one whose data comes by two ways and counts double.",
                    "none",
                    (
                        Query(
                            f"count by (k8s_cluster_name, {NODE_LABEL}) ({NODE})",
                            legend("k8s_cluster_name", NODE_LABEL),
                        ),
                    ),
                    "bars",
                    bad_from=2,
                ),
            ),
        ),
    ),
)
