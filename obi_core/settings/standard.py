"""OpenTelemetry's own variables, as the weakest layer above the defaults: whatever is set in OBI's own words wins.

A variable of one signal (`OTEL_EXPORTER_OTLP_TRACES_HEADERS`) wins over the common one, and both give way to section `otlp`
where that says something of the same key. Source: OpenTelemetry specification, "OpenTelemetry Protocol Exporter" and
"Environment Variable Specification".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from obi_core.errors import ConfigError
from obi_core.settings.origin import Layer, Origin, Path, Place
from obi_core.settings.otlp import SIGNALS

_PREFIX: Final = "OTEL_EXPORTER_OTLP_"
_PROTOCOLS: Final = {"grpc": "grpc", "http/protobuf": "http"}
_AGGREGATIONS: Final = {
    "explicit_bucket_histogram": "explicit",
    "base2_exponential_bucket_histogram": "exponential",
}


def standard(environ: Mapping[str, str], stronger: Sequence[Layer]) -> Layer:
    """Read the variables.

    Args:
        environ: The environment; a variable that is set to nothing is not set.
        stronger: What was set in OBI's own words.

    Raises:
        ConfigError: A variable has a value that cannot be meant.
    """
    return _Reader({name: text for name, text in environ.items() if text.strip()}, stronger).read()


class _Reader:
    def __init__(self, environ: Mapping[str, str], stronger: Sequence[Layer]) -> None:
        self._environ, self._stronger = environ, stronger
        self._values: dict[str, dict[str, object]] = {}
        self._places: dict[Path, Place] = {}

    def read(self) -> Layer:
        for name, key, convert in _KEYS:
            self._both(name, key, convert)
        self._endpoints()
        for signal in SIGNALS:
            if self._environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip() == "none":
                self._set(f"otlp_{signal}", "enabled", False, f"OTEL_{signal.upper()}_EXPORTER")
        self._one("OTEL_METRIC_EXPORT_INTERVAL", "otlp_metrics", "interval_s", _milliseconds)
        self._one(f"{_PREFIX}METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "otlp_metrics", "histograms", _aggregation)
        self._one("OTEL_SERVICE_NAME", "resource", "attributes", _service)
        return Layer(self._values, self._places)

    def _both(self, name: str, key: str, convert: Callable[[str, str], object]) -> None:
        self._one(f"{_PREFIX}{name}", "otlp", key, convert)
        for signal in SIGNALS:
            # what section `otlp` says in our own words is not overruled by a variable of one signal
            if not self._said("otlp", key):
                self._one(f"{_PREFIX}{signal.upper()}_{name}", f"otlp_{signal}", key, convert)

    def _endpoints(self) -> None:
        self._endpoint("otlp", f"{_PREFIX}ENDPOINT")
        for signal in SIGNALS if not self._said("otlp", "endpoint") else ():
            self._endpoint(f"otlp_{signal}", f"{_PREFIX}{signal.upper()}_ENDPOINT")

    def _endpoint(self, section: str, name: str) -> None:
        written = self._environ.get(name, "").strip()
        insecure = self._environ.get(name.replace("ENDPOINT", "INSECURE")) or self._environ.get(f"{_PREFIX}INSECURE", "")
        if written and "://" not in written and insecure.strip().lower() == "false":
            written = f"https://{written}"
        if written:
            self._set(section, "endpoint", written, name)

    def _said(self, section: str, key: str) -> bool:
        return any(key in layer.values.get(section, {}) for layer in self._stronger)

    def _one(self, name: str, section: str, key: str, convert: Callable[[str, str], object]) -> None:
        if name in self._environ:
            self._set(section, key, convert(self._environ[name].strip(), name), name)

    def _set(self, section: str, key: str, value: object, name: str) -> None:
        self._values.setdefault(section, {})[key] = value
        place = Place(Origin.STANDARD, name)
        self._places[section, key] = place
        self._places.setdefault((section,), place)
        for part in value if isinstance(value, dict) else ():
            self._places[section, key, part] = place


def _text(text: str, _: str) -> str:
    return text


def _service(text: str, _: str) -> dict[str, str]:
    return {"service.name": text}


def _milliseconds(text: str, name: str) -> float:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ConfigError("must be a whole number of milliseconds above 0", file=name)
    return int(text) / 1000


def _protocol(text: str, name: str) -> str:
    if text not in _PROTOCOLS:
        raise ConfigError(f'"{text}" is not spoken here; use grpc or http/protobuf', file=name)
    return _PROTOCOLS[text]


def _aggregation(text: str, name: str) -> str:
    if text.lower() not in _AGGREGATIONS:
        raise ConfigError(f'"{text}" is unknown; use {" or ".join(_AGGREGATIONS)}', file=name)
    return _AGGREGATIONS[text.lower()]


def _headers(text: str, name: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(equals and key.strip() for key, equals, _ in pairs):
        raise ConfigError("must be key=value pairs separated by commas", file=name)
    return {unquote(key.strip()).lower(): unquote(value.strip()) for key, _, value in pairs}


_KEYS: Final[tuple[tuple[str, str, Callable[[str, str], object]], ...]] = (
    ("PROTOCOL", "protocol", _protocol),
    ("HEADERS", "headers", _headers),
    ("TIMEOUT", "timeout_s", _milliseconds),
    ("COMPRESSION", "compression", _text),
    ("CERTIFICATE", "ca_file", _text),
    ("CLIENT_CERTIFICATE", "cert_file", _text),
    ("CLIENT_KEY", "key_file", _text),
)
