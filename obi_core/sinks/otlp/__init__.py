"""Export over OTLP: bytes of three signals, a queue, a spool and a sender for each. The public surface of this package."""

from obi_core.sinks.otlp.sink import NoOtlp, OtlpSink

__all__ = ["NoOtlp", "OtlpSink"]
