"""Which parameters learn at which rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from torch import nn

from xrec.errors import RecipeError, nearest


def groups(
    named: Iterable[tuple[str, nn.Parameter]], lr: float, rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    """An optimiser's parameter groups: those that learn, together with those of the same rate.

    rates: from the beginning of a parameter's name, up to a dot or its end, to the rate of all that
    are called so; of several that fit the longest counts. The rest learns at `lr`.

    Raises RecipeError for a name that no learning parameter begins with, or that only begins names
    for which longer ones count.
    """
    learning = {name: parameter for name, parameter in named if parameter.requires_grad}
    found: dict[str, list[nn.Parameter]] = {}
    for name, parameter in learning.items():
        chosen = [start for start in starts(name) if start in rates]
        found.setdefault(chosen[-1] if chosen else "", []).append(parameter)
    for start in rates:
        if start not in found:
            known = {each for name in learning for each in starts(name)}
            why = "longer names count for all that it begins" if start in known else ""
            raise RecipeError(
                f"train.rates: no parameter that learns goes by '{start}'; "
                + (why or nearest(start, known))
            )
    return [{"params": some, "lr": rates.get(start, lr)} for start, some in found.items()]


def starts(name: str) -> list[str]:
    """layers.0.qkv: layers, layers.0, layers.0.qkv."""
    return list(accumulate(name.split("."), lambda start, part: f"{start}.{part}"))


def by_name(
    named: Iterable[tuple[str, nn.Parameter]], grouped: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """The rate of each parameter that is in one of an optimiser's groups, by its name."""
    rates = {id(each): float(group["lr"]) for group in grouped for each in group["params"]}
    return {name: rates[id(parameter)] for name, parameter in named if id(parameter) in rates}
