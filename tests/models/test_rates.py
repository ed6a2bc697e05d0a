"""Each parameter learns at the rate that the recipe gives its name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from xrec.errors import RecipeError
from xrec.models.rates import groups

NAMES = ["text.weight", "layers.0.a", "layers.0.b", "layers.1.a", "layers.10.a", "layer", "bias"]


def named(frozen: tuple[str, ...] = ()) -> list[tuple[str, nn.Parameter]]:
    return [(name, nn.Parameter(torch.ones(2), name not in frozen)) for name in NAMES]


def rates_of(found: list[dict], parameters: list[tuple[str, nn.Parameter]]) -> dict[str, float]:
    rate = {id(p): group["lr"] for group in found for p in group["params"]}
    assert sum(len(group["params"]) for group in found) == len(rate)
    return {name: rate[id(p)] for name, p in parameters if id(p) in rate}


def test_without_rates_all_that_learns_is_one_group() -> None:
    parameters = named(frozen=("bias",))
    (group,) = groups(parameters, 0.1, {})
    assert group == {"params": [p for name, p in parameters if name != "bias"], "lr": 0.1}


def test_the_longest_name_counts_up_to_a_dot() -> None:
    parameters = named()
    found = rates_of(
        groups(parameters, 1, {"layers": 2, "layers.1": 3, "text.weight": 4}), parameters
    )
    assert found == {
        "text.weight": 4, "layers.0.a": 2, "layers.0.b": 2, "layers.1.a": 3, "layers.10.a": 2,
        "layer": 1, "bias": 1,
    }  # fmt: skip


STARTS = sorted({name[:at] for name in NAMES for at in range(1, len(name) + 1)
                 if name[at : at + 1] in ("", ".")})  # fmt: skip


@given(
    rates=st.dictionaries(st.sampled_from(STARTS), st.floats(1e-6, 1), max_size=4),
    frozen=st.sets(st.sampled_from(NAMES)),
)
def test_every_parameter_is_in_one_group_and_no_group_is_empty(rates, frozen) -> None:
    parameters = named(tuple(frozen))
    expected = {}
    for name in NAMES:
        fits = [start for start in rates if f"{name}.".startswith(f"{start}.")]
        if name not in frozen:
            expected[name] = rates[max(fits, key=len)] if fits else 0.5
    used = {max((s for s in rates if f"{n}.".startswith(f"{s}.")), key=len, default="")
            for n in expected}  # fmt: skip
    if set(rates) - used:
        with pytest.raises(RecipeError):
            groups(parameters, 0.5, rates)
    else:
        found = groups(parameters, 0.5, rates)
        assert all(group["params"] for group in found)
        assert rates_of(found, parameters) == expected


@pytest.mark.parametrize(
    ("rates", "frozen", "words"),
    [
        ({"layrs": 1.0}, (), "'layrs'; did you mean 'layers'?"),
        ({"bias": 1.0}, ("bias",), "'bias'; known: "),
        ({"layers.0": 1.0, "layers.0.a": 2.0, "layers.0.b": 2.0}, (),
         "'layers.0'; longer names count for all that it begins"),
    ],
)  # fmt: skip
def test_a_name_without_parameters_is_refused(rates, frozen, words: str) -> None:
    with pytest.raises(RecipeError) as raised:
        groups(named(frozen), 0.1, rates)
    assert str(raised.value).startswith(f"train.rates: no parameter that learns goes by {words}")
