"""When the exporter's certificates end, as its metrics say it, over a renewal under a real TLS connection."""

import pytest

from obi_core.bus import Bus
from obi_core.settings import load_settings
from obi_core.sinks.otlp import OtlpSink
from obi_core.sinks.otlp.certificate import not_after
from obi_core.testing.otlp import OtlpReceiver, make_certificates

NAME = "otlp_exporter_certificate_expiry_timestamp_seconds"


@pytest.fixture
def certificates(tmp_path):
    return make_certificates(tmp_path / "tls")


@pytest.fixture
def start():
    bus, sinks = Bus(None), []
    bus.start()

    def made(endpoint, folder):
        overrides = {"otlp.endpoint": f"https://{endpoint}", "otlp.tls_dir": str(folder), "otlp_traces.enabled": False}
        sink = OtlpSink.create(load_settings(None, {}, overrides).core, {})
        sinks.append(sink)
        sink.start(bus)
        return sink

    yield made
    for sink in sinks:
        sink.stop()
    assert bus.stop(10)


def ends(sink, signal="metrics"):
    (metric,) = [each for each in sink.own() if each.instrument.name == NAME]
    points = [(dict(point.attributes), point.value) for point in metric.points]
    return {labels["certificate"]: value for labels, value in points if labels["signal"] == signal}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_when_the_certificates_end_is_known_from_the_start_and_follows_a_renewal(start, certificates, tmp_path, protocol):
    folder = certificates.renew(tmp_path / "certs", days=5)
    (folder / "ca.crt").write_bytes(certificates.ca.read_bytes())
    (client,), (ca,) = not_after((folder / "tls.crt").read_text()), not_after(certificates.ca.read_text())
    with OtlpReceiver(tls=certificates, ask_client=True) as receiver:
        sink = start(getattr(receiver, protocol), folder)
        assert ends(sink) == {"client": client, "ca": ca}
        assert ends(sink, "traces") == {"client": 0, "ca": 0}, "it is not exported"
        fresh = certificates.renew(tmp_path / "fresh", days=20)
        for name in ("tls.key", "tls.crt"):
            (fresh / name).replace(folder / name)
        sink.flush(10)
        (renewed,) = not_after((folder / "tls.crt").read_text())
        assert renewed > client
        assert ends(sink) == {"client": renewed, "ca": ca}


def test_of_a_ca_bundle_the_last_one_counts(start, certificates, tmp_path):
    folder = certificates.renew(tmp_path / "certs")
    other = make_certificates(tmp_path / "other")
    short = certificates.renew(tmp_path / "short", days=1) / "tls.crt"
    (folder / "ca.crt").write_text(short.read_text() + other.ca.read_text() + certificates.ca.read_text())
    with OtlpReceiver(tls=certificates, ask_client=True) as receiver:
        sink = start(receiver.http, folder)
        assert ends(sink)["ca"] == max(not_after(other.ca.read_text()) + not_after(certificates.ca.read_text()))
