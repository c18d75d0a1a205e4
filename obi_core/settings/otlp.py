"""Export over OTLP: one common section, one for each signal that may say otherwise, and the spool."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, SecretStr

from obi_core.settings.section import Section
from obi_core.settings.values import Bytes, Count, Pairs, Seconds

Signal = Literal["traces", "metrics", "logs"]
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics", "logs")


class OtlpSettings(Section):
    """Export over OTLP, for all signals; off until an endpoint is set."""

    endpoint: str | None = Field(
        None,
        min_length=1,
        description="HOST:PORT (4317 means gRPC, anything else HTTP/protobuf), `http://…` or `https://…` (TLS).",
    )
    protocol: Literal["auto", "grpc", "http"] = Field("auto", description="Transport; auto: by the endpoint.")
    interval_s: Seconds = Field(10.0, description="Time between two exports of metrics.")
    timeout_s: Seconds = Field(10.0, description="Time one request may take.")
    compression: Literal["none", "gzip"] = Field("gzip", description="How requests are compressed.")
    headers: Annotated[dict[str, SecretStr], Pairs] = Field(
        default_factory=dict, description="Headers of every request, such as a token; never printed."
    )
    header_files: Annotated[dict[str, str], Pairs] = Field(
        default_factory=dict, description="Headers whose values stand in files, read again when they change."
    )
    tls_dir: str | None = Field(
        None,
        min_length=1,
        description="Folder with `ca.crt`, `tls.crt` and `tls.key`, such as a mounted Secret; any may be absent.",
    )
    ca_file: str | None = Field(
        None, min_length=1, description="Certificates that sign the endpoint's, PEM; not set: those of the system."
    )
    cert_file: str | None = Field(None, min_length=1, description="Our certificate for mutual TLS, PEM.")
    key_file: str | None = Field(None, min_length=1, description="The key of our certificate, PEM, without a password.")
    server_name: str | None = Field(
        None, min_length=1, description="Name that the endpoint's certificate must have; not set: the endpoint's host."
    )
    tls_min_version: Literal["1.2", "1.3"] = Field("1.2", description="Oldest TLS that is spoken; gRPC knows 1.2 only.")
    batch_items: Count = Field(4_000, description="Points, spans or log records of one request.")
    batch_age_s: Seconds = Field(5.0, description="Longest wait of a span or log record for its request.")
    queue_items: Count = Field(60_000, description="Items of a signal that wait in memory; the oldest go first.")
    queue_bytes: Bytes = Field(16 << 20, description="The same in bytes of requests.")
    retry_first_s: Seconds = Field(1.0, description="Wait after the first failure; each further one doubles it.")
    retry_most_s: Seconds = Field(30.0, description="Longest wait between two tries.")
    retry_total_s: Seconds = Field(86_400.0, description="A request that was tried for so long is given up.")


class OtlpSignalSettings(OtlpSettings):
    """One signal: what is set here wins over section `otlp`, key by key."""

    inherits: ClassVar[str] = "otlp"

    enabled: bool = Field(True, description="Whether this signal is exported.")


class OtlpTracesSettings(OtlpSignalSettings):
    """Traces: what is set here wins over section `otlp`, key by key."""


class OtlpMetricsSettings(OtlpSignalSettings):
    """Metrics: what is set here wins over section `otlp`, key by key."""

    naming: Literal["otel", "prometheus"] = Field(
        "otel", description="`prometheus` sends names with unit and `_total`, for stores that do not add them (Mimir)."
    )
    histograms: Literal["exponential", "explicit"] = Field(
        "exponential", description="`explicit` sends buckets by powers of two, for stores without native histograms."
    )


class OtlpLogsSettings(OtlpSignalSettings):
    """Logs: what is set here wins over section `otlp`, key by key."""


class SpoolSettings(Section):
    """What could not be sent, on disk, so that it survives a restart."""

    directory: str | None = Field(
        None, min_length=1, description="Where the spool is kept, a file for each signal; not set: in memory only."
    )
    max_bytes: Bytes = Field(256 << 20, description="Size of one signal's spool; beyond it the oldest go.")
    max_age_s: Seconds = Field(86_400.0, description="Age past which a request is given up.")
    write: Literal["failed", "always"] = Field(
        "failed",
        description="Which requests go to disk: those that could not be sent at once, or every one before it is sent.",
    )


@dataclass(frozen=True, slots=True)
class Export:
    """How one signal is exported."""

    signal: Signal
    settings: OtlpSettings
    own: frozenset[str]
    """Keys that the signal's own section says."""

    def key(self, name: str) -> str:
        """Dotted path of the setting that counts, such as `otlp_logs.endpoint` or `otlp.endpoint`."""
        return f"otlp_{self.signal}.{name}" if name in self.own else f"otlp.{name}"


def resolved(common: OtlpSettings, own: OtlpSettings, signal: Signal) -> Export:
    """Join a signal's section with the common one: its own word wins, headers key by key.

    The common endpoint is a base for all signals: a path in it is continued with `/v1/<signal>`, once.
    """
    said = {key: getattr(own, key) for key in own.model_fields_set if key in OtlpSettings.model_fields}
    for key in ("headers", "header_files"):
        if key in said:
            said[key] = {**getattr(common, key), **said[key]}
    if "endpoint" not in said and common.endpoint:
        said["endpoint"] = _continued(common.endpoint, signal)
    return Export(signal, common.model_copy(update=said), frozenset(own.model_fields_set & said.keys()))


def _continued(endpoint: str, signal: Signal) -> str:
    scheme, separator, rest = endpoint.strip().partition("://")
    base = rest.rstrip("/")
    if not separator or "/" not in base or "?" in base:
        return endpoint
    for each in SIGNALS:
        base = base.removesuffix(f"/v1/{each}")
    return f"{scheme}://{base}/v1/{signal}"
