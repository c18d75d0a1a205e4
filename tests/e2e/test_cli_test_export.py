"""`obi test-export`: step by step, against a real receiver."""

import json
import socket

import pytest

from obi_core.testing.otlp import Behaviour, OtlpReceiver, attributes_of, make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("tls"))


def document(done):
    return json.loads(done.stdout)["reports"]


def steps(report):
    return {step["step"]: step["ok"] for step in report["steps"]}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_one_item_of_each_signal_is_accepted_and_each_step_is_told(obi, protocol):
    with OtlpReceiver() as receiver:
        done = obi(
            "test-export", "--endpoint", getattr(receiver, protocol), "--protocol", protocol, "--headers", "x-scope-orgid=t1"
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert [received.signal for received in receiver.requests] == ["traces", "metrics", "logs"]
        assert {received.headers["x-scope-orgid"] for received in receiver.requests} == {"t1"}
        assert [span.name for span in receiver.spans()] == ["obi test-export"]
        assert receiver.points() == {"obi.export.test": {(): 1}}
        assert attributes_of(receiver.requests[0].message.resource_spans[0].resource)["service.name"] == "obi"
    lines = done.stdout.splitlines()
    assert lines[0].startswith("traces to http://127.0.0.1:")
    assert [line.split()[0:2] for line in lines[1:5]] == [["dns", "ok"], ["tcp", "ok"], ["auth", "ok"], ["otlp", "ok"]]
    assert "one item accepted (" in lines[4]
    assert lines[4].endswith(" ms")


@pytest.mark.parametrize(
    ("served", "path"),
    [
        ("traces", "/v1/traces"),
        ("metrics", "/otlp/v1/metrics"),
        ("metrics", "/api/v1/otlp/v1/metrics"),
        ("metrics", "/opentelemetry/v1/metrics"),
        ("logs", "/otlp/v1/logs"),
    ],
)
def test_without_a_protocol_the_path_of_the_store_is_found_on_the_given_port(obi, served, path):
    with OtlpReceiver((served,), paths={served: path}) as receiver:
        done = obi("test-export", "--type", served, "--endpoint", receiver.http, "--json")
        assert done.returncode == 0
        assert [received.path for received in receiver.requests] == [path]
        assert document(done)[0]["url"] == f"http://{receiver.http}{path}"


def test_without_a_protocol_grpc_is_found_on_any_port(obi):
    with OtlpReceiver() as receiver:
        done = obi("test-export", "--type", "logs", "--endpoint", receiver.grpc, "--json")
        assert done.returncode == 0
        assert document(done)[0]["protocol"] == "grpc"


def test_when_the_port_does_not_answer_the_usual_ones_are_tried_and_the_command_that_works_is_printed(obi):
    class Usual(OtlpReceiver):
        def up(self):
            self._http.port = 4318
            self._http.up()

    try:
        socket.create_server(("127.0.0.1", 4318)).close()
    except OSError as error:
        pytest.skip(f"port 4318 is taken: {error}")  # it is the usual port that is tried, and somebody else has it
    with Usual(paths={"metrics": "/otlp/v1/metrics"}) as receiver:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        done = obi("test-export", "--type", "metrics", "--endpoint", f"127.0.0.1:{port}")
        assert done.returncode == 1
        assert "  tcp   FAILED  nobody answers at" in done.stdout
        url = f"http://{receiver.http}/otlp/v1/metrics"
        command = f"obi test-export --type metrics --endpoint {url} --protocol http"
        assert f"  but this works: {command}" in done.stdout
        assert obi(*command.split()[1:]).returncode == 0


def test_tls_is_told_with_names_issuer_protocol_and_expiry(obi, certificates):
    with OtlpReceiver(tls=certificates, ask_client=True) as receiver:
        for protocol in ("http", "grpc"):
            words = ("--endpoint", f"https://{getattr(receiver, protocol)}", "--protocol", protocol)
            done = obi("test-export", "--type", "logs", *words, "--tls-dir", certificates.client, "--json")
            (report,) = document(done)
            assert (done.returncode, report["accepted"]) == (0, True)
            (detail,) = [step["detail"] for step in report["steps"] if step["step"] == "tls"]
            assert detail.startswith("TLSv1.3, ")
            assert ("h2" in detail) is (protocol == "grpc")
            assert "for localhost, 127.0.0.1, issued by OBI test CA, expires in 2" in detail


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_certificate_that_is_not_trusted_or_has_another_name_ends_at_tls(obi, certificates, protocol):
    with OtlpReceiver(tls=certificates) as receiver:
        words = (
            "test-export",
            "--type",
            "logs",
            "--endpoint",
            f"https://{getattr(receiver, protocol)}",
            "--protocol",
            protocol,
        )
        done = obi(*words, "--json")
        (report,) = document(done)
        assert (done.returncode, steps(report)) == (1, {"dns": True, "tcp": True, "tls": False})
        assert "the endpoint's certificate is not trusted: " in report["steps"][-1]["detail"]
        named = obi(*words, "--ca-file", certificates.ca, "--server-name", "elsewhere", "--json")
        assert "elsewhere" in document(named)[0]["steps"][-1]["detail"]
        assert obi(*words, "--ca-file", certificates.ca, "--server-name", "localhost").returncode == 0


@pytest.mark.parametrize(
    ("protocol", "behaviour", "step", "says"),
    [
        ("http", Behaviour(status=401, body="no org id"), "auth", "wants a tenant; set X-Scope-OrgID in otlp_logs.headers"),
        ("grpc", Behaviour(code="UNAVAILABLE", body="no org id"), "auth", "wants a tenant; set X-Scope-OrgID"),
        ("http", Behaviour(status=403), "auth", "does not let us in; set a token"),
        ("grpc", Behaviour(code="UNAUTHENTICATED"), "auth", "does not let us in; set a token"),
        ("http", Behaviour(status=400, body="entry too far behind"), "otlp", "entry too far behind (400)"),
        ("http", Behaviour(rejected=1, message="too old"), "otlp", "the item was rejected: too old (200)"),
        ("grpc", Behaviour(rejected=1, message="too old"), "otlp", "the item was rejected: too old (OK)"),
        ("http", Behaviour(hang_up=True), "otlp", "the connection was closed in the middle of an answer"),
    ],
)
def test_what_does_not_work_is_told_at_its_step_in_words(obi, protocol, behaviour, step, says):
    with OtlpReceiver() as receiver:
        receiver.behaviour = behaviour
        words = ("--type", "logs", "--endpoint", getattr(receiver, protocol), "--protocol", protocol)
        done = obi("test-export", *words, "--json")
        (report,) = document(done)
        assert (done.returncode, report["accepted"]) == (1, False)
        assert report["steps"][-1]["step"] == step
        assert says in report["steps"][-1]["detail"]
        assert (report["steps"][-1]["ok"], report["rejected"]) == (False, behaviour.rejected)


def test_grpc_to_a_store_that_takes_http_only_is_told_the_path(obi):
    with OtlpReceiver(("traces",)) as receiver:
        done = obi("test-export", "--type", "logs", "--endpoint", receiver.grpc, "--protocol", "grpc")
        assert done.returncode == 1
        assert "stores such as Loki that take OTLP over HTTP only want otlp_logs.endpoint" in done.stdout
        assert "Loki: /otlp/v1/logs" in done.stdout


def test_a_name_that_nobody_knows_ends_at_dns(obi):
    done = obi("test-export", "--type", "logs", "--endpoint", "no-such-host.invalid:4318", "--json")
    assert (done.returncode, steps(document(done)[0])) == (1, {"dns": False})


def test_without_an_endpoint_it_says_so_and_with_a_bad_one_too(obi):
    done = obi("test-export")
    assert done.returncode == 2
    assert done.stderr.startswith("obi: there is no endpoint for traces; give one with --endpoint HOST:PORT, or --type")
    done = obi("test-export", "--type", "logs", "--endpoint", "nonsense")
    assert done.returncode == 2
    assert done.stderr.startswith("obi: --endpoint: otlp_logs.endpoint: nonsense is no endpoint")


def test_what_is_configured_is_tested_when_no_endpoint_is_given(obi, tmp_path):
    with OtlpReceiver() as receiver:
        (tmp_path / "obi.yaml").write_text(f"otlp:\n  endpoint: {receiver.http}\n  headers:\n    a: b\n")
        assert obi("test-export", "--config", tmp_path).returncode == 0
        assert {received.headers["a"] for received in receiver.requests} == {"b"}
