"""A real OTLP receiver for tests: the official services over gRPC and HTTP, which record what comes and misbehave on demand.

Example::

    with OtlpReceiver() as receiver:
        run_agent("--otlp-endpoint", receiver.grpc)
        receiver.wait(lambda: "obi.tcp.connects" in receiver.points())
"""

from obi_core.testing.otlp.behaviour import Behaviour, Received
from obi_core.testing.otlp.certificates import Certificates, make_certificates
from obi_core.testing.otlp.drive import Clock, Drive, encoded, received_ids
from obi_core.testing.otlp.receiver import SIGNALS, OtlpReceiver, attributes_of

__all__ = [
    "SIGNALS",
    "Behaviour",
    "Certificates",
    "Clock",
    "Drive",
    "OtlpReceiver",
    "Received",
    "attributes_of",
    "encoded",
    "make_certificates",
    "received_ids",
]
