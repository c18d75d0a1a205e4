"""The reference page is what the models say."""

from pathlib import Path

from obi_core.cli.reference import reference
from obi_core.settings import CoreSettings, ProbeSettings

PAGE = Path(__file__).parents[2] / "docs/reference/settings.md"


def test_regenerating_the_reference_changes_nothing():
    assert PAGE.read_text() == reference()


def test_every_setting_has_a_description():
    models = [ProbeSettings, *(field.annotation for field in CoreSettings.model_fields.values())]
    assert [(m.__name__, key) for m in models for key, field in m.model_fields.items() if not field.description] == []
