"""The official OTLP exporters, chosen by endpoint, and what they say about a failure.

The exporters answer a request with yes or no and tell the reason only to their log. So this module listens there: on the
sink's own thread their records are taken, not printed.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from threading import get_ident
from typing import TYPE_CHECKING, Final

from obi_core.sinks.endpoint import Endpoint

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter

_LOGGERS: Final = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.grpc.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.common.http",
)


def make_exporter(endpoint: Endpoint, headers: Mapping[str, str], timeout_s: float, *, gzip: bool) -> "MetricExporter":
    """Make the exporter for `endpoint`. TLS files come from the standard `OTEL_EXPORTER_OTLP_*` variables.

    Args:
        endpoint: Where to.
        headers: Sent with every request.
        timeout_s: Time for one request with all its retries, s.
        gzip: Whether requests are compressed.
    """
    if endpoint.protocol == "grpc":
        from grpc import Compression as GrpcCompression  # 16 MB, for those who use it
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter

        return GrpcExporter(
            endpoint=endpoint.url("metrics"),
            insecure=not endpoint.secure,
            headers=tuple((name.lower(), value) for name, value in headers.items()),
            timeout=timeout_s,
            compression=GrpcCompression.Gzip if gzip else GrpcCompression.NoCompression,
        )
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter(
        endpoint=endpoint.url("metrics"),
        headers=dict(headers),
        timeout=timeout_s,
        compression=Compression.Gzip if gzip else Compression.NoCompression,
    )


class Overheard(logging.Filter):
    """What the exporters said on this thread since the last `reset`."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = get_ident()
        self.reset()

    def reset(self) -> None:
        """Forget what was said."""
        self.retries = 0
        self.status = ""
        """gRPC's status by name, or HTTP's as a number."""
        self.text = ""
        """Their last words."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the record if it is of this thread."""
        if record.thread != self._thread:
            return True
        self.retries += record.levelno == logging.WARNING and record.msg.startswith("Transient")
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, Enum):
                self.status = argument.name
            elif isinstance(argument, int) and 100 <= argument < 600:  # noqa: PLR2004 - the range of HTTP's status codes
                self.status = str(argument)
        # "…due to timeout, max retries" says less than the transient error before it.
        if not (self.text and "max retries" in record.msg):
            self.text = record.getMessage()[:400]
        return False


@contextmanager
def overhearing() -> Iterator[Overheard]:
    """Take what the exporters log on this thread."""
    overheard = Overheard()
    loggers = [(logger, logger.level) for logger in map(logging.getLogger, _LOGGERS)]
    for logger, _ in loggers:
        # Before the exporter's own filter, which drops what it said within 20 s; and whatever level the log has.
        logger.filters.insert(0, overheard)
        logger.setLevel(logging.WARNING)
    try:
        yield overheard
    finally:
        for logger, level in loggers:
            logger.removeFilter(overheard)
            logger.setLevel(level)
