"""`obi config check` and `obi config explain`."""

import json

import pytest

from obi_core.testing.kube import KubeApi
from obi_core.testing.otlp import make_certificates

PLANTED = "hunter2-correct-horse"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "config"
    made.mkdir()
    return made


@pytest.fixture
def kubernetes():
    server = KubeApi()
    yield server
    server.close()


def write(folder, text):
    (folder / "obi.yaml").write_text(text)
    return folder


def test_a_configuration_that_is_right_is_said_to_be(obi, folder):
    done = obi("config", "check", "--config", write(folder, "otlp:\n  endpoint: c:4317\ntcp:\n  interval_s: 5s\n"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("the configuration is right: ")
    assert "traces to http://c:4317; metrics to http://c:4317; logs to http://c:4317" in done.stdout


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("otlp:\n  endpoint: nonsense\n", "obi.yaml:2: otlp.endpoint: nonsense is no endpoint"),
        ("otlp_logs:\n  endpoint: nonsense\n", "obi.yaml:2: otlp_logs.endpoint: nonsense is no endpoint"),
        ("otlp:\n  endpoint: c:4318\n  compression: zstd\n", 'obi.yaml:3: otlp.compression: "zstd" is not allowed'),
        (
            "otlp:\n  endpoint: https://c:4318\n  ca_file: /no/such\n",
            "obi.yaml:3: otlp.ca_file: /no/such cannot be read: No such file or directory",
        ),
        (
            "otlp:\n  endpoint: c:4318\n  header_files:\n    authorization: /no/such\n",
            "obi.yaml:4: otlp.header_files.authorization: /no/such cannot be read: No such file or directory",
        ),
        ("tcp:\n  intervall_s: 5s\n", 'obi.yaml:2: unknown key "intervall_s" in section "tcp"; did you mean "interval_s"?'),
        ("otpl:\n  endpoint: x\n", 'obi.yaml:1: unknown section "otpl"; did you mean "otlp"?'),
    ],
)
def test_what_obi_run_would_refuse_is_refused_with_file_line_and_key(obi, folder, text, says):
    write(folder, text)
    done = obi("config", "check", "--config", folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"obi: {folder}/{says}")
    assert done.stderr.count("\n") == 1
    again = obi("run", "--config", folder, "--metrics-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
    assert again.returncode == 2
    assert says in again.stderr


def test_every_value_is_explained_with_its_place_and_what_it_wins_over(obi, folder):
    write(folder, "otlp:\n  timeout_s: 3s\n  headers:\n    x-token: filed\nresource:\n  attributes:\n    a: b\n")
    environ = {
        "OBI_OTLP__ENDPOINT": "ours:4318",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://theirs:4318",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces:1",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.cluster.name=berlin",
        "K8S_NODE_NAME": "node-7",
    }
    done = obi("config", "explain", "--json", "--config", folder, "--interval", "7s", **environ)
    values = {value["key"]: value for value in json.loads(done.stdout)["values"]}
    assert done.returncode == 0, done.stderr

    def said(key):
        return tuple(values[key][part] for part in ("value", "from", "wins_over"))

    assert said("otlp.endpoint") == ("ours:4318", "OBI_OTLP__ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    assert said("otlp_traces.endpoint") == ("as in otlp", "OBI_OTLP__ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    assert said("otlp.compression") == ("none", "OTEL_EXPORTER_OTLP_COMPRESSION", "")
    assert said("otlp.timeout_s") == ("3.0", f"{folder}/obi.yaml:2", "")
    assert said("otlp.headers.x-token") == ("***", f"{folder}/obi.yaml:4", "")
    assert said("agent.interval_s") == ("7.0", "--interval", "")
    assert said("otlp.queue_items") == ("60000", "default", "")
    assert said("resource.attributes.a") == ("b", f"{folder}/obi.yaml:7", "")
    assert said("resource.attributes.k8s.cluster.name") == ("berlin", "OTEL_RESOURCE_ATTRIBUTES", "")
    assert said("resource.attributes.k8s.node.name") == ("node-7", "K8S_NODE_NAME", "")
    assert said("resource.attributes.service.name") == ("obi", "found", "")
    assert said("tcp.interval_s") == ("-", "default", "")
    text = obi("config", "explain", "otlp", "--config", folder, **environ)
    assert "# OBI_OTLP__ENDPOINT (wins over OTEL_EXPORTER_OTLP_ENDPOINT)" in text.stdout
    assert all(line.startswith("otlp") for line in text.stdout.splitlines())


def test_what_a_value_overrode_is_listed_with_its_place_the_strongest_first(obi, folder):
    (folder / "pools").mkdir()
    (folder / "pools/gpu.yaml").write_text("agent:\n  interval_s: 3s\nmetrics:\n  attributes:\n    obi.tcp.*: {deny: [a]}\n")
    write(folder, f"agent:\n  interval_s: 2s\n  plugins: [tcp, limits]\notlp:\n  headers:\n    x: {PLANTED}\n")
    environ = {"OBI_POOL": "gpu", "OBI_AGENT__INTERVAL_S": "4s", "OBI_AGENT__PLUGINS": "tcp", "OBI_OTLP__HEADERS": "x=other"}

    def explained(*words):
        done = obi("config", "explain", *words, "--config", folder, "--interval", "5s", **environ)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert explained("--key", "agent.interval_s") == (
        f"agent.interval_s = 5.0  # --interval (wins over OBI_AGENT__INTERVAL_S = 4s, {folder}/pools/gpu.yaml:2 = 3s, "
        f"{folder}/obi.yaml:2 = 2s)\n"
    )
    assert f"# OBI_AGENT__PLUGINS (wins over {folder}/obi.yaml:3 = tcp, limits)" in explained("--key", "agent")
    assert explained("--key", "otlp.headers.x").endswith(f"# OBI_OTLP__HEADERS (wins over {folder}/obi.yaml:6 = ***)\n")
    assert f"# {folder}/pools/gpu.yaml:5" in explained("--key", "metrics.attributes.obi.tcp.*")
    assert "# the pool is gpu\n" in explained()


def test_a_key_that_there_is_not_names_the_nearest(obi, folder):
    done = obi("config", "explain", "--key", "agent.intervall_s")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "obi: --key: there is no setting 'agent.intervall_s'; did you mean \"agent.interval_s\"?\n"


def test_another_node_s_labels_choose_the_pool_that_is_explained(obi, folder, kubernetes):
    kubernetes.objects["/api/v1/nodes/n7"] = {"one": {"metadata": {"labels": {"accelerator": "nvidia"}}}}
    (folder / "pools").mkdir()
    (folder / "pools/gpu.yaml").write_text("pool:\n  selector: {accelerator: nvidia}\nagent:\n  interval_s: 3s\n")
    write(folder, f"agent:\n  interval_s: 2s\nkubernetes:\n  api: {kubernetes.url}\n  node: n1\n")
    said = {}
    for node in ("n1", "n7"):
        said[node] = obi("config", "explain", "--key", "agent.interval_s", "--config", folder, "--node", node).stdout
    assert said == {
        "n1": f"agent.interval_s = 2.0  # {folder}/obi.yaml:2\n# no pool of node n1\n",
        "n7": f"agent.interval_s = 3.0  # {folder}/pools/gpu.yaml:4 (wins over {folder}/obi.yaml:2 = 2s)\n"
        "# the pool of node n7 is gpu\n",
    }
    kubernetes.faults["get"] = [403]
    done = obi("config", "explain", "--config", folder, "--node", "n7")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"obi: --node: the labels of n7 cannot be read: {kubernetes.url}/api/v1/nodes/n7: HTTP status 403"
    )
    assert done.stderr.count("\n") == 1


def test_a_planted_secret_is_in_no_output_of_any_command(obi, folder, tmp_path):
    token = tmp_path / "token"
    token.write_text(PLANTED)
    write(folder, f"otlp:\n  endpoint: 127.0.0.1:9\n  headers:\n    a: {PLANTED}\n  header_files:\n    b: {token}\n")
    environ = {"OBI_OTLP_LOGS__HEADERS": f"c={PLANTED}", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"d={PLANTED}"}
    for words in (
        ("config", "explain"),
        ("config", "explain", "--json"),
        ("config", "check"),
        ("config", "check", "--log-level", "debug"),
        ("doctor", "--json"),
        ("test-export", "--json"),
        ("test-export", "--headers", f"e={PLANTED}"),
        ("test-export", "--headers", f"e\x01={PLANTED}", "--log-level", "debug"),
        ("test-export", "--headers", PLANTED, "--log-level", "debug"),
    ):
        done = obi(*words, "--config", folder, **environ)
        assert done.stdout + done.stderr
        assert PLANTED not in done.stdout + done.stderr, words


def test_an_expired_certificate_and_a_foreign_key_are_found_without_a_connection(obi, folder, tmp_path):
    certificates = make_certificates(tmp_path / "tls")
    expired = certificates.renew(tmp_path / "expired", days=-1)
    write(folder, f"otlp:\n  endpoint: https://c:4318\n  tls_dir: {expired}\n")
    done = obi("config", "check", "--config", folder)
    assert done.stderr.startswith(f"obi: {folder}/obi.yaml:3: otlp.tls_dir: the certificate in {expired}/tls.crt expired on ")
    (expired / "tls.crt").write_bytes((certificates.client / "tls.crt").read_bytes())
    done = obi("config", "check", "--config", folder)
    assert done.stderr.startswith(f"obi: {folder}/obi.yaml:3: otlp.tls_dir: the key in {expired}/tls.key is not that of ")
