"""The watch of this node's pods against a server that misbehaves on demand."""

import logging
import shutil
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from obi_core.identity.kubernetes import Api, ApiError, Cluster
from obi_core.identity.kubernetes.cluster import node_labels
from obi_core.identity.kubernetes.watch import Watch
from obi_core.settings import KubernetesSettings
from obi_core.testing.kube import END, KubeApi, pod, until

STREAM = (Path(__file__).parents[1] / "fixtures/kubernetes/watch.jsonl").read_bytes()
GONE = b'{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old resource version"}}\n'


@pytest.fixture
def api():
    server = KubeApi()
    yield server
    server.close()


@pytest.fixture
def follow(monkeypatch):
    """Make a cluster that follows a server, without its pauses."""
    monkeypatch.setattr("obi_core.identity.kubernetes.watch._PAUSES_S", (0.01, 0.02))
    monkeypatch.setattr("obi_core.identity.kubernetes.watch._FORBIDDEN_S", 0.02)
    made = []

    def begin(server, **settings):
        chosen = KubernetesSettings(api=server.url, node="n1", **settings)
        cluster = Cluster(Api.found(chosen, {}), "n1", chosen)
        made.append(cluster)
        cluster.start()
        return cluster

    yield begin
    for cluster in made:
        cluster.stop()


def contact(cluster):
    return cluster.contacts()["pods"]


def test_it_lists_this_node_s_pods_in_pages_and_then_watches(api, follow):
    for number in range(120):
        api.put(pod(f"u{number}"))
    cluster = follow(api)
    api.watched()
    assert len(cluster.pods) == 120
    lists = api.asked("list")
    assert [query.get("continue") for query in lists] == [None, "50", "100"]
    assert {query["fieldSelector"] for query in lists} == {"spec.nodeName=n1"}
    (watch,) = api.asked("watch")
    assert (watch["fieldSelector"], watch["allowWatchBookmarks"], watch["resourceVersion"]) == (
        "spec.nodeName=n1",
        "true",
        "220",
    )
    assert 240 <= int(watch["timeoutSeconds"]) <= 480
    api.put(pod("late"))
    until(lambda: cluster.pods.pod("late"))
    api.delete("late")
    until(lambda: cluster.pods.running == 120)


def test_a_recorded_stream_replayed_byte_by_byte_names_everything(api, follow):
    cluster = follow(api, pod_labels=("team",))
    api.watched()
    for at in range(len(STREAM)):
        api.send(STREAM[at : at + 1])
    until(lambda: contact(cluster).events == 6)
    found = cluster.pods.pod("6c1a2f0e-9d5b-4a77-8a55-0f3d2b1c4e5f")
    assert found.attributes["k8s.deployment.name"] == "checkout"
    assert found.attributes["k8s.pod.label.team"] == "Zahlung-Ü"
    assert set(found.containers) == {"0123456789abcdef" * 4, "fedcba9876543210" * 4}
    short = cluster.pods.pod("0b0cbd5e-70bb-4d0c-9d83-9b5a2cf0f9a1")
    assert short.attributes["k8s.cronjob.name"] == "backup"
    assert short.containers["ab" * 32].name == "dump"
    assert (cluster.pods.running, len(cluster.pods)) == (1, 2)
    api.send(END)
    assert api.asked("watch", 2)[1]["resourceVersion"] == "48212"


@pytest.mark.parametrize("cut", [1, 17, 500])
def test_half_a_line_costs_nothing(api, follow, cut):
    cluster = follow(api)
    api.watched()
    lines = STREAM.splitlines(keepends=True)
    api.send(lines[0] + lines[1][:cut])
    api.send(END)
    assert api.asked("watch", 2)[1]["resourceVersion"] == "48101", "from the last that was seen whole"
    api.watched()
    api.send(b"".join(lines[1:]))
    until(lambda: contact(cluster).events == 6)
    assert contact(cluster).resyncs == 1


def test_500_pods_that_come_and_go_at_once_are_all_named_and_none_is_left_running(api, follow):
    cluster = follow(api)
    api.watched()
    for number in range(500):
        uid, container = f"u{number}", f"{number:064x}"
        api.put(pod(uid, owner=("Job", "burst")))
        api.put(pod(uid, owner=("Job", "burst"), containers={"app": container}, ip=f"10.1.{number // 250}.{number % 250}"))
        api.delete(uid)
    until(lambda: contact(cluster).events == 1500)
    for number in range(500):
        found = cluster.pods.pod(f"u{number}")
        assert (found.attributes["k8s.job.name"], found.containers[f"{number:064x}"].name) == ("burst", "app")
        assert cluster.peer(f"10.1.{number // 250}.{number % 250}")["k8s.pod.name"] == f"u{number}"
    assert (len(cluster.pods), cluster.pods.running) == (500, 0)
    assert (contact(cluster).resyncs, contact(cluster).failures) == (1, {})


def test_a_bookmark_says_where_to_go_on(api, follow):
    cluster = follow(api)
    api.watched()
    api.bookmark(4711)
    until(lambda: contact(cluster).events == 1)
    api.send(END)
    assert api.asked("watch", 2)[1]["resourceVersion"] == "4711"


@pytest.mark.parametrize("how", ["in the stream", "as the answer"])
def test_a_version_that_is_gone_means_a_new_list_and_no_warning(api, follow, how, caplog):
    api.put(pod("stays"))
    api.put(pod("goes"))
    cluster = follow(api)
    api.watched()
    del api.objects["/api/v1/pods"]["goes"]
    if how == "as the answer":
        api.faults["watch"].append(410)
    else:
        api.send(GONE)
    api.send(END)
    until(lambda: contact(cluster).resyncs == 2)
    assert (cluster.pods.running, len(cluster.pods)) == (1, 2)
    assert contact(cluster).failures == {"gone": 1}
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("kind", "fault", "reason", "sentence"),
    [
        ("list", 403, "forbidden", "the service account needs get, list and watch on it (deploy/k8s/rbac.yaml)"),
        ("watch", 403, "forbidden", "the service account needs get, list and watch on it"),
        ("list", 401, "unauthorized", "must hold a token that the cluster accepts"),
        ("list", 500, "server_error", "HTTP status 500"),
        ("list", 429, "throttled", "HTTP status 429"),
        ("list", "half", "malformed", "not a JSON document"),
        ("list", "garbage", "malformed", "not a JSON document: b'<html>"),
        ("list", "hang_up", "unreachable", "closed connection without response"),
    ],
)
def test_what_fails_is_said_once_with_its_reason_and_tried_again(api, follow, caplog, kind, fault, reason, sentence):
    caplog.set_level(logging.INFO)
    api.put(pod("u"))
    api.faults[kind] += [fault] * 3
    cluster = follow(api)
    api.watched()
    until(lambda: contact(cluster).failures.get(reason) == 3 and not contact(cluster).problem)
    assert cluster.pods.pod("u") is not None
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert sentence in warning
    assert warning.endswith("; what is known stays in use")
    assert any(record.getMessage() == "kubernetes: pods are followed again" for record in caplog.records)


@pytest.mark.parametrize(
    "line",
    [b"{\n", b"[]\n", b'{"type":"ADDED"}\n', b'{"type":"ADDED","object":[]}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n"],
)
def test_a_line_that_is_no_event_ends_the_stream_and_not_the_watch(api, follow, line):
    cluster = follow(api)
    api.watched()
    api.send(line)
    api.asked("watch", 2)
    until(lambda: cluster.pods.pod("later") or api.put(pod("later")))
    assert contact(cluster).failures["malformed"] >= 1


def test_an_api_that_is_away_for_an_hour_is_neither_flooded_nor_forgotten(api):
    """Pauses are counted instead of waited for."""
    pauses = []

    def wait(stop, seconds):
        pauses.append(seconds)
        return sum(pauses) >= 3600

    class Nobody:
        def put(self, found):
            return ""

        def end(self, found):
            pass

        def only(self, uids):
            pass

    settings = KubernetesSettings(api=api.url, node="n1", timeout_s=1.0)
    watch = Watch(Api.found(settings, {}), "pods", "/api/v1/pods", Nobody(), wait=wait)
    api.close()
    watch._run()
    assert len(pauses) < 140
    assert 0.5 <= pauses[0] <= 1.0
    assert all(pause <= 60 for pause in pauses)
    assert len({round(pause, 6) for pause in pauses[10:20]}) == 10, "with jitter"
    assert watch.contact.failures == {"unreachable": len(pauses)}
    assert watch.contact.stale(watch.contact.last_s + 91)
    assert not watch.contact.stale(watch.contact.last_s + 89)
    api.close = lambda: None


def test_what_is_known_stays_while_the_server_is_away(follow):
    server = KubeApi()
    server.put(pod("u"))
    cluster = follow(server)
    server.watched()
    server.close()
    until(lambda: contact(cluster).failures.get("unreachable", 0) >= 5)
    assert cluster.pods.pod("u").attributes["k8s.pod.name"] == "u"


def test_a_server_that_ends_every_watch_at_once_is_left_alone_for_longer(api):
    pauses = []

    def wait(stop, seconds):
        pauses.append(seconds)
        return len(pauses) == 8

    class Nobody:
        def put(self, found):
            return "u"

        def end(self, found):
            pass

        def only(self, uids):
            pass

    settings = KubernetesSettings(api=api.url, node="n1")
    watch = Watch(Api.found(settings, {}), "pods", "/api/v1/pods", Nobody(), wait=wait)
    ending = threading.Event()

    def end_all():
        while not ending.is_set():
            api.send(END)
            ending.wait(0.005)

    thread = threading.Thread(target=end_all)
    thread.start()
    watch._run()
    ending.set()
    thread.join()
    assert pauses[-1] > 16, "1, 2, 4 … 60 s, with jitter"


def test_a_token_is_read_anew_for_each_connection(api, follow, tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    cluster = follow(api, token_file=str(token))
    api.watched()
    token.write_text("second\n")
    api.send(END)
    api.asked("watch", 2)
    assert [given for kind, _, _, given in api.requests if kind == "watch"] == ["Bearer first", "Bearer second"]
    assert contact(cluster).failures == {}


def test_it_speaks_ipv6(follow):
    server = KubeApi(ipv6=True)
    server.put(pod("u"))
    cluster = follow(server)
    server.watched()
    assert cluster.pods.pod("u") is not None
    server.close()


@pytest.mark.parametrize(
    ("environ", "given", "url"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}, None, "https://10.96.0.1:443"),
        ({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}, None, "https://[fd00::1]:6443"),
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, "https://api.example:6443", "https://api.example:6443"),
    ],
)
def test_where_the_api_is(environ, given, url):
    assert Api.found(KubernetesSettings(api=given), environ)._where == url


def test_outside_a_cluster_and_where_nobody_wants_it_there_is_none():
    assert Api.found(KubernetesSettings(), {}) is None
    assert Api.found(KubernetesSettings(enabled="off"), {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}) is None


def authority(folder, name):
    """A certificate for localhost that is its own authority."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -keyout {key} -out {certificate} "
        f"-subj /CN={name} -addext subjectAltName=DNS:localhost,IP:127.0.0.1".split(),
        check=True,
        capture_output=True,
    )
    return key, certificate


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")
def test_a_custom_authority_is_trusted_and_a_wrong_one_is_not(follow, tmp_path):
    key, right = authority(tmp_path, "right")
    _, wrong = authority(tmp_path, "wrong")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(right, key)
    server = KubeApi(context=context)
    server.put(pod("u"))
    ca = tmp_path / "ca.crt"
    shutil.copy(wrong, ca)
    cluster = follow(server, ca_file=str(ca))
    until(lambda: contact(cluster).failures.get("tls", 0) >= 2)
    assert "certificate cannot be verified" in contact(cluster).problem
    assert contact(cluster).problem.endswith("kubernetes.ca_file must hold the cluster's CA")
    # rotated under the running agent
    shutil.copy(right, ca)
    server.watched()
    assert cluster.pods.pod("u") is not None
    (tmp_path / "no.crt").write_text("no certificate")
    with pytest.raises(ApiError, match="cannot be used"):
        Api.found(KubernetesSettings(api=server.url, ca_file=str(tmp_path / "no.crt")), {}).get("/version")
    server.close()


def test_labels_of_the_node_are_one_small_request(api):
    api.objects["/api/v1/nodes/n1"] = {"one": {"metadata": {"labels": {"pool": "gpu", "n": 1}}}}
    assert node_labels(KubernetesSettings(api=api.url, node="n1"), {}) == {"pool": "gpu"}


def test_labels_of_a_namespace_are_fetched_once(api, follow):
    api.objects["/api/v1/namespaces/shop"] = {"one": {"metadata": {"labels": {"team": "a", "secret": "b"}}}}
    for number in range(20):
        api.put(pod(f"u{number}"))
    cluster = follow(api, namespace_labels=("team",))
    api.watched()
    assert cluster.namespace("shop") == {"k8s.namespace.label.team": "a"}
    assert len(api.asked("get")) == 1


def test_peers_of_the_same_node_are_known_and_of_the_cluster_where_asked_for(api, follow):
    api.put(pod("here", ip="10.1.0.1"))
    api.put(pod("there", ip="10.1.9.9", node="n2", owner=("StatefulSet", "db")))
    service = {"metadata": {"uid": "s", "name": "web", "namespace": "shop"}, "spec": {"clusterIPs": ["10.96.7.7", "None"]}}
    api.put(service, "/api/v1/services")
    node = {
        "metadata": {"uid": "n", "name": "n2"},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.2"}, {"type": "Hostname", "address": "n2"}]},
    }
    api.put(node, "/api/v1/nodes")
    cluster = follow(api, peers=True)
    until(lambda: all(each.synced for each in cluster.contacts().values()))
    assert cluster.peer("10.1.0.1")["k8s.pod.name"] == "here"
    assert cluster.peer("::ffff:10.1.9.9")["k8s.statefulset.name"] == "db"
    assert cluster.peer("10.96.7.7") == {"k8s.namespace.name": "shop", "k8s.service.name": "web"}
    assert cluster.peer("10.0.0.2") == {"k8s.node.name": "n2"}
    assert cluster.peer("8.8.8.8") == {}
    until(lambda: len(api._streams) == 3)
    # an address that went on to another pod before the end of the first was told of
    api.put(pod("next", ip="10.1.9.9", node="n3"))
    api.delete("there")
    until(lambda: contact(cluster).events == 2)
    assert cluster.peer("10.1.9.9")["k8s.pod.name"] == "next"
    api.delete("next")
    until(lambda: cluster.peer("10.1.9.9") == {})
    assert len(cluster.pods) == 1
    assert not any("fieldSelector" in query for query in api.asked("list"))
