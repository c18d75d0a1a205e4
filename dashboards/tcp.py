"""OBI's TCP: how connections begin, live and end."""

from dashboards.board import Board, Jump, Panel, Query, Row
from dashboards.promql import WHO, labels_of, legend, name_of, now, quantile, rate, top
from obi_plugin_tcp import catalogue as tcp

(ROLE, ERROR, DIRECTION) = labels_of(tcp.ROLE, tcp.ERROR, tcp.DIRECTION)
(STATE, RETRANSMIT, CAUSE, TYPE) = labels_of(tcp.STATE, tcp.RETRANSMIT, tcp.CAUSE, tcp.TYPE)
CONNECT_SPANS = Jump(
    "Slow and failed connects, one by one", "traces", '{ resource.service.name = "obi" && name = "tcp connect" }'
)
LIFE_SPANS = Jump(
    "A sample of connections, one by one", "traces", '{ resource.service.name = "obi" && name = "tcp connection" }'
)
RESET_SPANS = Jump("Resets, one by one", "traces", '{ resource.service.name = "obi" && name = "tcp reset" }')
RESET_EVENTS = Jump("Resets as log events", "logs", '{service_name="obi"} | scope_name="obi-plugin-tcp"')
FAILED = f'{ERROR}!=""'

BOARD = Board(
    "obi-tcp",
    "OBI: TCP",
    "How TCP connections begin, live and end, and who is concerned: connects, round-trip times, retransmits, resets.",
    subjects=name_of(tcp.CONNECTS),
    rows=(
        Row(
            "Beginning",
            (
                Panel(
                    "How many connections begin, and how do the attempts end?",
                    "Connects and accepts by outcome; without an outcome: the connection was made.",
                    "cps",
                    (Query(rate(tcp.CONNECTS, by=(ROLE, ERROR)), legend(ROLE, ERROR)),),
                    jumps=(CONNECT_SPANS,),
                ),
                Panel(
                    "Who cannot connect?",
                    "The ten processes with the most failed connects, and why they failed.",
                    "cps",
                    (Query(top(rate(tcp.CONNECTS, FAILED, by=(*WHO, ERROR))), legend(*WHO, ERROR)),),
                    jumps=(CONNECT_SPANS,),
                ),
                Panel(
                    "How long does a handshake take?",
                    "From SYN to the outcome (client), from SYN-ACK to ACK (server): median and 99th percentile. A dot is one "
                    "connect that was slow, and leads to its span.",
                    "s",
                    tuple(
                        Query(quantile(share, tcp.HANDSHAKE_DURATION, by=(ROLE,)), f"p{share * 100:.0f} {legend(ROLE)}")
                        for share in (0.5, 0.99)
                    ),
                    jumps=(CONNECT_SPANS,),
                    exemplars=True,
                ),
                Panel(
                    "Do listeners turn connections away?",
                    "Connection requests that a listener dropped, above all because its queue was full, by process.",
                    "cps",
                    (Query(top(rate(tcp.LISTEN_DROPS, by=WHO)), legend(*WHO)),),
                ),
            ),
        ),
        Row(
            "Living",
            (
                Panel(
                    "How many connections are there?",
                    "Sockets by state, as the kernel has them now; TIME_WAIT is not counted.",
                    "short",
                    (Query(now(tcp.CONNECTIONS, by=(STATE,)), legend(STATE)),),
                    kind="areas",
                ),
                Panel(
                    "How far away are the peers?",
                    "Smoothed round-trip time while connections live, of a sample for all: median and 99th percentile.",
                    "s",
                    tuple(
                        Query(quantile(share, tcp.RTT, by=(TYPE,)), f"p{share * 100:.0f} {legend(TYPE)}")
                        for share in (0.5, 0.99)
                    ),
                ),
                Panel(
                    "Who moves the most data?",
                    "Payload bytes of the ten busiest processes, by direction; what is sent again does not count.",
                    "binBps",
                    (Query(top(rate(tcp.IO, by=(*WHO, DIRECTION))), legend(*WHO, DIRECTION)),),
                ),
                Panel(
                    "Is data sent again, and what made the kernel do so?",
                    "Retransmitted segments by cause: fast is loss that acknowledgements show, timeout is silence, syn is a "
                    "peer that does not answer.",
                    "cps",
                    (Query(rate(tcp.RETRANSMITS, by=(RETRANSMIT,)), legend(RETRANSMIT)),),
                    kind="areas",
                ),
            ),
        ),
        Row(
            "Ending",
            (
                Panel(
                    "How long do connections last?",
                    "From established to closed: median and 99th percentile. A dot leads to the span of one connection.",
                    "s",
                    tuple(
                        Query(quantile(share, tcp.CONNECTION_DURATION, by=(ROLE,)), f"p{share * 100:.0f} {legend(ROLE)}")
                        for share in (0.5, 0.99)
                    ),
                    jumps=(LIFE_SPANS,),
                    exemplars=True,
                ),
                Panel(
                    "How many connections are reset, and why?",
                    "Resets received, by what they did, and sent, by the kernel's reason.",
                    "cps",
                    (Query(rate(tcp.RESETS, by=(DIRECTION, CAUSE)), legend(DIRECTION, CAUSE)),),
                    jumps=(RESET_EVENTS, RESET_SPANS),
                ),
                Panel(
                    "Whose connections are reset?",
                    "The ten processes with the most resets, by direction.",
                    "cps",
                    (Query(top(rate(tcp.RESETS, by=(*WHO, DIRECTION))), legend(*WHO, DIRECTION)),),
                    jumps=(RESET_EVENTS, RESET_SPANS),
                ),
                Panel(
                    "Who has to send again?",
                    "The ten processes with the most retransmitted segments.",
                    "cps",
                    (Query(top(rate(tcp.RETRANSMITS, by=WHO)), legend(*WHO)),),
                ),
            ),
        ),
    ),
)
