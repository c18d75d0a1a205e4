"""OBI's network: packets, bytes, drops and DNS."""

from dashboards.board import Board, Panel, Query, Row
from dashboards.promql import WHO, labels_of, legend, name_of, now, quantile, rate, top
from obi_plugin_network import catalogue as network

(DIRECTION, TRANSPORT, TYPE, ERROR) = labels_of(network.DIRECTION, network.TRANSPORT, network.TYPE, network.ERROR)
(STATE, REASON, QUESTION) = labels_of(network.STATE, network.DROP_REASON, network.QUESTION_TYPE)
PEER = labels_of(network.DESTINATION_ADDRESS, network.DESTINATION_PORT)

BOARD = Board(
    "obi-network",
    "OBI: network",
    "Packets and bytes by who sent or received them, what the kernel threw away, and how long DNS takes.",
    subjects=name_of(network.PACKETS),
    rows=(
        Row(
            "Traffic",
            (
                Panel(
                    "How much goes in and out?",
                    "Bytes from the network header on, each packet once at its socket's owner, by direction and transport.",
                    "binBps",
                    (Query(rate(network.IO, by=(DIRECTION, TRANSPORT)), legend(DIRECTION, TRANSPORT)),),
                ),
                Panel(
                    "How many packets is that?",
                    "Packets by direction and network type, each segment of an offloaded one.",
                    "pps",
                    (Query(rate(network.PACKETS, by=(DIRECTION, TYPE)), legend(DIRECTION, TYPE)),),
                ),
                Panel(
                    "Who causes the traffic?",
                    "The ten processes with the most bytes, by direction.",
                    "binBps",
                    (Query(top(rate(network.IO, by=(*WHO, DIRECTION))), legend(*WHO, DIRECTION)),),
                ),
                Panel(
                    "Who causes the packets?",
                    "The ten processes with the most packets, by direction; many and small ones cost the most CPU.",
                    "pps",
                    (Query(top(rate(network.PACKETS, by=(*WHO, DIRECTION))), legend(*WHO, DIRECTION)),),
                ),
                Panel(
                    "Which conversations move the most data?",
                    "The ten busiest, by process, transport and direction; with addresses and ports where settings say so.",
                    "binBps",
                    (
                        Query(
                            top(rate(network.CONVERSATION_IO, by=(*WHO, TRANSPORT, DIRECTION, *PEER))),
                            legend(*WHO, TRANSPORT, DIRECTION, *PEER),
                        ),
                    ),
                ),
                Panel(
                    "Which conversations have the most packets?",
                    "The ten with the most packets, by process, transport and direction.",
                    "pps",
                    (
                        Query(
                            top(rate(network.CONVERSATION_PACKETS, by=(*WHO, TRANSPORT, DIRECTION))),
                            legend(*WHO, TRANSPORT, DIRECTION),
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "What goes wrong",
            (
                Panel(
                    "What does the kernel throw away, and why?",
                    "Dropped packets by transport and the kernel's own reason.",
                    "pps",
                    (Query(top(rate(network.DROPS, by=(TRANSPORT, REASON))), legend(TRANSPORT, REASON)),),
                    kind="areas",
                ),
                Panel(
                    "Whose packets are thrown away?",
                    "The ten owners with the most dropped packets; without a name: nobody's, as to a port that is closed.",
                    "pps",
                    (Query(top(rate(network.DROPS, by=WHO)), legend(*WHO)),),
                ),
                Panel(
                    "How many packets contradict themselves?",
                    "Packets whose headers are malformed, by transport.",
                    "pps",
                    (Query(rate(network.PACKETS, f'{ERROR}="{network.MALFORMED}"', by=(TRANSPORT,)), legend(TRANSPORT)),),
                ),
                Panel(
                    "How many connections are tracked?",
                    "Connections by transport and state, as their packets tell it, each end that is on the node.",
                    "short",
                    (Query(now(network.CONNECTIONS, by=(TRANSPORT, STATE)), legend(TRANSPORT, STATE)),),
                    kind="areas",
                ),
            ),
        ),
        Row(
            "DNS",
            (
                Panel(
                    "How long does DNS take?",
                    "From a question to its answer, at the client; a question without an answer counts with the time waited.",
                    "s",
                    tuple(
                        Query(quantile(share, network.DNS_DURATION, by=(QUESTION,)), f"p{share * 100:.0f} {legend(QUESTION)}")
                        for share in (0.5, 0.99)
                    ),
                    width=8,
                ),
                Panel(
                    "Which DNS questions fail slowly?",
                    "The 99th percentile of questions that were not answered well, by result: nxdomain, servfail, timeout.",
                    "s",
                    (Query(quantile(0.99, network.DNS_DURATION, f'{ERROR}!=""', by=(ERROR,)), legend(ERROR)),),
                    width=8,
                ),
                Panel(
                    "Who speaks DNS badly?",
                    "Messages that are malformed, asked again while the question waits, or answer nothing that waits.",
                    "cps",
                    (Query(top(rate(network.DNS_ANOMALIES, by=(*WHO, ERROR))), legend(*WHO, ERROR)),),
                    width=8,
                ),
            ),
        ),
    ),
)
