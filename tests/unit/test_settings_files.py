"""Configuration files: what is read, how it is merged, and the exact sentence for each mistake."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pydantic import Field

from obi_core.errors import ConfigError
from obi_core.settings import ProbeSettings, Settings, load_settings

ADDRESS = "must be HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:9090, [::1]:9090 or :9090"
ROOT = Path(__file__).parents[2]


class TcpSettings(ProbeSettings):
    max_sockets: int = Field(16, ge=1, description="")


def load(directory, **files):
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_yaml", ".yaml").replace("_yml", ".yml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return load_settings(directory, {}, {})


def sentence(directory, **files):
    with pytest.raises(ConfigError) as caught:
        load(directory, **files).probe("tcp", TcpSettings)
    assert caught.value.exit_status == 2
    return str(caught.value).replace(f"{directory}", "DIR")


def built_in():
    """Settings types of the probes of this tree, by section."""
    found = {}
    for entry in entry_points(group="obi.plugins"):
        if entry.value == f"obi_plugin_{entry.name}":
            (probe,) = entry.load().obi_register_probes()
            found[entry.name] = probe.settings_type
    return found


def test_the_repository_s_own_config_directory_loads_and_says_the_defaults_but_for_the_names_that_dashboards_want():
    settings = load_settings(ROOT / "config", {}, {})
    assert settings.core == load_settings(None, {}, {"otlp_metrics.naming": "prometheus"}).core
    assert settings.unlisted(built_in()) == ()
    for name, kind in built_in().items():
        assert settings.probe(name, kind) == kind()


@pytest.mark.parametrize("name", sorted(built_in()))
def test_what_the_file_of_a_probe_shows_commented_out_are_the_defaults_of_all_its_keys(tmp_path, name):
    kind, text = built_in()[name], (ROOT / f"config/ebpf-{name}.yaml").read_text()
    text = re.sub(r"(?m)^( *)# ([a-z0-9_]+:( [^ ].*)?)$", r"\1\2", text)
    settings = load(tmp_path, ebpf_yaml=text)
    shown = kind.model_fields.keys() - {"interval_s"}
    assert [key for key in shown if settings.origin(f"{name}.{key}").line is None] == []
    assert settings.probe(name, kind).model_copy(update={"interval_s": None}) == kind()


@pytest.mark.parametrize("pool", [path.stem for path in (ROOT / "config/pools").glob("*.yaml")])
def test_every_pool_of_the_repository_is_valid_and_changes_something(pool):
    def everything(environ):
        settings = load_settings(ROOT / "config", environ, {})
        assert settings.unlisted(built_in()) == ()
        return settings.core, [settings.probe(name, kind) for name, kind in built_in().items()]

    assert everything({}) != everything({"OBI_POOL": pool})


@pytest.mark.parametrize(
    ("name", "examples"),
    [
        ("obi", 47),
        ("identity", 14),
        ("otlp-traces", 11),
        ("otlp-metrics", 13),
        ("otlp-logs", 11),
        ("otlp-resource-attributes", 5),
    ],
)
def test_every_example_in_the_commented_config_is_valid(tmp_path, name, examples):
    text = (ROOT / f"config/{name}.yaml").read_text()
    text, count = re.subn(r"(?m)^( *)# ( *[a-z0-9_.-]+:( .*)?)$", r"\1\2", text)
    assert count == examples
    core = load(tmp_path, obi_yaml=text).core
    if name == "obi":
        assert core.agent.plugins == ("tcp",)
        assert core.otlp.endpoint == "127.0.0.1:4317"
        assert core.otlp.headers["authorization"].get_secret_value() == "Bearer …"
        assert core.spool.directory == "/var/lib/obi/spool"
    elif name == "identity":
        assert core.kubernetes.pod_labels == ("app.kubernetes.io/name",)
        assert core.identity.redact == (r"--card[= ](\S+)",)
    elif name == "otlp-resource-attributes":
        assert core.resource.attributes["k8s.cluster.name"] == "berlin-1"
    else:
        export = core.export(name.removeprefix("otlp-"))
        assert "monitoring" in export.settings.endpoint
        assert export.settings.headers["x-scope-orgid"].get_secret_value() == "team-a"


def test_files_of_one_directory_are_merged_by_section(tmp_path):
    settings = load(tmp_path, a_yaml="agent: {interval_s: 3s}", b_yaml="tcp: {max_sockets: 7}")
    assert settings.core.agent.interval_s == 3.0
    assert settings.probe("tcp", TcpSettings).max_sockets == 7


def test_files_in_subdirectories_hidden_files_and_other_suffixes_are_not_read(tmp_path):
    (tmp_path / ".hidden.yaml").write_text("nonsense")
    (tmp_path / "notes.txt").write_text("nonsense")
    settings = load(tmp_path, obi_yaml="agent: {interval_s: 3s}", prometheus__alerts_yaml="groups: []")
    assert settings.core.agent.interval_s == 3.0


def test_an_empty_file_and_an_empty_section_say_nothing(tmp_path):
    settings = load(tmp_path, a_yaml="", b_yaml="agent:\ntcp:\n")
    assert settings.core.agent.interval_s == 10.0
    assert settings.probe("tcp", TcpSettings) == TcpSettings()


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfagent: {interval_s: 3s}\n")
    assert load(tmp_path).core.agent.interval_s == 3.0


def test_a_section_in_two_files_names_both(tmp_path):
    assert sentence(tmp_path, a_yaml="\ntcp: {}\n", b_yaml="tcp: {}\n") == (
        'DIR/b.yaml:1: section "tcp" is already in DIR/a.yaml:2; a section belongs in one file'
    )


def test_a_directory_that_does_not_exist(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / "no", {}, {})
    assert str(caught.value) == (
        f"{tmp_path}/no: no such directory; --config and OBI_CONFIG name a directory with *.yaml files"
    )


def test_a_file_given_as_directory(tmp_path):
    (tmp_path / "obi.yaml").write_text("")
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / "obi.yaml", {}, {})
    assert str(caught.value) == (
        f"{tmp_path}/obi.yaml: is not a directory; --config and OBI_CONFIG take the directory that holds it"
    )


def test_an_empty_directory(tmp_path):
    assert sentence(tmp_path) == "DIR: no *.yaml file in this directory"


def test_a_directory_with_a_wrong_suffix_says_so(tmp_path):
    assert sentence(tmp_path, obi_yml="") == "DIR: no *.yaml file in this directory; rename obi.yml to obi.yaml"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("agent:\n  intervall_s: 1s\n", '2: unknown key "intervall_s" in section "agent"; did you mean "interval_s"?'),
        ("\ntcp:\n  max_socket: 1\n", '3: unknown key "max_socket" in section "tcp"; did you mean "max_sockets"?'),
        ("tcp:\n  qq: 1\n", '2: unknown key "qq" in section "tcp"; known: interval_s, max_sockets'),
        (
            "agent:\n  interval_s: fast\n",
            '2: agent.interval_s: "fast" is not allowed; it must be a duration, such as 2s, 500ms or 1m',
        ),
        ("agent:\n  interval_s: 0\n", "2: agent.interval_s: 0 is not allowed; it must be greater than 0"),
        ("agent:\n  interval_s: .inf\n", "2: agent.interval_s: inf is not allowed; it must be less than or equal to 604800"),
        (
            "agent:\n  interval_s: yes\n",
            "2: agent.interval_s: True is not allowed; it must be a duration, such as 2s, 500ms or 1m",
        ),
        (
            "agent:\n  interval_s:\n",
            "2: agent.interval_s: an empty value is not allowed; it must be a duration, such as 2s, 500ms or 1m",
        ),
        (
            "agent:\n  log_level: loud\n",
            "2: agent.log_level: \"loud\" is not allowed; it must be 'debug', 'info', 'warning' or 'error'",
        ),
        ("agent:\n  plugins: [tcp,\n    3]\n", "3: agent.plugins.1: 3 is not allowed; it must be text; write it in quotes"),
        ("agent:\n  plugins: {tcp: 1}\n", "2: agent.plugins: {'tcp': 1} is not allowed; it must be a list"),
        (
            "metrics:\n  listen: 9090\n",
            "2: metrics.listen: 9090 is not allowed; it must be HOST:PORT, such as 127.0.0.1:9090; write it in quotes",
        ),
        (
            "metrics:\n  listen: localhost\n",
            f'2: metrics.listen: "localhost" is not allowed; it {ADDRESS}',
        ),
        ("metrics:\n  enabled: perhaps\n", '2: metrics.enabled: "perhaps" is not allowed; it must be true or false'),
        ("metrics:\n  series_limit: many\n", '2: metrics.series_limit: "many" is not allowed; it must be a whole number'),
        ("metrics:\n  series_limit: true\n", "2: metrics.series_limit: True is not allowed; it must be a whole number"),
        (
            "metrics:\n  series_limit: 0\n",
            "2: metrics.series_limit: 0 is not allowed; it must be greater than or equal to 1",
        ),
        ("tcp:\n  max_sockets: 0\n", "2: tcp.max_sockets: 0 is not allowed; it must be greater than or equal to 1"),
        (
            "resource:\n  attributes:\n    a: b\n    replicas: 3\n",
            "4: resource.attributes.replicas: 3 is not allowed; it must be text; write it in quotes",
        ),
    ],
)
def test_a_wrong_key_or_value_names_its_line_and_what_is_allowed(tmp_path, text, expected):
    assert sentence(tmp_path, obi_yaml=text) == f"DIR/obi.yaml:{expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("agent:\n  interval_s: 1s\n  interval_s: 2s\n", '3: key "interval_s" is already in line 2'),
        ("agent: {}\nagent: {}\n", '2: key "agent" is already in line 1'),
        ("agent:\n  a: [1\n", "3: malformed YAML: while parsing a flow sequence expected ',' or ']', but got '<stream end>'"),
        (
            "agent:\n\tinterval_s: 1\n",
            "2: malformed YAML: while scanning for the next token found character '\\t' that cannot start any token",
        ),
        ("- agent\n", "1: must hold sections, such as `agent:` with its keys below it"),
        ("agent: 3\n", '1: section "agent" must hold keys with values, such as `interval_s: 10s`'),
        ("\n8080: {}\n", "2: a key must be text; write it in quotes"),
        ("agent:\n  on: 1\n", "2: a key must be text; write it in quotes"),
        ("agent: &a {}\ntcp: *a\n", "2: alias *a is not allowed; write the value out"),
        ("a: {}\n---\nb: {}\n", "2: malformed YAML: expected a single document in the stream but found another document"),
        (
            "agent:\n  view: !!python/name:os.system\n",
            "2: malformed YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'",
        ),
        ("agent:\n  view: 2026-99-01\n", "2: malformed YAML: month must be in 1..12"),
        ("agent: {}\n# \x07\n", "2: malformed YAML: control characters are not allowed"),
    ],
)
def test_malformed_yaml_names_its_line(tmp_path, text, expected):
    assert sentence(tmp_path, obi_yaml=text) == f"DIR/obi.yaml:{expected}"


def test_a_line_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "obi.yaml").write_bytes(b"agent: {}\n# caf\xe9\n")
    assert sentence(tmp_path) == "DIR/obi.yaml:2: malformed YAML: this line is not UTF-8"


def test_yaml_nested_beyond_reason_is_refused(tmp_path):
    assert sentence(tmp_path, obi_yaml="[" * 20_000 + "]" * 20_000) == "DIR/obi.yaml:1: nested too deeply"


def test_a_file_beyond_a_mebibyte_is_refused(tmp_path):
    assert (
        sentence(tmp_path, obi_yaml="#" * (1 << 20) + "\n")
        == "DIR/obi.yaml: is larger than 1 MiB; this is no configuration file"
    )


def test_a_wrong_header_does_not_show_its_value(tmp_path):
    assert sentence(tmp_path, obi_yaml="otlp:\n  headers:\n    authorization: [hunter2]\n") == (
        "DIR/obi.yaml:3: otlp.headers.authorization: this value is not allowed; it must be text; write it in quotes"
    )


def test_sections_of_plugins_that_are_not_listed_are_parsed_and_named(tmp_path):
    settings = load(tmp_path, obi_yaml="syscall: {whatever: 1}\nnetwork: {}\ntcp: {}\n")
    assert settings.unlisted(["tcp"]) == ("network", "syscall")


def test_a_slip_of_the_pen_in_a_section_is_no_unlisted_plugin(tmp_path):
    settings = load(tmp_path, obi_yaml="\nmetrcs: {}\n")
    with pytest.raises(ConfigError) as caught:
        settings.unlisted(["tcp"])
    assert str(caught.value) == f'{tmp_path}/obi.yaml:2: unknown section "metrcs"; did you mean "metrics"?'


def test_a_section_of_an_installed_plugin_is_never_a_slip_of_the_pen(tmp_path):
    settings = load(tmp_path, obi_yaml="https: {}\n")
    assert isinstance(settings, Settings)
    assert settings.unlisted(["tcp"], installed=["https"]) == ("https",)
