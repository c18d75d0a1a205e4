"""The image, run by podman as the manifests have it: all probes attach, on a read-only root, with three capabilities.

`make image` builds it; without it, or without podman, these tests are left out, and say so. `make image-test` wants them.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import uuid
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "deploy/k8s/kustomize/components/seccomp-localhost/obi.json"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
IMAGE = f"localhost/obi:{VERSION}"
PROBES = {"limits", "network", "syscall", "tcp"}
MOST_BYTES = 200_000_000
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf", "tracefs")),
]


def beside(name):
    """A module of this folder, which is no package."""
    spec = spec_from_file_location(f"obi_deploy_{name}", Path(__file__).with_name(f"{name}.py"))
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


pods = beside("pods")


@pytest.fixture(scope="module")
def image():
    missing = ""
    if shutil.which("podman") is None:
        missing = "podman is not installed"
    elif subprocess.run(["podman", "image", "exists", IMAGE], check=False, capture_output=True).returncode:
        missing = f"there is no image {IMAGE}"
    if missing and os.environ.get("OBI_IMAGE") == "require":
        pytest.fail(f"{missing}; make image")
    if missing:
        pytest.skip(f"{missing}: run make image-test")  # which requires one: making it takes minutes
    return IMAGE


@pytest.fixture(scope="module")
def make(image, plain, tmp_path_factory):
    """Make a pod of the DaemonSet's template."""

    def pod(*, paths=None, seccomp=PROFILE, template=None):
        folder = tmp_path_factory.mktemp("pod")
        spool = folder / "node-spool"
        spool.mkdir()
        node = {"/var/lib/obi/spool": spool, **(paths or {})}
        return pods.Pod(plain, template or plain["DaemonSet/obi"]["spec"]["template"], image, folder, node, seccomp)

    return pod


CONNECTS = """
import socket, sys
open("/proc/self/comm", "w").write(sys.argv[1])
server = socket.create_server(("127.0.0.1", 0))
for _ in range(23):
    client = socket.create_connection(server.getsockname())
    taken, _ = server.accept()
    client.close(), taken.close()
"""


OTLP_PORT = 4317
RECEIVE = """
import json, sys
from obi_core.testing.otlp import OtlpReceiver, attributes_of
receiver = OtlpReceiver()
receiver._grpc.port = int(sys.argv[1])
wanted = {"obi_tcp_connects_total", "obi_network_packets_total", "obi_syscall_calls_total"}
with receiver:
    receiver.wait(lambda: wanted <= set(receiver.metrics()), 40)
    (first, *_) = receiver.of("metrics")
    print(json.dumps(attributes_of(first.message.resource_metrics[0].resource)))
    print(json.dumps(sorted(receiver.metrics())))
"""


def until(true, attempts=150):
    """Look again and again; each look takes a fraction of a second."""
    return any(true() for _ in range(attempts))


def unique():
    return f"obi-test-{uuid.uuid4().hex[:8]}"


def offline():
    return {"OBI_KUBERNETES__ENABLED": "off", "OBI_AGENT__INTERVAL_S": "1s"}


@pytest.fixture(scope="module")
def agent(make):
    """The agent, ready, under the profile that it was recorded to need."""
    with make().running("obi", unique(), OBI_OTLP__ENDPOINT="http://127.0.0.1:4318", **offline()) as running:
        running.ready()
        yield running


def test_the_image_is_small_and_holds_no_compiler(image):
    def inspect(form):
        done = subprocess.run(
            ["podman", "image", "inspect", "--format", form, image], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert int(inspect("{{.Size}}")) < MOST_BYTES
    assert (inspect("{{.User}}"), inspect("{{.Config.Entrypoint}}"), inspect("{{.Config.Cmd}}")) == ("0:0", "[obi]", "[run]")
    names = "obi bpftool cat curl jq obi-install clang gcc pip pip3"
    look = f"for name in {names}; do command -v $name; done; true"
    command = [*pods.PODMAN, "run", "--rm", "--network", "none", *pods.NODE, "--entrypoint", "sh", image, "-c", look]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [Path(line).name for line in done.stdout.split()] == ["obi", "bpftool", "cat", "curl", "jq", "obi-install"]


def test_the_preflight_finds_every_probe_in_full(make):
    done = make().run("preflight", "doctor", "--preflight", "--json", **offline())
    assert (done.status, done.termination) == (0, "")
    document = json.loads(done.out)
    assert {probe["name"]: probe["support"] for probe in document["probes"]} == dict.fromkeys(PROBES, "full")
    assert document["node"]["capabilities"] == ["bpf", "net_admin", "perfmon"]
    assert document["node"]["capabilities_bounding"] == ["bpf", "net_admin", "perfmon"]
    assert (document["node"]["seccomp"], document["node"]["no_new_privileges"]) == ("filter", True)


def test_all_probes_attach_in_their_best_mode(agent):
    probes = json.loads(agent.get("/ready")[1])["probes"]
    assert {name: (probe["state"], probe["loses"]) for name, probe in probes.items()} == dict.fromkeys(
        PROBES, ("attached", [])
    )


def test_the_process_has_three_capabilities_a_filter_and_no_way_to_more(agent):
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{agent.pid()}/status").read_text().splitlines() if ":\t" in line
    )
    bits = sum(1 << bit for bit in (12, 38, 39))  # NET_ADMIN, PERFMON, BPF
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {bits}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Uid"].split()) == ("1", "2", ["0"] * 4)


def test_the_root_cannot_be_written_and_the_nodes_file_systems_neither(agent):
    for path in ("/here", "/opt/obi/here", "/etc/obi/config/here", "/sys/kernel/tracing/here", "/sys/fs/cgroup/here"):
        done = agent.exec("sh", "-c", f": > {path}")
        assert (done.status, "ead-only file system" in done.errors) == (2, True), path
    agent.exec("sh", "-c", ": > /tmp/here && : > /var/lib/obi/spool/here", check=True)


def test_traffic_on_the_node_is_counted_with_its_owner(agent):
    name = f"obi{uuid.uuid4().hex[:8]}"
    subprocess.run([sys.executable, "-c", CONNECTS, name], check=True)

    def counted():
        text = agent.get("/metrics", 9090)[1].splitlines()
        return sum(float(line.split()[-1]) for line in text if line.startswith("obi_tcp_connects_total{") and name in line)

    until(lambda: counted() >= 46)
    assert counted() == 46  # 23 at the client's end, 23 at the server's


def test_a_whole_health_check_finds_nothing_but_that_nobody_takes_what_is_exported(agent):
    scripts = [(ROOT / "tests/obi" / name).read_text() for name in ("health-check.sh", "lib.sh", "pods.sh")]
    put = 'cd "$(mktemp -d)" && printf %s "$1" >health-check.sh && printf %s "$2" >lib.sh && printf %s "$3" >pods.sh; shift 3'
    flags = ("--agents", "127.0.0.1", "--full", "--require", ",".join(sorted(PROBES)), "--max-cpu", "100", "--interval", "1s")
    done = agent.exec("bash", "-c", f'{put}; exec bash health-check.sh "$@"', "health-check", *scripts, *flags)
    assert (done.status, done.errors) == (1, "")
    seen = [line.split()[:2] for line in done.out.splitlines() if line.startswith(("ok ", "FAIL "))]
    assert {name for verdict, name in seen if verdict == "FAIL"} == {"export"}
    assert {name for verdict, name in seen if verdict == "ok"} >= {"health", "ready", "programs", "restarts", "cpu", "memory"}


def test_what_people_run_in_the_pod_works_under_the_profile(agent):
    assert agent.exec("cat", "/etc/debian_version", check=True).out.startswith("12")
    assert "alive" in agent.exec("obi", "health", check=True).out
    sent = agent.exec("obi", "test-export", "--endpoint", "127.0.0.1:4318")
    assert (sent.status, "Function not implemented" in sent.out + sent.errors) == (1, False)
    assert "refused" in sent.out + sent.errors  # nobody listens there
    done = agent.exec("bpftool", "prog", "list")
    assert (done.status, "Operation not permitted" in done.errors) == (255, True)  # it asks for all, which takes SYS_ADMIN


def test_it_shows_its_own_programs_where_bpftool_has_no_right(agent):
    for command in ("programs", "maps"):
        found = json.loads(agent.exec("obi", command, "--json", check=True).out)[command]
        assert {each["probe"] for each in found} == {"core", *PROBES}
        assert all(each["id"] > 0 for each in found)


def test_what_it_measures_reaches_a_receiver(make):
    with make().running(
        "obi", unique(), OBI_OTLP__ENDPOINT=f"127.0.0.1:{OTLP_PORT}", OBI_OTLP__INTERVAL_S="1s", **offline()
    ) as running:
        running.ready()
        command = ["nsenter", f"--net=/proc/{running.pid()}/ns/net", sys.executable, "-c", RECEIVE, str(OTLP_PORT)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    resource, names = map(json.loads, done.stdout.splitlines())
    assert {"obi_tcp_connects_total", "obi_network_packets_total", "obi_syscall_calls_total"} <= set(names)
    expected = {"service.name": "obi", "app": "obi", "k8s.node.name": "node-1", "k8s.namespace.name": "mop-system"}
    assert expected.items() <= resource.items()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Somebody's probe: the fixture distribution, built as a wheel, with the list that allows it."""
    folder = tmp_path_factory.mktemp("wheels")
    source = folder / "source"
    shutil.copytree(ROOT / "tests/fixtures/thirdparty", source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", folder, source], check=True)
    shutil.rmtree(source)
    (path,) = folder.glob("*.whl")
    name, version = path.name.split("-")[:2]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "allowed.txt").write_text(f"{name.replace('_', '-')}=={version} --hash=sha256:{digest}\n")
    return folder


def plugins_listed(done):
    return {each["name"]: each["dist"] for each in json.loads(done.stdout)["plugins"]}


def test_a_derived_image_of_three_lines_has_a_plugin_more(image, wheel, tmp_path):
    lines = (ROOT / "deploy/image/README.md").read_text().partition("```dockerfile\n")[2].partition("```")[0].splitlines()
    assert len(lines) == 3
    (tmp_path / "Containerfile").write_text("\n".join(lines).replace(f"FROM obi:{VERSION}", f"FROM {image}"))
    shutil.copytree(wheel, tmp_path / "wheels")
    tag = f"localhost/{unique()}"
    subprocess.run(
        ["buildah", "build", "--isolation", "chroot", "--quiet", "--tag", tag, tmp_path], check=True, capture_output=True
    )
    try:
        command = [*pods.PODMAN, "run", "--rm", "--network", "none", *pods.NODE, tag, "plugins", "list", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert plugins_listed(done)["heartbeat"] == "obi-plugin-heartbeat"
    finally:
        subprocess.run(["podman", "rmi", "--force", tag], check=True, capture_output=True)


def test_an_init_container_installs_a_plugin_that_then_attaches(make, kustomized, wheel):
    template = json.loads(json.dumps(kustomized("base", "wheels")["DaemonSet/obi"]["spec"]["template"]))
    # what the first container leaves for the others outlives it, which a tmpfs of podman's would not
    folders = {"plugins": "/shared", "wheels": "/wheels"}
    template["spec"]["volumes"] = [
        {"name": each["name"], "hostPath": {"path": folders[each["name"]]}} if each["name"] in folders else each
        for each in template["spec"]["volumes"]
    ]
    shared = wheel / "shared"
    shared.mkdir()
    pod = make(template=template, paths={"/shared": shared, "/wheels": wheel})
    done = pod.run("wheels")
    assert (done.status, done.errors) == (0, "")
    with pod.running("obi", unique(), OBI_AGENT__PLUGINS="tcp,heartbeat@obi-plugin-heartbeat", **offline()) as running:
        probes = running.ready()["probes"]
    assert {name: probe["state"] for name, probe in probes.items()} == {"tcp": "attached", "heartbeat": "attached"}


def test_a_pod_made_again_goes_on_with_its_spool(make):
    pod = make()
    env = {
        **offline(),
        "OBI_OTLP__ENDPOINT": "http://127.0.0.1:4318",
        "OBI_OTLP__INTERVAL_S": "1s",
        "OBI_OTLP__TIMEOUT_S": "1s",
    }

    def waiting(running):
        _, text = running.get("/metrics", 9090)
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("otlp_exporter_spool_items{"))

    with pod.running("obi", unique(), **env) as first:
        first.ready()
        assert until(lambda: waiting(first) > 0)
        before = waiting(first)
        first.kill()
    with pod.running("obi", unique(), **env) as second:
        second.ready()
        assert waiting(second) >= before


def test_a_profile_that_forbids_bpf_is_named_with_the_remedy(make):
    # podman's own default does; containerd's lets bpf() through to those who hold the capability
    done = make(seccomp=None).run("preflight", OBI_HTTP__REQUIRED="syscall", **offline())
    assert done.status == 3
    assert "preflight: no agent can start here: syscall: tp_btf: bpf_forbidden: " in done.termination
    assert "seccomp" in done.termination


def test_a_pod_that_pod_security_has_cut_down_says_which_capability_is_missing(make, plain):
    template = json.loads(json.dumps(plain["DaemonSet/obi"]["spec"]["template"]))
    for each in (*template["spec"]["initContainers"], *template["spec"]["containers"]):
        del each["securityContext"]["capabilities"]["add"]
    done = make(template=template).run("preflight", OBI_HTTP__REQUIRED="syscall", **offline())
    assert done.status == 3
    assert "syscall: tp_btf: missing_capability: " in done.termination
    assert "BPF" in done.termination


def test_a_node_without_bpffs_runs_as_well(make):
    with make(paths={"/sys/fs/bpf": None}).running("obi", unique(), **offline()) as running:
        probes = running.ready()["probes"]
    assert {probe["state"] for probe in probes.values()} == {"attached"}


def test_a_node_without_cgroup2_takes_the_next_mode_and_says_what_that_costs(make, tmp_path):
    with make(paths={"/sys/fs/cgroup": tmp_path}).running("obi", unique(), **offline()) as running:
        network = running.ready()["probes"]["network"]
        attempts = json.loads(running.get("/status")[1])["probes"]["network"]["attempts"]
    assert (network["state"], network["mode"]) == ("attached", "netlink")
    assert attempts[0]["reason"] == "no_cgroup2"
    assert "mount -t cgroup2" in attempts[0]["detail"]


def test_a_configmap_with_a_mistake_stops_a_new_pod_with_file_line_and_key(make):
    pod = make()
    pod.options("obi", {})  # fills the folders
    (pod.folder / "config/ebpf-tcp.yaml").write_text("tcp:\n  max_soccets: 12\n")
    for name in ("preflight", "obi"):
        done = pod.run(name, **offline())
        assert done.status == 2, name
        assert done.termination.splitlines()[-1] == (
            'obi: /etc/obi/config/ebpf-tcp.yaml:2: unknown key "max_soccets" in section "tcp"; did you mean "max_sockets"?'
        )


def test_a_mistake_that_comes_later_leaves_the_running_agent_as_it_is(make):
    pod = make()
    with pod.running("obi", unique(), **offline()) as running:
        running.ready()
        before = json.loads(running.get("/status")[1])["config"]["hash"]
        (pod.folder / "config/ebpf-tcp.yaml").write_text("tcp:\n  max_soccets: 12\n")
        assert until(lambda: running.exec("true") and "changed configuration refused" in running.log())
        assert "max_soccets" in running.log()
        assert running.get("/ready")[0] == 200
        assert json.loads(running.get("/status")[1])["config"]["hash"] == before


def test_a_wrong_secret_is_named_and_costs_the_export_alone(make):
    pod = make()
    pod.options("obi", {})
    (pod.folder / "otlp-certs/ca.crt").write_text("no certificate")
    env = {**offline(), "OBI_OTLP__ENDPOINT": "https://127.0.0.1:4318", "OBI_OTLP__TLS_DIR": "/etc/obi/otlp-certs"}
    done = pod.run("obi", "config", "check", **env)
    assert (done.status, "/etc/obi/otlp-certs/" in done.out + done.errors) == (2, True)
