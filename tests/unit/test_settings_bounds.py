"""Every bound of every setting, read from the models: what is on it is taken, what is beyond it is one sentence."""

from typing import get_args

import pytest
from pydantic import BaseModel

from obi_core.errors import ConfigError
from obi_core.settings import CoreSettings, load_settings
from obi_plugin_tcp.settings import TcpSettings

MODELS = {**{name: field.annotation for name, field in CoreSettings.model_fields.items()}, "tcp": TcpSettings}
LEAST = {"ge": 0, "gt": 0.001, "le": 0, "lt": -0.001}
"""From the bound to the nearest value that is allowed; seconds are told to the millisecond."""


def constraints(metadata, annotation):
    """Bounds of a field; those of `X | None` stand in X."""
    for each in metadata:
        yield from ((sign, getattr(each, sign)) for sign in LEAST if getattr(each, sign, None) is not None)
        yield from constraints(getattr(each, "metadata", ()), None)
    for part in get_args(annotation):
        yield from constraints(getattr(part, "__metadata__", ()), part)


def bounds():
    for section, model in MODELS.items():
        for key, field in model.model_fields.items():
            for sign, bound in constraints(field.metadata, field.annotation):
                step = 0.001 if field.annotation is not int else 1
                inside = bound + LEAST[sign]
                outside = bound if sign in {"gt", "lt"} else bound - step if sign == "ge" else bound + step
                yield pytest.param(section, key, inside, outside, id=f"{section}.{key} {sign} {bound}")


CASES = list(bounds())


def read(section, key, value):
    settings = load_settings(None, {f"OBI_{section}__{key}".upper(): str(value)}, {})
    model = settings.probe("tcp", TcpSettings) if section == "tcp" else getattr(settings.core, section)
    return getattr(model, key)


def test_every_number_has_a_lower_bound_and_every_size_of_a_map_an_upper_one():
    numbers = {
        f"{section}.{key}"
        for section, model in MODELS.items()
        for key, field in model.model_fields.items()
        if {int, float} & {field.annotation, *get_args(field.annotation)} or key.endswith("_s")
    }
    bounded = {case.id.split()[0] for case in CASES if case.id.split()[1] in {"ge", "gt"}}
    capped = {case.id.split()[0] for case in CASES if case.id.split()[1] in {"le", "lt"}}
    sized = {f"tcp.{key}" for key, field in TcpSettings.model_fields.items() if key.startswith("max_")}
    assert numbers - bounded == set()
    assert sized - capped == set()
    assert len(sized) >= 4


@pytest.mark.parametrize(("section", "key", "inside", "outside"), CASES)
def test_a_value_on_its_bound_is_taken(section, key, inside, outside):
    assert read(section, key, inside) == pytest.approx(inside)


@pytest.mark.parametrize(("section", "key", "inside", "outside"), CASES)
def test_a_value_beyond_its_bound_is_refused_with_one_sentence(section, key, inside, outside):
    with pytest.raises(ConfigError) as caught:
        read(section, key, outside)
    text = str(caught.value)
    assert text.startswith(f"OBI_{section}__{key}: ".upper()), text
    assert "\n" not in text
    assert "must" in text or "should" in text, text


KEYS = sorted({(case.values[0], case.values[1]) for case in CASES})
CAPPED = {(case.values[0], case.values[1]) for case in CASES if case.id.split()[1] in {"le", "lt"}}
FAR = [(key, text) for key in KEYS for text in ("-1", "1e400", "nan", "", "0x10", "12 parsecs")]


@pytest.mark.parametrize(("key", "text"), FAR + [(key, "9" * 40) for key in KEYS if key in CAPPED])
def test_what_is_far_beyond_or_no_number_at_all_is_refused_too(key, text):
    with pytest.raises(ConfigError) as caught:
        read(*key, text)
    assert str(caught.value).startswith("OBI_{}__{}: ".format(*key).upper())
    assert "\n" not in str(caught.value)


def test_all_sections_are_models():
    assert all(issubclass(model, BaseModel) for model in MODELS.values())
