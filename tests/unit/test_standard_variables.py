"""OpenTelemetry's own variables work as users expect, and OBI's own settings win over them."""

import pytest

from obi_core.errors import ConfigError
from obi_core.settings import Origin, load_settings
from obi_core.sinks.otlp.transport import destination

BASE = "OTEL_EXPORTER_OTLP_"


def load(environ=(), overrides=(), directory=None):
    return load_settings(directory, dict(environ), dict(overrides))


def urls(settings):
    return [destination(settings.core.export(signal)).url for signal in ("traces", "metrics", "logs")]


def test_the_common_endpoint_is_a_base_and_one_of_a_signal_is_taken_as_it_stands():
    settings = load({f"{BASE}ENDPOINT": "http://c:4318/base/", f"{BASE}TRACES_ENDPOINT": "http://t:3200/x"})
    assert urls(settings) == ["http://t:3200/x", "http://c:4318/base/v1/metrics", "http://c:4318/base/v1/logs"]
    assert str(settings.origin("otlp_traces.endpoint")) == f"{BASE}TRACES_ENDPOINT"
    assert settings.origin("otlp.endpoint").origin is Origin.STANDARD


def test_an_endpoint_of_ours_wins_over_both_and_a_signals_own_over_the_common_one():
    environ = {f"{BASE}ENDPOINT": "http://c:4318", f"{BASE}TRACES_ENDPOINT": "http://t:3200/x"}
    assert urls(load({**environ, "OBI_OTLP__ENDPOINT": "o:4318"})) == [
        f"http://o:4318/v1/{s}" for s in ("traces", "metrics", "logs")
    ]
    settings = load({**environ, "OBI_OTLP_METRICS__ENDPOINT": "m:4318"})
    assert urls(settings) == ["http://t:3200/x", "http://m:4318/v1/metrics", "http://c:4318/v1/logs"]


def test_everything_else_is_read_too_in_the_units_of_the_specification():
    settings = load(
        {
            f"{BASE}ENDPOINT": "http://c:4318",
            f"{BASE}PROTOCOL": "grpc",
            f"{BASE}LOGS_PROTOCOL": "http/protobuf",
            f"{BASE}HEADERS": "Authorization=Bearer%20x,a=b",
            f"{BASE}LOGS_HEADERS": "a=c",
            f"{BASE}TIMEOUT": "1500",
            f"{BASE}COMPRESSION": "none",
            f"{BASE}CERTIFICATE": "/ca",
            f"{BASE}CLIENT_CERTIFICATE": "/crt",
            f"{BASE}CLIENT_KEY": "/key",
            f"{BASE}METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "explicit_bucket_histogram",
            "OTEL_METRIC_EXPORT_INTERVAL": "30000",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_SERVICE_NAME": "edge",
        }
    )
    core = settings.core
    logs, metrics = core.export("logs").settings, core.export("metrics").settings
    assert core.export("traces") is None
    assert (logs.protocol, metrics.protocol, metrics.timeout_s, metrics.compression) == ("http", "grpc", 1.5, "none")
    assert {name: value.get_secret_value() for name, value in logs.headers.items()} == {"authorization": "Bearer x", "a": "c"}
    assert (metrics.ca_file, metrics.cert_file, metrics.key_file, metrics.interval_s) == ("/ca", "/crt", "/key", 30.0)
    assert core.otlp_metrics.histograms == "explicit"
    assert core.resource.attributes == {"service.name": "edge"}


@pytest.mark.parametrize("key", ["timeout_s", "protocol", "compression"])
def test_our_own_word_for_all_signals_wins_over_a_variable_of_one(key):
    environ = {
        f"{BASE}ENDPOINT": "http://c:4318",
        f"{BASE}TRACES_TIMEOUT": "1000",
        f"{BASE}TRACES_PROTOCOL": "grpc",
        f"{BASE}TRACES_COMPRESSION": "none",
    }
    given = {"timeout_s": 3.0, "protocol": "http", "compression": "gzip"}[key]
    assert getattr(load(environ, {f"otlp.{key}": given}).core.export("traces").settings, key) == given


def test_insecure_false_makes_an_endpoint_without_a_scheme_one_with_tls():
    assert urls(load({f"{BASE}ENDPOINT": "c:4317", f"{BASE}INSECURE": "false"}))[0] == "https://c:4317"
    assert urls(load({f"{BASE}ENDPOINT": "c:4317", f"{BASE}INSECURE": "true"}))[0] == "http://c:4317"
    assert urls(load({f"{BASE}ENDPOINT": "c:4317"}))[0] == "http://c:4317"


def test_a_variable_that_is_empty_is_not_set():
    assert load({f"{BASE}ENDPOINT": "", f"{BASE}TIMEOUT": " "}).core == load().core


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PROTOCOL", "http/json", '"http/json" is not spoken here; use grpc or http/protobuf'),
        ("TIMEOUT", "10s", "must be a whole number of milliseconds above 0"),
        ("HEADERS", "hunter2", "must be key=value pairs separated by commas"),
        ("COMPRESSION", "zstd", "otlp.compression: \"zstd\" is not allowed; it must be 'none' or 'gzip'"),
        ("METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "x", '"x" is unknown; use explicit_bucket_histogram or base2_ex'),
    ],
)
def test_a_value_that_cannot_be_meant_names_the_variable(name, value, says):
    with pytest.raises(ConfigError) as raised:
        load({f"{BASE}{name}": value})
    assert str(raised.value).startswith(f"{BASE}{name}: {says}")
    assert "hunter2" not in str(raised.value)
