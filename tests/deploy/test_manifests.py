"""Each promise of the plain manifests, on the objects that a cluster would get."""

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml

from obi_core.cli.doctor import emit
from obi_core.runtime.registry import discover
from obi_core.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
AGENT = ("preflight", "obi")


def run(*command: str) -> tuple[int, str]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def quantity(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Ki|Mi|Gi)?", text).groups()
    return int(number) << {None: 0, "Ki": 10, "Mi": 20, "Gi": 30}[unit]


@pytest.fixture(scope="module")
def settings():
    return load_settings(ROOT / "config", {}, {})


@pytest.fixture(scope="module")
def needed(settings):
    return emit.needed(settings)


@pytest.fixture(params=AGENT)
def container(request, plain):
    spec = plain["DaemonSet/obi"]["spec"]["template"]["spec"]
    (found,) = [each for each in chain(spec["initContainers"], spec["containers"]) if each["name"] == request.param]
    return found


@pytest.fixture
def pod(plain):
    return plain["DaemonSet/obi"]["spec"]["template"]


def mounts(pod, container):
    """By path in the container: the mount and its volume."""
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    return {mount["mountPath"]: (mount, volumes[mount["name"]]) for mount in container["volumeMounts"]}


def test_the_top_level_is_these_objects_and_no_other(plain):
    assert plain.names == [
        "ClusterRole/obi", "ClusterRoleBinding/obi",
        "ConfigMap/obi-config", "ConfigMap/obi-health-check", "ConfigMap/obi-pools",
        "CronJob/obi-health-check", "DaemonSet/obi", "Namespace/mop-system",
        "NetworkPolicy/obi", "NetworkPolicy/obi-health-check", "PriorityClass/obi", "Service/obi", "ServiceAccount/obi",
    ]  # fmt: skip


def test_kubectl_meets_the_namespace_first_and_nothing_that_an_empty_cluster_does_not_know(plain):
    groups = {"v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1", "networking.k8s.io/v1", "scheduling.k8s.io/v1"}
    assert plain.all[0]["kind"] == "Namespace"
    assert {thing["apiVersion"] for thing in plain} == groups


def test_everything_that_lives_in_a_namespace_lives_in_mop_system_and_is_labelled(plain):
    without = {"Namespace", "ClusterRole", "ClusterRoleBinding", "PriorityClass"}
    assert {thing["metadata"].get("namespace") for thing in plain if thing["kind"] not in without} == {"mop-system"}
    assert {thing["metadata"]["labels"].get("app") for thing in plain if thing["kind"] != "Namespace"} == {"obi"}


def test_the_namespace_lets_privileged_pods_in_without_a_warning(plain):
    labels = plain["Namespace/mop-system"]["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"privileged"}


def test_every_pod_is_app_obi_and_only_agents_belong_to_a_pool(plain):
    labels = {name: template["metadata"]["labels"] for name, template in plain.pods()}
    assert {each["app"] for each in labels.values()} == {"obi"}
    assert {name: each.get("pool") for name, each in labels.items()} == {
        "DaemonSet/obi": "default", "CronJob/obi-health-check": None,
    }  # fmt: skip
    assert plain["DaemonSet/obi"]["spec"]["selector"] == {"matchLabels": {"app": "obi", "pool": "default"}}


def test_the_capabilities_are_the_union_of_what_the_plugins_need(container, needed):
    given = container["securityContext"]["capabilities"]
    assert given == {"drop": ["ALL"], "add": sorted(name.upper() for name in needed.capabilities)}
    assert given["add"] == ["BPF", "NET_ADMIN", "PERFMON"]


def test_what_doctor_emits_is_what_the_manifest_has(container, pod, needed):
    emitted = yaml.safe_load("\n".join(emit.emitted("security-context", needed)))
    assert {**pod["spec"]["securityContext"], **container["securityContext"]}.items() >= emitted.items()
    # BCC, which wants headers and modules, is not in the plain image: kustomize/components/bcc
    wanted = yaml.safe_load("\n".join(emit.emitted("mounts", needed)))["volumeMounts"]
    have = mounts(pod, container)
    assert {mount["mountPath"] for mount in wanted} - have.keys() == {"/lib/modules", "/usr/src"}
    assert all(have[mount["mountPath"]][0]["readOnly"] for mount in wanted if mount["mountPath"] in have)


def test_the_root_is_read_only_and_nobody_gains_rights(plain):
    for name, container in plain.containers():
        context = container["securityContext"]
        flags = [context[key] for key in ("privileged", "allowPrivilegeEscalation", "readOnlyRootFilesystem")]
        assert flags == [False, False, True], name
        assert context["capabilities"]["drop"] == ["ALL"], name


def test_every_pod_has_a_seccomp_profile_and_says_who_it_is(plain):
    contexts = {name: template["spec"]["securityContext"] for name, template in plain.pods()}
    assert {context["seccompProfile"]["type"] for context in contexts.values()} == {"RuntimeDefault"}
    assert {name: context["runAsUser"] for name, context in contexts.items()} == {
        "DaemonSet/obi": 0, "CronJob/obi-health-check": 65534,
    }  # fmt: skip


def test_apparmor_is_set_deliberately_for_both_containers_of_the_agent(pod):
    annotations = pod["metadata"]["annotations"]
    assert {f"container.apparmor.security.beta.kubernetes.io/{name}": "unconfined" for name in AGENT} == annotations


def test_the_pod_sees_the_nodes_processes_and_not_its_network(pod):
    assert pod["spec"]["hostPID"] is True
    assert "hostNetwork" not in pod["spec"]
    assert pod["spec"]["enableServiceLinks"] is False


def test_kernel_file_systems_come_from_the_node_read_only_but_for_bpffs(container, pod):
    have = mounts(pod, container)
    from_node = {path: mount.get("readOnly", False) for path, (mount, volume) in have.items() if "hostPath" in volume}
    assert from_node == {
        "/sys/fs/bpf": False, "/sys/fs/cgroup": True, "/sys/kernel/debug": True, "/sys/kernel/tracing": True,
        "/var/lib/obi/spool": False,
    }  # fmt: skip
    assert all(volume["hostPath"]["path"] == path for path, (_, volume) in have.items() if "hostPath" in volume)
    mount, volume = have["/sys/fs/bpf"]
    assert (mount["mountPropagation"], volume["hostPath"]["type"]) == ("HostToContainer", "Directory")


def test_both_containers_have_the_same_rights_mounts_and_settings(pod):
    (first,), (second,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
    for key in ("securityContext", "volumeMounts", "env", "resources", "image"):
        assert first[key] == second[key], key
    assert (first["args"], second["args"]) == (["doctor", "--preflight"], ["run"])
    assert {first["terminationMessagePolicy"], second["terminationMessagePolicy"]} == {"FallbackToLogsOnError"}


def test_the_memory_limit_has_room_for_all_maps_and_a_second_obi(container, settings):
    probes = [plugin for plugin in discover(settings.core.agent.plugins) if plugin.probe is not None]
    maps = len(probes) * settings.core.budgets.map_memory
    agent, another = 70 * MIB, 100 * MIB
    limit = quantity(container["resources"]["limits"]["memory"])
    assert limit >= max(256 * MIB, maps + agent + another)
    assert quantity(container["resources"]["requests"]["memory"]) <= limit


def test_every_container_requests_and_limits_processor_and_memory(plain):
    for name, container in plain.containers():
        for kind in ("requests", "limits"):
            assert container["resources"][kind].keys() == {"cpu", "memory"}, name


def test_probes_ask_health_for_life_and_ready_for_readiness(pod):
    (agent,) = pod["spec"]["containers"]
    asked = {name: agent[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert asked == {
        "startup": {"path": "/health", "port": 8080},
        "liveness": {"path": "/health", "port": 8080},
        "readiness": {"path": "/ready", "port": 8080},
    }


def test_the_agent_listens_where_the_service_and_the_probes_look(plain, container):
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    (service,) = plain.kind("Service")
    ports = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
    assert environment["OBI_METRICS__LISTEN"] == f"0.0.0.0:{ports['metrics']}"
    assert environment["OBI_HTTP__LISTEN"] == f"0.0.0.0:{ports['health']}"
    assert ports == {"metrics": 9090, "health": 8080}


def test_the_service_finds_agents_of_every_pool_and_no_health_check(plain):
    (service,) = plain.kind("Service")
    selector = service["spec"]["selector"].items()
    assert [name for name, pod in plain.pods() if selector <= pod["metadata"]["labels"].items()] == ["DaemonSet/obi"]
    assert service["spec"]["clusterIP"] == "None"
    assert "pool" not in service["spec"]["selector"]


def test_the_settings_of_the_environment_are_settings(container):
    environment = {entry["name"]: entry.get("value", "some") for entry in container["env"]}
    assert environment.pop("OBI_CONFIG") == "/etc/obi/config"
    loaded = load_settings(ROOT / "config", environment, {}).core
    assert str(loaded.metrics.listen) == "0.0.0.0:9090"
    assert loaded.spool.directory == "/var/lib/obi/spool"


def test_the_spool_is_on_the_node_so_a_pod_made_again_goes_on_with_it(container, pod):
    _, volume = mounts(pod, container)["/var/lib/obi/spool"]
    assert volume["hostPath"] == {"path": "/var/lib/obi/spool", "type": "DirectoryOrCreate"}


def test_the_certificates_are_mounted_where_the_configuration_points(container, pod):
    mount, volume = mounts(pod, container)["/etc/obi/otlp-certs"]
    assert volume["secret"] == {"secretName": "obi-otlp-certs", "optional": True, "defaultMode": 0o400}
    assert mount["readOnly"] is True
    for signal in ("traces", "metrics", "logs"):
        assert "# tls_dir: /etc/obi/otlp-certs" in (ROOT / f"config/otlp-{signal}.yaml").read_text()


def test_the_configmaps_are_the_files_of_config(plain):
    for name, folder in (("obi-config", "config"), ("obi-pools", "config/pools")):
        files = {path.name: path.read_text() for path in (ROOT / folder).glob("*.yaml")}
        assert plain[f"ConfigMap/{name}"]["data"] == files


def test_every_pool_of_the_configuration_is_projected_where_the_agent_looks(pod, plain):
    (config,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "config"]
    first, second = (source["configMap"] for source in config["projected"]["sources"])
    assert first == {"name": "obi-config"}
    assert second == {
        "name": "obi-pools",
        "items": [{"key": key, "path": f"pools/{key}"} for key in sorted(plain["ConfigMap/obi-pools"]["data"])],
    }


def test_what_repeats_other_files_is_made_of_them(plain):
    done = subprocess.run(
        [sys.executable, "tools/manifests", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)
    scripts = {name: (ROOT / "tests/obi" / name).read_text() for name in ("health-check.sh", "lib.sh", "pods.sh")}
    assert plain["ConfigMap/obi-health-check"]["data"] == scripts


def test_the_health_check_is_a_cronjob_without_rights_that_runs_the_script(plain):
    job = plain["CronJob/obi-health-check"]["spec"]
    spec = job["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["command"] == ["/bin/bash", "/checks/health-check.sh"]
    assert container["args"][:2] == ["--service", "obi.mop-system.svc"]
    assert "add" not in container["securityContext"]["capabilities"]
    assert (spec["automountServiceAccountToken"], spec["securityContext"]["runAsNonRoot"]) == (False, True)
    assert job["concurrencyPolicy"] == "Forbid"


def test_the_account_may_read_who_is_who_and_nothing_else(plain):
    assert plain["ClusterRole/obi"]["rules"] == [
        {"apiGroups": [""], "resources": ["pods", "nodes", "namespaces"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get", "list", "watch"]},
    ]
    binding = plain["ClusterRoleBinding/obi"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "obi", "namespace": "mop-system"}]
    assert binding["roleRef"]["name"] == "obi"


def test_a_roll_brings_the_new_agent_before_the_old_one_goes(plain):
    spec = plain["DaemonSet/obi"]["spec"]
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "10%", "maxUnavailable": 0}}
    assert spec["minReadySeconds"] == 15
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 30


def test_the_agent_goes_to_every_linux_node_and_is_not_the_first_to_be_evicted(plain, pod):
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert pod["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert pod["spec"]["priorityClassName"] == plain.kind("PriorityClass")[0]["metadata"]["name"]
    assert 0 < plain["PriorityClass/obi"]["value"] <= 1_000_000_000


def test_the_network_policy_lets_monitoring_in_and_dns_otlp_and_the_api_out(plain):
    spec = plain["NetworkPolicy/obi"]["spec"]
    (inward,) = spec["ingress"]
    assert [port["port"] for port in inward["ports"]] == [9090, 8080]
    assert inward["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
        {"podSelector": {"matchLabels": {"app": "obi"}}},
    ]
    assert {port["port"] for rule in spec["egress"] for port in rule.get("ports", ())} == {53, 443, 6443, 4317, 4318}
    agents = [
        name for name, pod in plain.pods() if spec["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    ]
    assert agents == ["DaemonSet/obi"]


def test_the_image_carries_the_version_of_the_tree(plain):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {container["image"] for _, container in plain.containers()} == {f"obi:{version}"}


def test_no_private_key_is_in_the_tree_and_the_secret_would_not_be_committed():
    assert run("git", "check-ignore", "--quiet", "deploy/k8s/otlp-secret.yaml") == (0, "")
    _, found = run("git", "grep", "-lE", "BEGIN ([A-Z]+ )?PRIVATE KEY")
    assert [path for path in found.splitlines() if not path.startswith("tests/")] == []
