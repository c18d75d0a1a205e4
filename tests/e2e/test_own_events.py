"""What the agent tells of itself in traces and logs: a quiet node is seen too, and a log leads to its span."""

import signal

from obi_core.testing.otlp import OtlpReceiver, attributes_of

PROBE = """
import pluggy
from obi_core import Instrument, Kind, LogEvent, Mode, Observation, Probe, Severity, Span
X = Instrument("obi.NAME.x", Kind.COUNTER, "{x}", "X.", headline=({},))
class Sample(Probe):
    name = "NAME"
    instruments = (X,)
    modes = (Mode("first"),)
    def collect(self):
        BODY
@pluggy.HookimplMarker("obi")
def obi_register_probes():
    return [Sample]
"""
QUIET = 'return [Observation(X, 1, 5), LogEvent("obi.quiet.e", 1, "e", None, {}, 7, Severity.ERROR), Span("s", 1, 2, link=7)]'


def run(start_obi, plugin_folder, receiver, until, **environ):
    plugin_folder("quiet", PROBE.replace("NAME", "quiet").replace("BODY", QUIET))
    folder = plugin_folder("broken", PROBE.replace("NAME", "broken").replace("BODY", 'raise ValueError("no luck")'))
    ports = ("--http-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    agent = start_obi(
        "run", "--plugins", "quiet,broken", "--interval", "200ms", "--view", "off", *ports,
        "--otlp-endpoint", receiver.http, PYTHONPATH=str(folder), OBI_OTLP__INTERVAL_S="200ms", OBI_OTLP__BATCH_AGE_S="200ms",
        **environ,
    )  # fmt: skip
    receiver.wait(until)
    agent.send_signal(signal.SIGTERM)
    _, err = agent.communicate(timeout=15)
    assert agent.returncode == 0, err


def test_probes_that_change_and_a_sample_of_collections_and_exports_arrive_and_each_log_leads_to_its_span(
    start_obi, plugin_folder
):
    with OtlpReceiver() as receiver:

        def names():
            return {span.name for span in receiver.spans()}

        wanted = {"obi collect", "obi export", "obi probe attached", "obi probe failed", "s"}
        run(start_obi, plugin_folder, receiver, lambda: wanted <= names() and len(receiver.logs()) > 3)
        logs = [record for record in receiver.logs() if record.event_name == "obi.probe.changed"]
        spans = {(span.trace_id, span.span_id): span for span in receiver.spans()}
        told = {(attributes_of(record)["obi.probe.name"], attributes_of(record)["obi.probe.state"]) for record in logs}
        assert {("quiet", "attached"), ("broken", "attached"), ("broken", "failed")} <= told
        for record in logs:
            span = spans[record.trace_id, record.span_id]
            state = attributes_of(record)["obi.probe.state"]
            assert span.name == f"obi probe {state}"
            assert (state == "failed") == ("error.type" in attributes_of(span)) == (record.severity_text == "WARN")
            assert span.end_time_unix_nano == record.time_unix_nano
        assert any("no luck" in record.body.string_value for record in logs)
        own = next(record for record in receiver.logs() if record.event_name == "obi.quiet.e")
        assert spans[own.trace_id, own.span_id].name == "s"
        assert own.severity_text == "ERROR"
        scopes = {
            (scope.scope.name, scope.scope.version)
            for received in receiver.of("traces")
            for scope in received.message.resource_spans[0].scope_spans
        }
        assert {name for name, _ in scopes} == {"obi-core", "obi-plugin-quiet"}
        assert ("obi-plugin-quiet", "1.0") in scopes


def test_own_spans_can_be_turned_off(start_obi, plugin_folder):
    with OtlpReceiver() as receiver:
        many = lambda: len(list(receiver.of("metrics"))) >= 4  # noqa: E731 - a condition
        run(start_obi, plugin_folder, receiver, many, OBI_AGENT__OWN_SPANS_EVERY="0")
        assert not {"obi collect", "obi export"} & {span.name for span in receiver.spans()}
