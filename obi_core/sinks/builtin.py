"""The built-in sinks, announced by the same hook as anyone's."""

from collections.abc import Iterable

import pluggy

from obi_core.sink import Sink

hookimpl = pluggy.HookimplMarker("obi")


@hookimpl
def obi_register_sinks() -> Iterable[type[Sink]]:
    """Return the Prometheus endpoint, the OTLP export and the terminal."""
    from obi_core.sinks.otlp import NoOtlp, OtlpSink  # whoever lists hooks need not pay for the sinks
    from obi_core.sinks.prometheus import PrometheusSink
    from obi_core.sinks.terminal import TerminalSink

    return (PrometheusSink, OtlpSink, NoOtlp, TerminalSink)
