"""The watch against a real API server, where its binaries are: OBI_KUBE_BIN names the folder of etcd and kube-apiserver."""

import json
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from obi_core.identity.kubernetes import Api, Cluster
from obi_core.settings import KubernetesSettings
from obi_core.testing.kube import until

BIN = os.environ.get("OBI_KUBE_BIN", "")
pytestmark = [
    pytest.mark.skipif(not BIN, reason="OBI_KUBE_BIN is not set: no etcd and kube-apiserver to watch"),
    pytest.mark.timeout(180),
]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Real:
    """etcd and kube-apiserver in a folder of the test's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        etcd, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        key = folder / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        (folder / "tokens.csv").write_text("obi-token,obi,1,system:masters\n")
        (folder / "token").write_text("obi-token\n")
        self.processes = [
            self.start(
                "etcd", f"--data-dir={folder}/etcd", f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
            ),
            self.start(
                "kube-apiserver", f"--etcd-servers={etcd}", f"--cert-dir={folder}/certs", f"--secure-port={self.port}",
                "--bind-address=127.0.0.1", "--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=AlwaysAllow",
                f"--token-auth-file={folder}/tokens.csv", "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
                "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}",
                f"--service-account-signing-key-file={key}", "--watch-cache=true",
            ),
        ]  # fmt: skip
        self.context = ssl._create_unverified_context()  # noqa: S323 - to make objects; the watch itself verifies
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                if self.call("GET", "/api/v1/namespaces/default"):
                    return
            except OSError:
                time.sleep(0.3)
        raise AssertionError((folder / "kube-apiserver.log").read_text()[-2000:])

    def start(self, name, *flags):
        with (self.folder / f"{name}.log").open("w") as log:
            return subprocess.Popen([str(Path(BIN) / name), *flags], stdout=log, stderr=log, cwd=self.folder)

    def call(self, method, path, body=None):
        request = urllib.request.Request(f"{self.url}{path}", method=method, data=json.dumps(body).encode() if body else None)
        request.add_header("Authorization", "Bearer obi-token")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, context=self.context, timeout=10) as answer:
            return json.load(answer)

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    made = Real(tmp_path_factory.mktemp("kube"))
    yield made
    made.close()


def put_pod(real, name):
    body = {
        "metadata": {"name": name, "labels": {"team": "a"}},
        "spec": {"nodeName": "n1", "automountServiceAccountToken": False, "containers": [{"name": "app", "image": "x:1"}]},
    }
    made = real.call("POST", "/api/v1/namespaces/default/pods", body)
    number = made["metadata"]["uid"].replace("-", "") * 2
    made["status"] = {
        "phase": "Running",
        "podIP": "10.9.8.7",
        "podIPs": [{"ip": "10.9.8.7"}],
        "containerStatuses": [
            {
                "name": "app",
                "image": "x:1",
                "imageID": "",
                "ready": True,
                "restartCount": 0,
                "state": {"running": {}},
                "containerID": f"containerd://{number}",
            }
        ],
    }
    real.call("PUT", f"/api/v1/namespaces/default/pods/{name}/status", made)
    return made["metadata"]["uid"], number


def test_pods_come_are_named_and_go(real):
    before, number = put_pod(real, "before")
    certificate = real.folder / "certs" / "apiserver.crt"
    settings = KubernetesSettings(
        api=real.url, node="n1", token_file=str(real.folder / "token"), ca_file=str(certificate), pod_labels=("team",)
    )
    cluster = Cluster(Api.found(settings, {}), "n1", settings)
    cluster.start()
    try:
        until(lambda: cluster.pods.pod(before), 30)
        assert cluster.pods.pod(before).containers[number].name == "app"
        later, number = put_pod(real, "later")
        until(lambda: cluster.pods.pod(later) and number in cluster.pods.pod(later).containers, 30)
        assert cluster.pods.pod(later).attributes["k8s.pod.label.team"] == "a"
        real.call("DELETE", "/api/v1/namespaces/default/pods/later?gracePeriodSeconds=0")
        until(lambda: cluster.pods.running == 1, 30)
        assert cluster.contacts()["pods"].failures == {}
    finally:
        cluster.stop()
