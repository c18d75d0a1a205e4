"""What a script cannot ask it says in one line, with status 3; it is never an `ok`."""

import os
import re
import shutil
import signal
import socket
import subprocess
import textwrap
from pathlib import Path

import pytest
from proving import script
from stand_ins import Loki, Store, Tempo

SCRIPTS = ("validate-metrics.sh", "validate-traces.sh", "validate-logs.sh")
LISTED = {"validate-metrics.sh": "the store of metrics", "validate-traces.sh": "Tempo", "validate-logs.sh": "Loki"}
FLAG = {"validate-metrics.sh": "--metrics-url", "validate-traces.sh": "--traces-url", "validate-logs.sh": "--logs-url"}


class Prometheus(Store):
    """A store of metrics that has nothing."""

    signal = "metrics"

    def look(self, path, words, *, nobody):
        if path == "/api/v1/query":
            return {"status": "success", "data": {"resultType": "vector", "result": []}}
        return None


KIND = {"validate-metrics.sh": Prometheus, "validate-traces.sh": Tempo, "validate-logs.sh": Loki}


def assert_cannot(ran, name, *words):
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith(f"{name}: could not check: ")
    assert ran.err.count("\n") == 1
    for word in words:
        assert word in ran.err


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    ("status", "kind", "body", "words"),
    [
        (200, "text/html", "\n<!DOCTYPE html><title>Sign in</title>", ("answers HTML instead of JSON", "login page")),
        (200, "text/plain", "ready", ("answers no JSON object: ready",)),
        (200, "application/json", "[]", ("answers no JSON object: []",)),
        (200, "application/json", '{"a": 1}', ()),
        (200, "application/json", "", ("answers no JSON object",)),
        (401, "text/plain", "no org id", ("refuses us without a tenant (status 401): no org id", "--tenant")),
        (403, "text/plain", "no", ("refuses us", "(status 403)")),
        (404, "text/plain", "404 page not found", ("has no such path (status 404)", "query API")),
        (500, "text/plain", "panic\nat once", ("answers with status 500: panic at once",)),
        (302, "text/html", "", ("answers with status 302",)),
    ],
)
def test_a_store_that_answers_something_else(name, status, kind, body, words):
    with KIND[name]() as store:
        store.instead = lambda _: (status, kind, body)
        assert_cannot(script(name, FLAG[name], store.url), name, LISTED[name], store.url, *words)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_store_that_is_not_there(name):
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert_cannot(script(name, FLAG[name], url), name, LISTED[name], url, "does not answer", "connect")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_store_that_never_answers(name):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        assert_cannot(script(name, FLAG[name], url, "--timeout", "1s"), name, "does not answer", "timed out")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_store_that_has_nothing(name):
    with KIND[name]() as store:
        ran = script(name, FLAG[name], store.url, "--window", "5m", "--wait", "0s")
    assert_cannot(ran, name, store.url, "from the last 5m", "obi test-export --type")


def test_mimir_and_cortex_are_asked_below_prometheus_where_they_have_their_queries():
    with Prometheus() as mimir:
        mimir.instead = lambda path: None if path.startswith("/prometheus/") else (404, "text/plain", "404 page not found")
        mimir.look = lambda path, words, *, nobody: Prometheus.look(
            mimir, path.removeprefix("/prometheus"), words, nobody=nobody
        )
        ran = script("validate-metrics.sh", "--metrics-url", mimir.url, "--wait", "0s")
        assert mimir.asked[-1].startswith("/prometheus/api/v1/query?")
    assert_cannot(ran, "validate-metrics.sh", f"the store of metrics at {mimir.url}/prometheus has nothing of OBI")


@pytest.mark.parametrize("name", SCRIPTS)
def test_another_tenants_store_has_nothing_and_without_a_tenant_it_refuses(name):
    with KIND[name](tenant="mop") as store:
        assert_cannot(script(name, FLAG[name], store.url), name, "no org id", "is --tenant right")
        ran = script(name, FLAG[name], store.url, "--tenant", "pom", "--wait", "0s")
    assert_cannot(ran, name, "for tenant pom", "--tenant")


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("off", [-3600, 3600])
def test_a_store_under_another_clock(name, off):
    with KIND[name](clock_off_s=off) as store:
        ran = script(name, FLAG[name], store.url)
    assert_cannot(ran, name, "clock skew", f"{LISTED[name]} is {str(off)[:3]}", "NTP", "--max-skew")


@pytest.mark.parametrize("name", [*SCRIPTS, "data-completeness.sh", "health-check.sh"])
@pytest.mark.parametrize("tool", ["jq", "curl"])
def test_a_tool_that_is_missing_is_named(name, tool, tmp_path):
    for each in ("bash", "dirname", "mktemp", "rm", "date", "tr", "cut", "awk", "jq", "curl"):
        if each != tool:
            (tmp_path / each).symlink_to(shutil.which(each))
    ran = script(name, path=str(tmp_path))
    assert_cannot(ran, name, f"{tool} is not installed")


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_reason_is_in_the_json_too(name):
    with KIND[name]() as store:
        ran = script(name, FLAG[name], store.url, "--wait", "0s", "--json")
    assert ran.status == 3
    assert ran.document["result"] == "could_not_check"
    assert ran.document["checks"] == []
    assert ran.err == f"{name}: could not check: {ran.document['reason']}\n"


@pytest.mark.parametrize("name", [*SCRIPTS, "data-completeness.sh", "health-check.sh"])
@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--fly", "1"), "there is no flag --fly"),
        (("fly",), '"fly" is no flag'),
        (("--window",), "--window wants a value, or is no flag"),
        (("--window", "soon"), '--window: "soon" is no time; write 90s, 15m, 6h or 2d'),
        (("--window", "0s"), "--window and --timeout must be more than 0"),
        (("--service-name", 'obi"}'), '--service-name: "obi"}" may consist of letters, digits and _ . / : - only'),
    ],
)
def test_a_wrong_flag_is_status_2(name, flags, complaint):
    ran = script(name, *flags)
    assert (ran.status, ran.out, ran.err) == (2, "", f"{name}: {complaint}; --help lists the flags\n")


@pytest.mark.parametrize("name", [*SCRIPTS, "data-completeness.sh", "health-check.sh"])
def test_help_names_every_flag_with_its_variable(name):
    ran = script(name, "--help")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: {name} [FLAG...]\n")
    text = (Path(__file__).parents[2] / "tests/obi" / name).read_text()
    for flag in set(re.findall(r"^\t(--[a-z-]+)\) ", text, re.MULTILINE)):
        assert f"  {flag} " in ran.out


def test_data_completeness_says_which_store_has_nothing_before_it_makes_a_run(tmp_path):
    with Prometheus() as metrics, Tempo() as tempo, Loki() as loki:
        urls = {"OBI_METRICS_URL": metrics.url, "OBI_TRACES_URL": tempo.url, "OBI_LOGS_URL": loki.url}
        never = f"touch {tmp_path}/made"
        ran = script("data-completeness.sh", "--emit", never, "--wait", "0s", **urls)
        assert_cannot(ran, "data-completeness.sh", "there are no metrics of obi at", metrics.url)
        ran = script("data-completeness.sh", "--emit", never, "--wait", "0s", "--signals", "logs", **urls)
        assert_cannot(ran, "data-completeness.sh", "there are no logs of obi at", loki.url)
    assert not (tmp_path / "made").exists()


KUBECTL = """\
#!/usr/bin/python3
import os, socket, sys, threading
words = sys.argv[1:]
with open(os.environ["FAKE_SAID"], "a") as said:
    print(os.getpid(), *words, file=said)
if os.environ.get("FAKE_FAILS"):
    sys.exit('Error from server (NotFound): services "tempo" not found')
server = socket.create_server(("127.0.0.1", 0))
port = words[-1].lstrip(":")
print(f"Forwarding from 127.0.0.1:{server.getsockname()[1]} -> {port}", flush=True)
def pump(one, other):
    while data := one.recv(65536):
        other.sendall(data)
    other.shutdown(socket.SHUT_WR)
while True:
    here, _ = server.accept()
    there = socket.create_connection(("127.0.0.1", int(os.environ["FAKE_TO"])))
    for pair in ((here, there), (there, here)):
        threading.Thread(target=pump, args=pair, daemon=True).start()
"""


@pytest.fixture
def kubectl(tmp_path):
    """A kubectl that forwards to a stand-in, and notes how it was called."""
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(textwrap.dedent(KUBECTL))
    program.chmod(0o755)
    return {"path": f"{program.parent}:{os.environ['PATH']}", "FAKE_SAID": str(tmp_path / "said")}


def calls(kubectl):
    return [line.split() for line in Path(kubectl["FAKE_SAID"]).read_text().splitlines()]


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_default_name_that_does_not_resolve_is_forwarded_by_kubectl_and_that_ends_with_the_script(kubectl):
    with Tempo() as tempo:
        ran = script("validate-traces.sh", "--wait", "0s", FAKE_TO=tempo.url.rpartition(":")[2], **kubectl)
        assert any(path.startswith("/api/search?") for path in tempo.asked)
    assert_cannot(ran, "validate-traces.sh", "has no span of service obi")
    ((pid, *words),) = calls(kubectl)
    assert words == ["--namespace", "mop-traces", "port-forward", "--address", "127.0.0.1", "svc/tempo", ":3200"]
    assert gone(pid)


def test_a_script_that_is_stopped_closes_what_it_forwarded(kubectl):
    with Tempo() as tempo:
        environ = {"PATH": kubectl["path"], "FAKE_SAID": kubectl["FAKE_SAID"], "FAKE_TO": tempo.url.rpartition(":")[2]}
        process = subprocess.Popen(
            [Path(__file__).parents[2] / "tests/obi/validate-traces.sh", "--wait", "10m"],
            env={**os.environ, **environ, "OBI_POLL": "0.1"},
            stderr=subprocess.DEVNULL,
        )
        while not tempo.asked:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    ((pid, *_),) = calls(kubectl)
    assert gone(pid)


def test_where_kubectl_cannot_forward_either_its_own_words_are_shown(kubectl):
    ran = script("validate-traces.sh", FAKE_FAILS="1", **kubectl)
    assert_cannot(ran, "validate-traces.sh", "does not resolve here", 'services "tempo" not found')


def test_a_service_that_resolves_to_nothing_has_no_agents():
    ran = script("health-check.sh", "--service", "obi.invalid")
    assert_cannot(ran, "health-check.sh", "obi.invalid resolves to nothing: no agent runs, or the name or the network policy")


def test_without_a_cluster_or_an_address_there_is_nobody_to_ask(tmp_path):
    (tmp_path / "kubectl").write_text("#!/bin/sh\necho 'connection refused' >&2\nexit 1\n")
    (tmp_path / "kubectl").chmod(0o755)
    ran = script("health-check.sh", path=f"{tmp_path}:{os.environ['PATH']}")
    assert_cannot(ran, "health-check.sh", "kubectl get daemonsets failed: connection refused; name the agents with --agents")
