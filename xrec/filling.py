"""Typed options from the plain values of a recipe, with errors that name the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, field, fields, make_dataclass
from typing import Any, TypeVar, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xrec.errors import RecipeError, nearest

Options = TypeVar("Options")


def fill(schema: type[Options], given: Any, key: str) -> Options:
    """Make the options dataclass `schema` from plain values, checking names and types.

    Raises RecipeError that names the key: unknown (with the nearest), missing, of a wrong type, or
    refused by the dataclass itself with a ValueError.
    """
    if not isinstance(given, Mapping):
        raise RecipeError(f"{key}: expected a mapping of options, got '{given}'")
    known = [f for f in fields(schema) if f.init]  # type: ignore[arg-type]
    known_keys(given, [f.name for f in known], key)
    for f in known:
        if f.default is MISSING and f.default_factory is MISSING and f.name not in given:
            raise RecipeError(f"{key}.{f.name}: this option must be given")
    try:
        config = OmegaConf.structured(_given(schema))
        OmegaConf.set_readonly(config, False)
        typed = OmegaConf.merge(config, dict(given))
        values = {f.name: _plain(OmegaConf.select(typed, f.name)) for f in known}
    except OmegaConfBaseException as error:
        name = f"{key}.{error.full_key}" if error.full_key else key
        raise RecipeError(f"{name}: {one_line(error)}") from error
    try:
        return schema(**values)
    except ValueError as error:
        raise RecipeError(f"{key}: {error}") from error


def _given(schema: type[Options]) -> type:
    """The dataclass without the fields that are not options, but what it comes to hold."""
    every = fields(schema)  # type: ignore[arg-type]
    if all(f.init for f in every):
        return schema
    types = get_type_hints(schema)
    options: list[tuple[str, Any, Any]] = [
        (f.name, types[f.name], field(default=f.default, default_factory=f.default_factory))
        if f.default is MISSING
        else (f.name, types[f.name], field(default=f.default))
        for f in every
        if f.init
    ]
    return make_dataclass(schema.__name__, options)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def known_keys(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Raise RecipeError for a key of `where` that is not among the known."""
    for key in given:
        if key not in known:
            name = f"{where}.{key}" if where else str(key)
            raise RecipeError(f"{name}: there is no such key; {nearest(str(key), known)}")


def one_line(error: Exception) -> str:
    """The first line of what an error says."""
    return str(error).strip().split("\n")[0]
