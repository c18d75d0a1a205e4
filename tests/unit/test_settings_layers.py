"""Environment, pool overlay, command line: precedence, the place of every value, and the exact sentences."""

import pytest
from pydantic import Field

from obi_core.errors import ConfigError
from obi_core.settings import Given, Listen, Origin, ProbeSettings, load_settings

# What a kubelet injects for a Service called `obi`.
KUBERNETES = {
    "OBI_PORT": "tcp://10.0.0.1:9090",
    "OBI_SERVICE_HOST": "10.0.0.1",
    "OBI_SERVICE_PORT": "9090",
    "OBI_PORT_9090_TCP": "tcp://10.0.0.1:9090",
    "OBI_PORT_9090_TCP_ADDR": "10.0.0.1",
}


class TcpSettings(ProbeSettings):
    max_sockets: int = Field(16, ge=1, description="")
    names: tuple[str, ...] = Field((), description="")


def refused(environ=(), overrides=(), directory=None):
    def load():
        settings = load_settings(directory, dict(environ), dict(overrides))
        settings.unlisted(["tcp"])
        settings.probe("tcp", TcpSettings)

    with pytest.raises(ConfigError) as caught:
        load()
    return str(caught.value)


def test_without_anything_all_is_default():
    core = load_settings(None, {}, {}).core
    assert (core.agent.plugins, core.agent.interval_s, core.agent.view) == (None, 10.0, "auto")
    assert (str(core.metrics.listen), str(core.http.listen)) == ("127.0.0.1:9090", "127.0.0.1:8080")
    assert core.otlp.endpoint is None


def test_kubernetes_service_variables_are_ignored():
    settings = load_settings(None, KUBERNETES, {})
    assert settings.core == load_settings(None, {}, {}).core
    assert settings.unlisted([]) == ()


def test_each_layer_wins_over_the_one_below_and_is_named(tmp_path):
    (tmp_path / "pools").mkdir()
    (tmp_path / "obi.yaml").write_text(
        "agent:\n  interval_s: 2s\n  step_deadline_s: 2s\n  collect_deadline_s: 2s\n  log_level: error\n"
    )
    (tmp_path / "pools/gpu.yaml").write_text("agent:\n  interval_s: 3s\n  step_deadline_s: 3s\n  collect_deadline_s: 3s\n")
    environ = {"OBI_POOL": "gpu", "OBI_AGENT__INTERVAL_S": "4s", "OBI_AGENT__STEP_DEADLINE_S": "4s"}
    settings = load_settings(tmp_path, environ, {"agent.interval_s": Given("5s", "--interval")})
    agent = settings.core.agent
    assert (agent.interval_s, agent.step_deadline_s, agent.collect_deadline_s) == (5.0, 4.0, 3.0)
    assert (agent.log_level, agent.shutdown_deadline_s) == ("error", 5.0)
    places = {key: settings.origin(f"agent.{key}") for key in type(agent).model_fields}
    assert {key: place.origin for key, place in places.items()} == {
        "plugins": Origin.DEFAULT,
        "interval_s": Origin.COMMAND_LINE,
        "log_level": Origin.FILE,
        "view": Origin.DEFAULT,
        "views": Origin.DEFAULT,
        "step_deadline_s": Origin.ENVIRONMENT,
        "collect_deadline_s": Origin.POOL,
        "shutdown_deadline_s": Origin.DEFAULT,
        "reload": Origin.DEFAULT,
        "own_spans_every": Origin.DEFAULT,
    }
    assert str(places["interval_s"]) == "--interval"
    assert str(places["step_deadline_s"]) == "OBI_AGENT__STEP_DEADLINE_S"
    assert str(places["collect_deadline_s"]) == f"{tmp_path}/pools/gpu.yaml:4"
    assert str(places["log_level"]) == f"{tmp_path}/obi.yaml:5"
    assert str(places["view"]) == "default"


def test_an_overlay_changes_a_probe_value_by_value_and_lists_as_a_whole(tmp_path):
    (tmp_path / "pools").mkdir()
    (tmp_path / "tcp.yaml").write_text("tcp:\n  max_sockets: 8\n  names: [a, b]\n")
    (tmp_path / "pools/gpu.yaml").write_text("tcp:\n  names: [c]\n")
    tcp = load_settings(tmp_path, {"OBI_POOL": "gpu"}, {}).probe("tcp", TcpSettings)
    assert (tcp.max_sockets, tcp.names) == (8, ("c",))


def test_mappings_are_merged_key_by_key_and_each_key_has_its_place(tmp_path):
    (tmp_path / "obi.yaml").write_text("resource:\n  attributes:\n    a: file\n    b: file\n")
    settings = load_settings(tmp_path, {"OBI_RESOURCE__ATTRIBUTES": "b=env,c=x=y"}, {})
    assert settings.core.resource.attributes == {"a": "file", "b": "env", "c": "x=y"}
    assert str(settings.origin("resource.attributes.a")) == f"{tmp_path}/obi.yaml:3"
    assert str(settings.origin("resource.attributes.b")) == "OBI_RESOURCE__ATTRIBUTES"


def test_a_variable_of_a_probe_reaches_its_section():
    settings = load_settings(None, {"OBI_TCP__INTERVAL_S": "2", "OBI_TCP__MAX_SOCKETS": "64"}, {})
    tcp = settings.probe("tcp", TcpSettings)
    assert (tcp.interval_s, tcp.max_sockets) == (2.0, 64)


def test_lists_and_addresses_come_from_variables():
    core = load_settings(None, {"OBI_AGENT__PLUGINS": "tcp, other@dist", "OBI_HTTP__LISTEN": "[::1]:0"}, {}).core
    assert core.agent.plugins == ("tcp", "other@dist")
    assert core.http.listen == Listen("::1", 0)


def test_headers_are_never_shown():
    core = load_settings(None, {"OBI_OTLP__HEADERS": "authorization=hunter2"}, {}).core
    assert core.otlp.headers["authorization"].get_secret_value() == "hunter2"
    assert "hunter2" not in repr(core)
    assert "hunter2" not in core.model_dump_json()
    assert "hunter2" not in refused({"OBI_OTLP__HEADERS": "hunter2"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("OBI_METRICS__LISTN", 'unknown variable; did you mean "OBI_METRICS__LISTEN"?'),
        ("OBI_TCP__INTERVAL", 'unknown variable; did you mean "OBI_TCP__INTERVAL_S"?'),
        ("OBI_TPC__INTERVAL_S", 'unknown variable: there is no section "tpc"; did you mean "tcp"?'),
        (
            "OBI_XYZ__A",
            (
                'unknown variable: there is no section "xyz"; known: agent, budgets, http, identity, kernel, kubernetes, '
                "metrics, otlp, otlp_logs, otlp_metrics, otlp_traces, resource, spool, tcp"
            ),
        ),
        ("OBI_AGENT__", "is no settings variable; they have the form OBI_SECTION__KEY"),
        ("OBI_OTLP__HEADERS__X", "is no settings variable; they have the form OBI_SECTION__KEY"),
        ("OBI___X", "is no settings variable; they have the form OBI_SECTION__KEY"),
    ],
)
def test_an_unknown_variable_names_the_nearest(name, expected):
    assert refused({name: "1"}) == f"{name}: {expected}"


def test_a_variable_of_an_installed_plugin_that_is_not_listed_is_no_error():
    settings = load_settings(None, {"OBI_SYSCALL__X": "1"}, {})
    assert settings.unlisted(["tcp"], installed=["tcp", "syscall"]) == ("syscall",)


def test_a_wrong_value_names_the_variable_or_the_flag():
    assert refused({"OBI_METRICS__LISTEN": "9090"}) == (
        'OBI_METRICS__LISTEN: metrics.listen: "9090" is not allowed; '
        "it must be HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:9090, [::1]:9090 or :9090"
    )
    assert refused(overrides={"agent.interval_s": Given("-1", "--interval")}) == (
        '--interval: agent.interval_s: "-1" is not allowed; it must be a duration, such as 2s, 500ms or 1m'
    )
    assert refused({"OBI_OTLP__ENDPOINT": ""}) == (
        'OBI_OTLP__ENDPOINT: otlp.endpoint: "" is not allowed; it must have at least 1 character'
    )


def test_a_pool_without_a_directory():
    assert refused({"OBI_POOL": "gpu"}) == "OBI_POOL: pool 'gpu' needs a configuration directory; give one with --config"


def test_a_pool_that_does_not_exist_lists_those_that_do(tmp_path):
    (tmp_path / "pools").mkdir()
    (tmp_path / "pools/gpu.yaml").write_text("")
    (tmp_path / "obi.yaml").write_text("")
    assert refused({"OBI_POOL": "gpus"}, directory=tmp_path) == (
        f"OBI_POOL: no pool 'gpus': {tmp_path}/pools/gpus.yaml does not exist; pools there: gpu"
    )


def test_a_pool_s_name_cannot_leave_its_directory(tmp_path):
    assert refused({"OBI_POOL": "../obi"}, directory=tmp_path) == (
        "OBI_POOL: '../obi' is no name of a pool: letters, digits, '-', '_' and '.' are allowed"
    )


def test_a_mistake_in_an_overlay_names_the_overlay(tmp_path):
    (tmp_path / "pools").mkdir()
    (tmp_path / "pools/gpu.yaml").write_text("tcp:\n  max_sockets: none\n")
    (tmp_path / "obi.yaml").write_text("tcp: {max_sockets: 3}")
    assert refused({"OBI_POOL": "gpu"}, directory=tmp_path) == (
        f'{tmp_path}/pools/gpu.yaml:2: tcp.max_sockets: "none" is not allowed; it must be a whole number'
    )


def test_every_section_of_the_core_is_read(tmp_path):
    from obi_core.settings import CoreSettings

    for section in CoreSettings.model_fields:
        (tmp_path / "obi.yaml").write_text(f"{section}:\n  no_such_key_at_all: 1\n")
        with pytest.raises(ConfigError, match=f'unknown key "no_such_key_at_all" in section "{section}"'):
            load_settings(tmp_path, {}, {})
