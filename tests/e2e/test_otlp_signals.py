"""Every signal on its way from the bus to a real receiver: both protocols, TLS, certificates that change, tenants, secrets."""

import logging
import os
import threading
import time

import pytest

from obi_core.bus import Bus
from obi_core.errors import ConfigError
from obi_core.model import Instrument, Kind, LogEvent, Observation, Owner, Severity, Span
from obi_core.resolver import Subject
from obi_core.settings import CoreSettings, load_settings
from obi_core.sinks.otlp import OtlpSink
from obi_core.testing.otlp import Behaviour, OtlpReceiver, attributes_of, make_certificates

CONNECTS = Instrument("obi.tcp.connects", Kind.COUNTER, "{connection}", "Connects.", headline=({},))
CURL = Owner(7, 1, 1, "curl")
RESOURCE = {"service.name": "obi", "app": "obi"}


class Names:
    def resolve(self, owner):
        return Subject({"process.executable.name": owner.comm})


@pytest.fixture
def bus():
    made = Bus(Names())
    made.register("tcp", "obi-plugin-tcp 1.2", (CONNECTS,))
    made.start()
    yield made
    assert made.stop(10)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def send(bus):
    started = []

    def made(settings):
        sink = OtlpSink.create(settings, RESOURCE)
        bus.add_own(sink.own)
        sink.start(bus)
        started.append(sink)
        return sink

    yield made
    for sink in started:
        sink.stop()


def observe(bus):
    bus.publish(
        "tcp",
        1,
        [
            Observation(CONNECTS, 1, 23, CURL),
            Span("tcp connect", 10, 20, CURL, {"network.peer.port": 80}, "refused", ("c", 1)),
            LogEvent("obi.tcp.reset", 30, "reset received", CURL, {"cause": "x"}, ("c", 1), Severity.WARN),
        ],
    )


def settings(endpoint, *, own_spans_every=6, **otlp):
    chosen = {"endpoint": endpoint, "interval_s": 3600.0, "batch_age_s": 3600.0, **otlp}
    return CoreSettings(agent={"own_spans_every": own_spans_every}, otlp=chosen)


def assert_all_arrived(receiver, protocol):
    assert {received.protocol for received in receiver.requests} == {protocol}
    assert {received.signal for received in receiver.requests} == {"traces", "metrics", "logs"}
    assert receiver.points()["obi.tcp.connects"] == {(): 0, (("process.executable.name", "curl"),): 23}
    (span,) = [span for span in receiver.spans() if span.name == "tcp connect"]
    (record,) = receiver.logs()
    assert (record.trace_id, record.span_id) == (span.trace_id, span.span_id)
    assert attributes_of(span) == {
        "process.executable.name": "curl",
        "process.pid": 7,
        "network.peer.port": 80,
        "error.type": "refused",
    }
    assert (record.event_name, record.severity_text, record.body.string_value) == ("obi.tcp.reset", "WARN", "reset received")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("tls", ["none", "server", "mutual"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_three_signals_arrive_over_either_protocol_with_and_without_tls(bus, send, certificates, protocol, tls, compression):
    secure = {} if tls == "none" else {"tls": certificates, "ask_client": tls == "mutual"}
    with OtlpReceiver(**secure) as receiver:
        address = getattr(receiver, protocol)
        endpoint = address if tls == "none" else f"https://{address}"
        files = {"none": {}, "server": {"ca_file": str(certificates.ca)}, "mutual": {"tls_dir": str(certificates.client)}}
        sink = send(
            settings(endpoint, protocol=protocol, compression=compression, headers={"X-Scope-OrgID": "t1"}, **files[tls])
        )
        sink.flush(10)
        observe(bus)
        sink.flush(10)
        assert_all_arrived(receiver, protocol)
        assert {received.headers["x-scope-orgid"] for received in receiver.requests} == {"t1"}
        if protocol == "http":
            assert {received.headers.get("content-encoding", "none") for received in receiver.requests} == {compression}
            assert all(bool(received.client) is (tls == "mutual") for received in receiver.requests)


def test_each_signal_may_have_an_endpoint_a_protocol_and_a_tenant_of_its_own(bus, send):
    with (
        OtlpReceiver(("traces",)) as tempo,
        OtlpReceiver(paths={"metrics": "/otlp/v1/metrics"}) as mimir,
        OtlpReceiver(paths={"logs": "/otlp/v1/logs"}) as loki,
    ):
        environ = {
            "OBI_OTLP__HEADERS": "x-scope-orgid=all,x-common=1",
            "OBI_OTLP_TRACES__ENDPOINT": tempo.grpc,
            "OBI_OTLP_TRACES__PROTOCOL": "grpc",
            "OBI_OTLP_METRICS__ENDPOINT": f"http://{mimir.http}/otlp/v1/metrics",
            "OBI_OTLP_LOGS__ENDPOINT": f"http://{loki.http}/otlp/v1/logs",
            "OBI_OTLP_LOGS__HEADERS": "x-scope-orgid=loki",
        }
        sink = send(load_settings(None, environ, {}).core)
        observe(bus)
        sink.flush(10)
        assert {received.signal for received in tempo.requests} == {"traces"}
        assert {received.path for received in mimir.requests} == {"/otlp/v1/metrics"}
        assert {received.path for received in loki.requests} == {"/otlp/v1/logs"}
        assert [loki.requests[0].headers[name] for name in ("x-scope-orgid", "x-common")] == ["loki", "1"]
        assert mimir.requests[0].headers["x-scope-orgid"] == "all"


def test_a_header_file_is_read_again_when_it_changes(bus, send, tmp_path):
    token = tmp_path / "token"
    token.write_text("Bearer one\n")
    with OtlpReceiver() as receiver:
        sink = send(settings(receiver.http, header_files={"authorization": str(token)}))
        sink.flush(10)
        token.write_text("Bearer twenty-two\n")
        sink.flush(10)
        seen = list(dict.fromkeys(received.headers["authorization"] for received in receiver.of("metrics")))
        assert seen == ["Bearer one", "Bearer twenty-two"]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_certificates_change_under_load_without_losing_a_request(bus, send, certificates, tmp_path, protocol):
    """As the kubelet does it: the folder is a link, and a new folder takes the old one's place."""
    link = tmp_path / "certs"
    link.symlink_to(certificates.renew(tmp_path / "0"))
    with OtlpReceiver(tls=certificates, ask_client=True) as receiver:
        endpoint = f"https://{getattr(receiver, protocol)}"
        sink = send(settings(endpoint, protocol=protocol, tls_dir=str(link), batch_age_s=0.01, timeout_s=5.0))
        stop = threading.Event()
        made = []

        def load():
            while not stop.is_set():
                bus.publish("tcp", 1, [LogEvent("x", 1, "x", None, {"id": len(made)})], whole=False)
                made.append(1)
                time.sleep(0.002)

        thread = threading.Thread(target=load)
        thread.start()
        for number in range(1, 6):
            before = len(made)
            receiver.wait(lambda before=before: len(receiver.logs()) > before)
            folder, fresh = certificates.renew(tmp_path / str(number)), tmp_path / "fresh"
            fresh.symlink_to(folder)
            fresh.replace(link)
        last = len(made)
        receiver.wait(lambda: len(receiver.logs()) > last)
        stop.set()
        thread.join(10)
        sink.flush(10)
        assert sorted(attributes_of(record)["id"] for record in receiver.logs()) == list(range(len(made)))
        tally = sink.tally("logs")
        assert (tally.sent, tally.retries, sum(tally.dropped.values()), sum(tally.failed.values())) == (len(made), 0, 0, 0)
        if protocol == "http":
            assert len({received.client for received in receiver.requests}) == 6


def test_certificates_that_do_not_fit_together_leave_the_old_ones_in_use(bus, send, certificates, tmp_path, caplog):
    folder = certificates.renew(tmp_path / "certs")
    other = certificates.renew(tmp_path / "other")
    with OtlpReceiver(tls=certificates, ask_client=True) as receiver:
        sink = send(settings(f"https://{receiver.http}", tls_dir=str(folder)))
        sink.flush(10)
        (folder / "tls.key").write_bytes((other / "tls.key").read_bytes())
        sink.flush(10)
        assert sink.tally("metrics").retries == 0
        assert len({received.client for received in receiver.requests}) == 1
        assert "TLS files have changed and cannot be used; the old ones stay in use" in caplog.text


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_an_endpoint_that_is_not_who_it_should_be_gets_nothing(bus, send, certificates, tmp_path, protocol, caplog):
    stranger = make_certificates(tmp_path / "stranger")
    with OtlpReceiver(tls=certificates) as receiver:
        endpoint = f"https://{getattr(receiver, protocol)}"
        send(settings(endpoint, protocol=protocol, ca_file=str(stranger.ca))).flush(5)
        send(settings(endpoint, protocol=protocol, ca_file=str(certificates.ca), server_name="elsewhere")).flush(5)
        assert receiver.requests == []
        send(settings(endpoint, protocol=protocol, ca_file=str(certificates.ca), server_name="localhost")).flush(5)
        receiver.wait(lambda: bool(receiver.requests))
    if protocol == "http":
        assert "the endpoint's certificate is not trusted: " in caplog.text


def refused(**otlp):
    with pytest.raises(ConfigError) as raised:
        OtlpSink.create(settings("https://collector:4318", **otlp), {})
    return str(raised.value)


def test_what_is_wrong_with_a_file_is_found_at_the_start_and_names_the_key_and_the_file(certificates, tmp_path):
    good, other = certificates.client, certificates.renew(tmp_path / "other")
    expired = certificates.renew(tmp_path / "expired", days=-1)
    junk, lines, absent, empty = tmp_path / "junk", tmp_path / "lines", tmp_path / "absent", tmp_path / "empty"
    junk.write_text("not a certificate")
    lines.write_text("Bearer a\nX-Evil: 1\n")
    empty.mkdir()
    certificate, key = str(good / "tls.crt"), str(good / "tls.key")
    assert refused(ca_file=str(absent)) == f"otlp.ca_file: {absent} cannot be read: No such file or directory"
    assert refused(ca_file=str(junk)) == f"otlp.ca_file: {junk} holds no certificate in PEM"
    assert refused(cert_file=certificate) == (
        "otlp.key_file: a certificate and its key belong together; one of them is missing"
    )
    assert refused(cert_file=certificate, key_file=str(other / "tls.key")) == (
        f"otlp.key_file: the key in {other / 'tls.key'} is not that of the certificate in {certificate}"
    )
    assert refused(cert_file=certificate, key_file=str(junk)) == (
        f"otlp.key_file: {junk} holds no key in PEM without a password"
    )
    assert refused(cert_file=str(junk), key_file=key) == f"otlp.cert_file: {junk} holds no certificate in PEM"
    assert refused(tls_dir=str(expired)).startswith(f"otlp.tls_dir: the certificate in {expired / 'tls.crt'} expired on 20")
    assert refused(tls_dir=str(empty)) == f"otlp.tls_dir: {empty} holds none of ca.crt, tls.crt and tls.key"
    assert refused(header_files={"Authorization": str(lines)}) == (
        f"otlp.header_files.authorization: {lines} holds a line break, which no header may; write the value on one line"
    )
    assert (
        refused(header_files={"a": str(absent)}) == f"otlp.header_files.a: {absent} cannot be read: No such file or directory"
    )
    assert refused(headers={"bad name": "x"}) == "otlp.headers.bad name: this is no name of a header"
    assert refused(headers={"a": "x\ny"}) == (
        "otlp.headers.a: it holds a line break, which no header may; write the value on one line"
    )
    assert refused(headers={"content-length": "5"}) == (
        "otlp.headers.content-length: this header is set by the protocol; leave it out"
    )
    assert refused(protocol="grpc", tls_min_version="1.3") == (
        "otlp.tls_min_version: gRPC cannot be held to TLS 1.3; use HTTP or say 1.2"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="a file that root may not read does not exist")
def test_tls_1_3_can_be_asked_for(bus, send, certificates):
    with OtlpReceiver(tls=certificates) as receiver:
        send(settings(f"https://{receiver.http}", ca_file=str(certificates.ca), tls_min_version="1.3")).flush(10)
        receiver.wait(lambda: bool(receiver.requests))


def test_a_planted_secret_is_nowhere_in_what_we_say(bus, send, caplog, tmp_path):
    secret, filed, tenant = "hunter2-correct-horse", "s3cr3t-battery-staple", "t7"
    token = tmp_path / "token"
    token.write_text(f"Bearer {filed}")
    caplog.set_level(logging.DEBUG)
    with OtlpReceiver() as receiver:
        # a store that echoes what it was sent
        echo = f"bad token Bearer {secret} or {filed} of tenant {tenant}, said 429 t77"
        receiver.behaviour = Behaviour(status=400, code="INVALID_ARGUMENT", body=echo)
        for protocol in ("http", "grpc"):
            chosen = settings(
                getattr(receiver, protocol),
                protocol=protocol,
                headers={"x-token": f"Bearer {secret}", "x-scope-orgid": tenant},
                header_files={"authorization": str(token)},
            )
            send(chosen).flush(10)
            assert secret not in repr(chosen)
        assert receiver.refused
    said = "\n".join([record.getMessage() for record in caplog.records] + [repr(metric) for metric in bus.metrics()])
    assert "bad token ***" in said
    assert (secret in said, filed in said, f" {tenant}," in said) == (False, False, False)
    assert "429 t77" in said


def test_every_exporter_series_is_there_as_zero_without_an_endpoint():
    from obi_core.sinks.builtin import obi_register_sinks

    sinks = [made for made in (sink.create(CoreSettings(), {}) for sink in obi_register_sinks()) if made is not None]
    metrics = {metric.instrument.name: metric for sink in sinks for metric in sink.own()}
    expected = {
        "sent_items_total", "failed_items_total", "dropped_items_total", "queue_size", "queue_capacity", "spool_bytes",
        "request_seconds", "retries_total", "rejected_items_total", "last_success_timestamp_seconds",
        "certificate_expiry_timestamp_seconds",
    }  # fmt: skip
    assert {f"otlp_exporter_{name}" for name in expected} <= metrics.keys()
    for name in expected:
        points = metrics[f"otlp_exporter_{name}"].points
        assert {dict(point.attributes)["signal"] for point in points} == {"traces", "metrics", "logs"}
        assert {point.value for point in points} == {0}


def test_an_export_becomes_a_span_of_the_agents_own_one_in_so_many(bus, send):
    with OtlpReceiver() as receiver:
        sink = send(settings(receiver.http, own_spans_every=1, interval_s=0.05, batch_age_s=0.05))
        receiver.wait(lambda: len([span for span in receiver.spans() if span.name == "obi export"]) >= 3)
        sink.stop()
        span = next(span for span in receiver.spans() if span.name == "obi export")
        assert attributes_of(span)["obi.export.items"] > 10
        assert span.end_time_unix_nano > span.start_time_unix_nano


def test_no_export_becomes_a_span_if_none_shall(bus, send):
    with OtlpReceiver() as receiver:
        send(settings(receiver.http, own_spans_every=0, interval_s=0.02, batch_age_s=0.02))
        receiver.wait(lambda: len(list(receiver.of("metrics"))) >= 5)
        assert receiver.spans() == []
