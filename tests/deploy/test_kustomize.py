"""The kustomize tree: the base is the plain manifests, pools partition the nodes, each component does what it says."""

from pathlib import Path

import pytest

from obi_core.cli.doctor import emit
from obi_core.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = sorted(path.name for path in (ROOT / "deploy/k8s/kustomize/components").iterdir())
POOLS = sorted(path.stem for path in (ROOT / "config/pools").glob("*.yaml"))
AGENT = {"capabilities": {"drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "PERFMON"]}}


@pytest.fixture(scope="module")
def pools(kustomized):
    return kustomized("overlays/pools")


def spec(objects, name="DaemonSet/obi"):
    return objects[name]["spec"]["template"]["spec"]


def containers(objects, name="DaemonSet/obi"):
    pod = spec(objects, name)
    return {each["name"]: each for each in (*pod.get("initContainers", ()), *pod["containers"])}


def environment(container):
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def mounted(container):
    return {mount["name"]: mount for mount in container["volumeMounts"]}


def volumes(objects):
    return {volume["name"]: volume for volume in spec(objects)["volumes"]}


def fits(pod, labels):
    """Whether the scheduler may put a pod on a node with these labels; the operators are those that the manifests use."""
    if not pod.get("nodeSelector", {}).items() <= labels.items():
        return False
    required = pod.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    verdict = {
        "In": lambda rule: labels.get(rule["key"]) in rule["values"],
        "NotIn": lambda rule: labels.get(rule["key"]) not in rule["values"],
    }
    return any(
        all(verdict[rule["operator"]](rule) for rule in term["matchExpressions"]) for term in required["nodeSelectorTerms"]
    )


def test_the_base_is_the_plain_manifests(kustomized, plain):
    def by_name(objects):
        return sorted(objects, key=lambda thing: (thing["kind"], thing["metadata"]["name"]))

    assert by_name(kustomized("base")) == by_name(plain)


@pytest.mark.parametrize(
    "labels",
    [{}, {"obi/pool": "gpu"}, {"obi/pool": ""}, {"zone": "a"}, *({"obi/pool": pool} for pool in POOLS)],
    ids=str,
)
def test_every_node_belongs_to_exactly_one_pool(pools, labels):
    node = {"kubernetes.io/os": "linux", **labels}
    agents = [template["metadata"]["labels"]["pool"] for name, template in pools.pods() if name.startswith("DaemonSet")
              and fits(template["spec"], node)]  # fmt: skip
    assert agents == [labels.get("obi/pool") if labels.get("obi/pool") in POOLS else "default"]


def test_there_is_a_daemonset_for_each_pool_of_the_configuration_and_one_of_all_else(pools):
    assert sorted(each["metadata"]["name"] for each in pools.kind("DaemonSet")) == ["obi", *(f"obi-{pool}" for pool in POOLS)]
    for kind in ("Namespace", "Service", "CronJob", "ClusterRole", "ClusterRoleBinding", "PriorityClass", "ServiceAccount"):
        assert len(pools.kind(kind)) == 1, kind


@pytest.mark.parametrize("pool", POOLS)
def test_a_pool_is_told_apart_and_told_which_it_is(pools, pool):
    thing = pools[f"DaemonSet/obi-{pool}"]
    assert thing["spec"]["selector"]["matchLabels"] == {"app": "obi", "pool": pool}
    assert thing["spec"]["template"]["metadata"]["labels"]["pool"] == pool
    for container in containers(pools, f"DaemonSet/obi-{pool}").values():
        assert environment(container)["OBI_POOL"] == pool


@pytest.mark.parametrize("pool", POOLS)
def test_a_pool_has_its_own_settings_under_a_name_that_changes_with_them(pools, pool):
    (settings,) = [each for each in pools.kind("ConfigMap") if each["metadata"]["name"].startswith(f"obi-pool-{pool}-")]
    assert settings["data"] == {f"{pool}.yaml": (ROOT / f"config/pools/{pool}.yaml").read_text()}
    config = spec(pools, f"DaemonSet/obi-{pool}")["volumes"][0]["projected"]["sources"]
    assert [source["configMap"]["name"] for source in config] == ["obi-config", settings["metadata"]["name"]]
    assert config[1]["configMap"]["items"] == [{"key": f"{pool}.yaml", "path": f"pools/{pool}.yaml"}]


@pytest.mark.parametrize("pool", POOLS)
def test_a_pools_capabilities_are_what_its_list_of_plugins_needs(pools, pool):
    settings = load_settings(ROOT / "config", {"OBI_POOL": pool}, {})
    needed = sorted(name.upper() for name in emit.needed(settings).capabilities)
    for container in containers(pools, f"DaemonSet/obi-{pool}").values():
        assert container["securityContext"]["capabilities"]["add"] == needed


def test_the_busy_pool_goes_without_the_probe_that_every_call_pays_for():
    chosen = load_settings(ROOT / "config", {"OBI_POOL": "busy"}, {}).core.agent.plugins
    assert list(chosen) == ["network", "tcp", "limits"]


def test_host_network_declares_no_port_and_does_not_surge(kustomized):
    objects = kustomized("overlays/pools", "host-network")
    for thing in objects.kind("DaemonSet"):
        pod = thing["spec"]["template"]["spec"]
        assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
        assert "ports" not in pod["containers"][0]
        assert thing["spec"]["updateStrategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": "10%"}


def test_the_local_profile_is_put_on_the_node_before_it_is_used(kustomized):
    objects = kustomized("base", "seccomp-localhost")
    first, *others = containers(objects).values()
    assert (first["name"], [each["name"] for each in others]) == ("seccomp", ["preflight", "obi"])
    written = first["args"][0].rpartition(" /node/")[2]
    profile = {"type": "Localhost", "localhostProfile": written}
    assert [each["securityContext"]["seccompProfile"] for each in others] == [profile, profile]
    assert "seccompProfile" not in first["securityContext"]
    assert volumes(objects)["seccomp-node"]["hostPath"]["path"] == "/var/lib/kubelet/seccomp"
    source = volumes(objects)["seccomp-profile"]["configMap"]["name"]
    assert list(objects[f"ConfigMap/{source}"]["data"]) == ["obi.json"]


def test_privileged_is_privileged_and_nothing_that_contradicts_it(kustomized):
    for container in containers(kustomized("base", "privileged")).values():
        assert container["securityContext"] == {"privileged": True, "readOnlyRootFilesystem": True}


def test_inspect_adds_sys_admin_to_the_agent_alone(kustomized):
    found = containers(kustomized("base", "inspect"))
    assert found["obi"]["securityContext"]["capabilities"]["add"] == ["BPF", "NET_ADMIN", "PERFMON", "SYS_ADMIN"]
    assert found["preflight"]["securityContext"]["capabilities"]["add"] == ["BPF", "NET_ADMIN", "PERFMON"]


def test_no_metadata_takes_the_token_and_the_rights_away(kustomized):
    objects = kustomized("base", "no-metadata")
    assert objects.kind("ClusterRole") + objects.kind("ClusterRoleBinding") == []
    assert spec(objects)["automountServiceAccountToken"] is False
    assert {environment(each)["OBI_KUBERNETES__ENABLED"] for each in containers(objects).values()} == {"off"}
    given = {name: text for name, text in environment(containers(objects)["obi"]).items() if name.startswith("OBI_") and text}
    given.pop("OBI_CONFIG")
    assert load_settings(ROOT / "config", given, {}).core.kubernetes.enabled == "off"


def test_peers_reads_services_too(kustomized):
    objects = kustomized("base", "peers")
    assert objects["ClusterRole/obi"]["rules"][0]["resources"] == ["pods", "nodes", "namespaces", "services"]
    assert environment(containers(objects)["obi"])["OBI_KUBERNETES__PEERS"] == "true"


def test_monitoring_scrapes_every_pool_under_the_job_that_the_alerts_ask_for(kustomized):
    objects = kustomized("overlays/pools", "monitoring")
    monitor = objects["PodMonitor/obi"]["spec"]
    chosen = monitor["selector"]["matchLabels"].items()
    scraped = [
        template["metadata"]["labels"] for _, template in objects.pods() if chosen <= template["metadata"]["labels"].items()
    ]
    assert sorted(labels["pool"] for labels in scraped) == sorted(["default", *POOLS])
    assert {labels[monitor["jobLabel"]] for labels in scraped} == {"obi"}
    (alert,) = [
        rule["expr"] for group in objects["PrometheusRule/obi"]["spec"]["groups"] for rule in group["rules"]
        if rule["alert"] == "ObiAgentDown"
    ]  # fmt: skip
    assert alert == 'up{job="obi"} == 0'


def test_bcc_brings_the_other_image_and_the_nodes_headers(kustomized):
    objects = kustomized("base", "bcc")
    version = containers(kustomized("base"))["obi"]["image"]
    for container in containers(objects).values():
        assert container["image"] == f"{version}-bcc"
        paths = {mount["mountPath"] for mount in container["volumeMounts"] if mount.get("readOnly")}
        assert paths >= {"/lib/modules", "/usr/src"}


def test_the_spool_may_be_a_claim_with_a_folder_for_each_node(kustomized):
    objects = kustomized("base", "spool-claim")
    assert volumes(objects)["spool"] == {"name": "spool", "persistentVolumeClaim": {"claimName": "obi-spool"}}
    assert "storageClassName" in objects["PersistentVolumeClaim/obi-spool"]["spec"]
    for container in containers(objects).values():
        assert mounted(container)["spool"]["subPathExpr"] == "$(K8S_NODE_NAME)"


def test_cert_manager_makes_the_secret_that_is_mounted(kustomized):
    certificate = kustomized("base", "cert-manager")["Certificate/obi-otlp-certs"]
    assert certificate["spec"]["secretName"] == volumes(kustomized("base"))["otlp-certs"]["secret"]["secretName"]


def test_wheels_are_installed_first_and_without_a_right(kustomized):
    first, *others = containers(kustomized("base", "wheels")).values()
    assert (first["name"], first["command"]) == ("wheels", ["obi-install", "--to", "/plugins", "/wheels"])
    assert first["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for container in others:
        assert environment(container)["PYTHONPATH"] == "/plugins"
        assert mounted(container)["plugins"]["readOnly"] is True


def test_components_go_together(kustomized):
    """All that do not exclude each other, in one build: none addresses a container by a place that another one moves."""
    found = containers(
        kustomized("overlays/pools", "seccomp-localhost", "wheels", "spool-claim", "no-metadata", "bcc", "host-network")
    )
    assert sorted(found) == ["obi", "preflight", "seccomp", "wheels"]
    for name in ("preflight", "obi"):
        assert environment(found[name]).items() >= {"OBI_KUBERNETES__ENABLED": "off", "PYTHONPATH": "/plugins"}.items()
        assert found[name]["securityContext"]["seccompProfile"]["type"] == "Localhost"
        assert "plugins" in mounted(found[name])


def test_every_component_has_its_test():
    text = Path(__file__).read_text()
    assert [name for name in COMPONENTS if f'"{name}"' not in text] == []
