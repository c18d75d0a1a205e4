"""What people write as an OTLP endpoint."""

import pytest

from obi_core.errors import ConfigError
from obi_core.sinks.endpoint import parse_endpoint
from obi_core.sinks.otlp_failure import FailureLog, diagnose

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
        ("mimir:4317", "UNIMPLEMENTED", "unknown service", "set the endpoint to http://HOST:PORT/PATH"),
        ("loki:3100", "404", "", "http://loki:3100/v1/metrics takes no OTLP metrics; set the endpoint to the full URL"),
        ("cortex:80", "401", "no org id", "cortex:80 wants a tenant; set X-Scope-OrgID in otlp.headers (401)"),
        (
            "tempo:4317",
            "UNAVAILABLE",
            "No Org ID",
            "tempo:4317 wants a tenant; set X-Scope-OrgID in otlp.headers (UNAVAILABLE)",
        ),
        ("c:4317", "PERMISSION_DENIED", "x", "c:4317 does not let us in; set a token"),
        (
            "c:4317",
            "UNAVAILABLE",
            "Trying to connect an http1.x server",
            "c:4317 speaks HTTP, not gRPC; say --otlp-protocol http",
        ),
        ("c:4318", "500", "boom", "boom"),
        ("c:4318", "", "", "nobody answered in time"),
    ],
)
def test_a_failure_is_said_with_its_remedy(endpoint, status, text, says):
    assert says in diagnose(parse_endpoint(endpoint), status, text)


def test_failures_are_logged_at_once_then_once_a_minute_and_the_recovery_at_once(caplog):
    caplog.set_level("INFO")
    now = [0.0]
    log = FailureLog("http://c", lambda: now[0])
    log.succeeded()
    for now[0] in (0.0, 10.0, 59.0, 60.0, 70.0, 120.0):
        log.failed("refused")
    log.succeeded()
    log.succeeded()
    log.failed("refused")
    assert [record.getMessage() for record in caplog.records] == [
        "cannot export metrics to http://c: refused",
        "still cannot export metrics to http://c after 4 attempts: refused",
        "still cannot export metrics to http://c after 6 attempts: refused",
        "metrics are exported to http://c again, after 6 failed attempts",
        "cannot export metrics to http://c: refused",
    ]
