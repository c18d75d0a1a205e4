"""Whether OBI's own data arrives: a row of the dashboard on its health."""

from typing import Final

from dashboards.board import Panel, Query, Row
from dashboards.promql import NODE_LABEL, by_node, grouped, legend, own_rate

AGE: Final = "time() - (otlp_exporter_last_success_timestamp_seconds > 0)"
"""Signals that were never sent have no age."""

EXPORT = Row(
    "Does the data arrive?",
    (
        Panel(
            "How much is sent?",
            "Items that the endpoint took, by signal.",
            "cps",
            (Query(own_rate("otlp_exporter_sent_items_total", ("signal",)), legend("signal")),),
            width=8,
        ),
        Panel(
            "What does the endpoint refuse?",
            "Items of requests refused for good by reason, and items rejected out of requests that were taken.",
            "cps",
            (
                Query(own_rate("otlp_exporter_failed_items_total", ("signal", "reason")), legend("signal", "reason")),
                Query(own_rate("otlp_exporter_rejected_items_total", ("signal",)), f"{legend('signal')} rejected"),
            ),
            width=8,
        ),
        Panel(
            "What is given up before it is sent?",
            "Items dropped by cause: queue or spool full, too old, too many retries.",
            "cps",
            (Query(own_rate("otlp_exporter_dropped_items_total", ("signal", "cause")), legend("signal", "cause")),),
            width=8,
        ),
        Panel(
            "How full are the queues?",
            "Items that wait in memory, of those that may.",
            "percentunit",
            (
                Query(
                    by_node("(otlp_exporter_queue_size / (otlp_exporter_queue_capacity > 0))", "signal"),
                    legend(NODE_LABEL, "signal"),
                ),
            ),
            width=8,
            bad_from=0.8,
        ),
        Panel(
            "How much waits on disk?",
            "Bytes in the spool, where an endpoint that is away makes them wait.",
            "bytes",
            (Query(by_node("otlp_exporter_spool_bytes", "signal"), legend(NODE_LABEL, "signal")),),
            width=8,
        ),
        Panel(
            "How long ago was the last success?",
            "Per node and signal; it grows while the endpoint is away.",
            "s",
            (Query(by_node(f"({AGE})", "signal"), legend(NODE_LABEL, "signal")),),
            width=8,
            bad_from=600,
        ),
        Panel(
            "Does the spool work?",
            "Agents by what their spool does: off, ok, or memory_only while its disk cannot be used.",
            "none",
            (Query(grouped("otlp_exporter_spool_state", ("signal", "state")), legend("signal", "state")),),
        ),
        Panel(
            "How often must a request be sent again?",
            "Retries by signal.",
            "cps",
            (Query(own_rate("otlp_exporter_retries_total", ("signal",)), legend("signal")),),
        ),
    ),
)
