"""Which pool a node belongs to: by name, or by a selector on the node's labels in the pool's own file.

A pool that chooses its nodes says so in its overlay, beside the sections that it changes::

    pool:
      selector:
        node.kubernetes.io/instance-type: p4d.24xlarge
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from obi_core.errors import ConfigError
from obi_core.settings.documents import read_file, read_pool
from obi_core.settings.origin import Layer, Origin, Place
from obi_core.settings.origin import Path as Dotted
from obi_core.settings.problems import invalid, unknown_key
from obi_core.settings.section import Section
from obi_core.settings.values import Pairs

SECTION = "pool"


class PoolSettings(Section):
    """Which nodes an overlay is for; stands in `pools/<pool>.yaml` only."""

    selector: Annotated[dict[str, str], Pairs] = Field(
        default_factory=dict, description="Labels that a node must have, all of them; empty: chosen with OBI_POOL only."
    )


class _Overlay(Section):
    # So that the place of what is wrong begins with the section, as everywhere.
    pool: PoolSettings


def overlay(directory: Path | None, pool: str) -> Layer:
    """Read a pool's overlay, without what it says of itself.

    Raises:
        ConfigError: There is no such pool, or its file is wrong.
    """
    layer = read_pool(directory, pool)
    _own(layer)
    return Layer({name: body for name, body in layer.values.items() if name != SECTION}, layer.places)


def selectors(directory: Path | None) -> Mapping[str, Mapping[str, str]]:
    """Selectors of all pools that have one, by pool.

    Raises:
        ConfigError: A pool's file is wrong.
    """
    files = sorted((directory / "pools").glob("*.yaml")) if directory is not None else []
    found = {file.stem: _own(read_file(file, Origin.POOL)).selector for file in files if file.is_file()}
    return {pool: selector for pool, selector in found.items() if selector}


def pool_of(labels: Mapping[str, str], known: Mapping[str, Mapping[str, str]]) -> str:
    """Choose the pool whose selector a node's labels fit; of several the one that asks for most. Empty: none fits.

    Raises:
        ConfigError: Two that ask for equally much fit.
    """
    fitting = sorted(
        ((len(selector), pool) for pool, selector in known.items() if selector.items() <= labels.items()), reverse=True
    )
    if len(fitting) > 1 and fitting[0][0] == fitting[1][0]:
        first, second = sorted((fitting[0][1], fitting[1][1]))
        message = f"pools {first} and {second} both fit this node; give one of them a further label, or set OBI_POOL"
        raise ConfigError(message, key=f"{SECTION}.selector")
    return fitting[0][1] if fitting else ""


def _own(layer: Layer) -> PoolSettings:
    def place(path: Dotted) -> Place:
        return next(layer.places[path[:n]] for n in range(len(path), 0, -1) if path[:n] in layer.places)

    for key in layer.values.get(SECTION, {}):
        if key not in PoolSettings.model_fields:
            raise unknown_key((SECTION, key), layer.places[SECTION, key], PoolSettings)
    try:
        return _Overlay.model_validate({SECTION: layer.values.get(SECTION, {})}).pool
    except ValidationError as err:
        raise invalid(err, place, SECTION, PoolSettings) from err
