"""Planted truth: where it goes, what counts as a cause, and whether a model took it up."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from explain.toys import Additive, random_toy, toy_inputs
from torch import Tensor

from xrec.data.features import BEHAVIOUR, FIXED, ITEM, PROFILE, FeatureIndex
from xrec.explain.game import OPERATORS, Game
from xrec.fidelity.truth import CAUSES, Planted, Truth, causes, laid_out, taken_up
from xrec.models.inputs import Inputs

NAN = math.nan


def test_the_truth_is_laid_out_over_events_and_profile() -> None:
    group = torch.tensor([BEHAVIOUR] * 3 + [PROFILE] * 2 + [FIXED, ITEM]).expand(2, -1)
    present = torch.tensor([[0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 1, 1, 1]]).bool()
    key = torch.zeros_like(group)
    inputs = Inputs(torch.zeros(2, 7, 4), present, FeatureIndex(group, key, key - 1, {}))
    truth = Truth(
        behaviour=torch.tensor([[9.0, 1, 2], [3, 4, 5]]), profile=torch.tensor([[6.0, 7], [9, 8]])
    )
    found = laid_out(truth, inputs)
    expected = torch.tensor([[NAN, 1, 2, 6, 7, NAN, NAN], [3, 4, 5, NAN, 8, NAN, NAN]])
    assert torch.equal(found.nan_to_num(-99), expected.nan_to_num(-99))


def test_a_dataset_with_a_truth_is_told_by_its_method(tmp_path: Path) -> None:
    class Told:
        def truth(self, data, batch): ...

    assert isinstance(Told(), Planted)
    assert not isinstance(tmp_path, Planted)


@pytest.mark.parametrize(
    ("truth", "k", "expected"),
    [
        ([3, -5, 1, 0.5], 2, [1, 1, 0, 0]),  # by size
        ([3, -5, 1, 0.5], 9, [1, 1, 1, 1]),  # k larger than what there is
        ([0, -5, 0, 0.5], 3, [0, 1, 0, 1]),  # what is 0 caused nothing
        ([NAN, 2, NAN, 1], 3, [0, 1, 0, 1]),  # nor did what the plant does not tell
        ([1, 1, 1, 1], 2, [1, 1, 0, 0]),  # ties go to the lower slot
        ([NAN, NAN, NAN, NAN], 2, [0, 0, 0, 0]),
        ([0, 0, 0, 0], 2, [0, 0, 0, 0]),
    ],
)
def test_causes(truth: list[float], k: int, expected: list[int]) -> None:
    other = [4.0, 3.0, 2.0, 1.0]  # a row does not look at another
    found = causes(torch.tensor([truth, other]), k)
    assert found[0].int().tolist() == expected
    assert found[1].int().tolist() == [int(at < k) for at in range(4)]


def test_as_many_causes_as_a_person_reads() -> None:
    assert causes(torch.arange(1.0, 10.0)[None]).sum() == CAUSES == 5


def planted(rows: int = 200, seed: int = 0) -> tuple[Tensor, Inputs]:
    """A truth (B, 10) whose three causes, of either sign, are elsewhere in each row; its inputs."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(rows, 10, generator=generator).argsort(1)
    sign = torch.randint(0, 2, (rows, 10), generator=generator) * 2 - 1
    truth = torch.where(place < 3, sign * (1 + torch.rand(rows, 10, generator=generator)), 0.0)
    others = torch.where(place >= 7, sign * 1.0, 0.0)  # what a model that errs looks at
    return truth, toy_inputs(torch.stack([truth, others], dim=-1))


def looks_at(cause: float, other: float) -> Additive:
    """A model that says `cause` times the truth and `other` times what never mattered."""
    return Additive(torch.tensor([[float(cause), float(other)]]).expand(10, -1))


@pytest.mark.parametrize("absent", ["remove", "baseline"])
def test_a_model_that_uses_the_plant(absent: str) -> None:
    truth, inputs = planted()
    # Two causes of opposite sign may cancel; a sum of sizes would not.
    sizes = inputs.with_values(inputs.values.abs())
    assert taken_up(Game(looks_at(1, 0), sizes, absent=absent), truth) == 1
    assert taken_up(Game(looks_at(-1, 0), sizes, absent=absent), truth) == 1
    assert taken_up(Game(looks_at(1, 0.3), sizes, absent=absent), truth) > 0.95


def test_a_model_that_ignores_the_plant() -> None:
    truth, inputs = planted()
    assert taken_up(Game(looks_at(0, 0), inputs), truth) == 0  # it looks at nothing
    assert taken_up(Game(looks_at(0, 1), inputs), truth) < 0.1  # it looks at what never matters


def test_a_model_that_looks_at_everything_alike_does_no_better_than_chance() -> None:
    truth, inputs = planted(rows=2000)
    noise = torch.randn(inputs.values.shape, generator=torch.Generator().manual_seed(1))
    found = taken_up(Game(looks_at(1, 0), inputs.with_values(noise)), truth)
    assert found == pytest.approx(0.5, abs=0.04)


def test_the_share_is_of_rows() -> None:
    truth, inputs = planted(rows=10)
    values = inputs.values.abs()
    values[3:] = 0  # in seven rows the model has nothing to look at
    assert taken_up(Game(looks_at(1, 0), inputs.with_values(values)), truth) == pytest.approx(0.3)


def test_rows_without_causes_or_others_are_left_out() -> None:
    model = Additive(torch.ones(3, 1))
    truth = torch.tensor([[2.0, 0, 0], [0, 0, 0], [1, 1, 1], [NAN, NAN, 1]])
    inputs = toy_inputs(torch.tensor([[2.0, 0, 0], [9, 9, 9], [1, 1, 1], [1, 1, 1]])[..., None])
    assert taken_up(Game(model, inputs), truth) == 1  # the first row alone is judged
    nobody = Game(model, inputs.rows(slice(1, 4)))
    assert math.isnan(taken_up(nobody, truth[1:]))


def test_causes_do_not_win_by_their_number_nor_cancel_by_their_signs() -> None:
    truth, model = torch.tensor([[1.0, -3, 2, 0]]), Additive(torch.ones(4, 1))
    many_and_weak = toy_inputs(torch.tensor([[1.0, -1, 1, 2]])[..., None])
    assert taken_up(Game(model, many_and_weak), truth) == 0
    strong_of_both_signs = toy_inputs(torch.tensor([[1.0, -3, 2, 0.5]])[..., None])
    assert taken_up(Game(model, strong_of_both_signs), truth) == 1


@pytest.mark.parametrize("absent", OPERATORS)
def test_slots_that_are_no_players_are_not_drawn_as_decoys(absent: str) -> None:
    _, inputs = random_toy(rows=30, slots=8, seed=0, pairs=False)
    truth = torch.where(inputs.players, 0.0, NAN)
    first = inputs.players.int().argmax(1)
    truth[torch.arange(30), first] = 1.0
    weight = torch.where(inputs.players, 0.0, 5.0)
    weight[torch.arange(30), first] = 1.0
    said = toy_inputs(weight[..., None].double(), inputs.present, fixed=(0,))
    found = taken_up(Game(Additive(torch.ones(8, 1, dtype=torch.double)), said), truth)
    assert found == 1
