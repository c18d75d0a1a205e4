"""What people write as an OTLP endpoint."""

import pytest

from obi_core.errors import ConfigError
from obi_core.sinks.otlp.diagnosis import FailureLog, diagnose
from obi_core.sinks.otlp.endpoint import parse_endpoint
from obi_core.sinks.otlp.outcome import Outcome, Verdict

FORMS = "write HOST:PORT, http://HOST:PORT/PATH or https://HOST:PORT/PATH"


@pytest.mark.parametrize(
    ("written", "protocol", "expected", "url"),
    [
        ("collector:4317", "auto", "grpc", "http://collector:4317"),
        ("collector:4318", "auto", "http", "http://collector:4318/v1/metrics"),
        ("10.0.0.1:80", "auto", "http", "http://10.0.0.1:80/v1/metrics"),
        ("[::1]:4317", "auto", "grpc", "http://[::1]:4317"),
        ("[::1]:4318", "auto", "http", "http://[::1]:4318/v1/metrics"),
        (" collector:4317 ", "http", "http", "http://collector:4317/v1/metrics"),
        ("collector:9000", "grpc", "grpc", "http://collector:9000"),
        ("https://collector:4317", "auto", "grpc", "https://collector:4317"),
        ("https://collector:4318", "auto", "http", "https://collector:4318/v1/metrics"),
        ("https://otlp.example.com", "auto", "http", "https://otlp.example.com:443/v1/metrics"),
        ("https://otlp.example.com/", "grpc", "grpc", "https://otlp.example.com:443"),
        ("http://collector", "grpc", "grpc", "http://collector:4317"),
        ("http://collector", "auto", "http", "http://collector:4318/v1/metrics"),
        ("http://mimir:8080/otlp/v1/metrics", "auto", "http", "http://mimir:8080/otlp/v1/metrics"),
        ("http://mimir:4317/otlp/v1/metrics?a=b", "auto", "http", "http://mimir:4317/otlp/v1/metrics?a=b"),
    ],
)
def test_port_4317_means_grpc_and_anything_else_http(written, protocol, expected, url):
    endpoint = parse_endpoint(written, protocol)
    assert (endpoint.protocol, endpoint.url("metrics")) == (expected, url)
    assert endpoint.secure is written.startswith("https")


@pytest.mark.parametrize(
    "written", ["collector", "collector:0", "collector:x", ":4317", "ftp://a:1", "a:1/x", "http://", "http://[::1:4"]
)
def test_what_is_no_endpoint_is_refused(written):
    with pytest.raises(ConfigError) as raised:
        parse_endpoint(written)
    assert str(raised.value) == f"otlp.endpoint: {written} is no endpoint; {FORMS}"
    assert raised.value.key == "otlp.endpoint"


def test_grpc_with_a_path_is_refused():
    with pytest.raises(ConfigError, match="has a path, which gRPC has not; leave it out or say --otlp-protocol http"):
        parse_endpoint("http://mimir:8080/otlp/v1/metrics", "grpc")


def test_credentials_in_the_endpoint_are_refused_and_not_repeated():
    with pytest.raises(ConfigError) as raised:
        parse_endpoint("https://me:secret@collector:4318")
    assert str(raised.value) == "otlp.endpoint: the endpoint holds a user name; give credentials in otlp.headers instead"


@pytest.mark.parametrize(
    ("endpoint", "status", "text", "says"),
    [
        ("mimir:4317", "UNIMPLEMENTED", "unknown service", "Mimir: /otlp/v1/metrics"),
        ("mimir:4317", "UNIMPLEMENTED", "unknown service", "otlp_metrics.endpoint: http://HOST:PORT/PATH"),
        ("loki:3100", "404", "", "loki:3100/v1/metrics takes no OTLP metrics; set otlp_metrics.endpoint to the full URL"),
        ("cortex:80", "401", "no org id", "cortex:80 wants a tenant; set X-Scope-OrgID in otlp_metrics.headers (401)"),
        (
            "tempo:4317",
            "UNAVAILABLE",
            "No Org ID",
            "tempo:4317 wants a tenant; set X-Scope-OrgID in otlp_metrics.headers (UNAVAILABLE)",
        ),
        ("c:4317", "PERMISSION_DENIED", "x", "c:4317 does not let us in; set a token"),
        (
            "c:4317",
            "UNAVAILABLE",
            "Trying to connect an http1.x server",
            "c:4317 speaks HTTP, not gRPC; set otlp_metrics.protocol: http",
        ),
        ("c:4318", "500", "boom", "boom (500)"),
        ("c:4318", "", "no answer within 10 s", "no answer within 10 s"),
    ],
)
def test_a_failure_is_said_with_its_remedy(endpoint, status, text, says):
    assert says in diagnose(parse_endpoint(endpoint), "metrics", Outcome(Verdict.AGAIN, status, text))


def test_each_kind_of_failure_is_logged_once_a_minute_and_the_recovery_after_a_failure_that_was(caplog):
    caplog.set_level("INFO")
    now = [0.0]
    log = FailureLog("metrics", "http://c", lambda: now[0])
    log.succeeded()
    for now[0] in (0.0, 10.0, 59.0, 60.0, 70.0, 120.0):
        log.failed(Verdict.AGAIN, "refused")
    log.succeeded()
    log.succeeded()
    for now[0] in (121.0, 130.0, 140.0):  # flapping
        log.failed(Verdict.AGAIN, "refused")
        log.succeeded()
    log.failed(Verdict.NEVER, "not here")
    log.failed(Verdict.NEVER, "not here")
    log.rejected(3, "too old")
    log.rejected(3, "too old")
    log.dropped("queue_full", 5, "the queue is full")
    now[0] = 180.0
    log.failed(Verdict.AGAIN, "refused")
    assert [record.getMessage() for record in caplog.records] == [
        "cannot export metrics to http://c: refused",
        "still cannot export metrics to http://c after 4 attempts: refused",
        "still cannot export metrics to http://c after 6 attempts: refused",
        "metrics are exported to http://c again, after 6 failed attempts",
        "cannot export metrics to http://c, and it will not be tried again: not here",
        "http://c took metrics but rejected 3 of them: too old",
        "5 metrics for http://c are lost: the queue is full",
        "still cannot export metrics to http://c after 3 attempts: refused",
    ]
