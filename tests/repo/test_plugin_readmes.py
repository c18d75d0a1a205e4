"""A plugin's README says of its class what the class says of itself."""

from importlib.metadata import entry_points
from pathlib import Path

import pytest

from obi_core.testing.readme import tables_in, tables_of

PLUGINS = sorted(path.parent for path in Path(__file__).parents[2].joinpath("plugins").glob("*/pyproject.toml"))


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_the_tables_of_a_plugin_readme_are_those_of_its_class(folder: Path) -> None:
    (module,) = {each.value: each.load() for each in entry_points(group="obi.plugins", name=folder.name)}.values()
    (probe,) = module.obi_register_probes()

    assert tables_in(folder / "README.md") == tables_of(probe), (
        f"write them anew: .venv/bin/python -m obi_core.testing.readme {folder.name} {folder / 'README.md'}"
    )
