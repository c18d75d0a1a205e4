"""deploy/stores: what the scripts name is there, and says what they look for."""

import re
from pathlib import Path

import pytest
import yaml
from stand_ins import LOKI_INDEX

ROOT = Path(__file__).parents[2]
STORES = ROOT / "deploy/stores"


def snippet(name):
    return yaml.safe_load((STORES / name).read_text())


def test_every_snippet_is_yaml_and_says_first_what_it_is_for():
    names = sorted(path.name for path in STORES.iterdir())
    assert names == ["collector.yaml", "loki.yaml", "mimir.yaml", "prometheus.yaml", "tempo.yaml"]
    for name in names:
        assert isinstance(snippet(name), dict)
        assert (STORES / name).read_text().startswith("# ")


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "tests/obi").glob("*.sh")))
def test_what_a_script_names_exists(script):
    text = (ROOT / "tests/obi" / script).read_text()
    for name in re.findall(r"snippet \w+ (\S+\.yaml)", text):
        assert (STORES / name).exists()


def test_loki_indexes_app_and_what_it_indexes_anyway():
    listed = snippet("loki.yaml")["distributor"]["otlp_config"]["default_resource_attributes_as_index_labels"]
    assert sorted(listed) == sorted(LOKI_INDEX | {"app"})


def test_mimir_adds_suffixes_promotes_app_and_takes_native_histograms():
    limits = snippet("mimir.yaml")["limits"]
    assert (limits["otel_metric_suffixes_enabled"], limits["native_histograms_ingestion_enabled"]) == (True, True)
    assert "app" in limits["promote_otel_resource_attributes"].split(",")


def test_every_exporter_of_the_collector_is_used_and_every_name_in_a_pipeline_is_defined():
    collector = snippet("collector.yaml")
    pipelines = collector["service"]["pipelines"]
    assert sorted(pipelines) == ["logs", "metrics", "traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert {name for pipeline in pipelines.values() for name in pipeline[kind]} == set(collector[kind])
