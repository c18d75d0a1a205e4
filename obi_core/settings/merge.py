"""Merging one section's layers with pydantic-settings."""

# ruff: noqa: ARG003 - pydantic-settings passes these by name

from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

from pydantic import BaseModel, create_model
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

_Model = TypeVar("_Model", bound=BaseModel)


def merged(name: str, model: type[_Model], layers: Sequence[Mapping[str, object]]) -> _Model:
    """Merge the layers of one section, strongest first, and check the result.

    Mappings are merged key by key; anything else is replaced as a whole.

    Raises:
        pydantic.ValidationError: The result does not fit `model`; the locations in it start with `name`.
    """

    class Layered(BaseSettings):
        # a traceback must not show what was typed: it may be a secret
        model_config = SettingsConfigDict(hide_input_in_errors=True)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(InitSettingsSource(settings_cls, {name: dict(layer)}) for layer in layers)

    # mypy cannot know a model made at run time.
    settings = create_model("Merged", __base__=Layered, **{name: (model, ...)})()  # type: ignore[call-overload]
    return cast("_Model", getattr(settings, name))
