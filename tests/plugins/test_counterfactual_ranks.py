"""Counterfactual ranks: by hand on a model whose places are plain, and against a loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xrec.data.features import BEHAVIOUR, ITEM
from xrec.explain.cost import Cost
from xrec.explain.explanation import Explanation
from xrec.explain.target import logit
from xrec.fidelity.ledger import Ledger
from xrec.fidelity.metric import Case, sees
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.report.words import meaning
from xrec.testing import small_data, small_model
from xrec.testing.toys import LinearToy
from xrec_plugins.metrics.counterfactual_ranks import CounterfactualRanks

NAN = math.nan


class Placed(LinearToy):
    """A toy that says the sum of the events' first numbers, and r - 1/2 of item r whatever these.

    So the item's place among the rivals 1, 2, … follows from that sum alone.
    """

    def score(self, inputs: Inputs, task: int = 0) -> Tensor:
        events = inputs.present & (inputs.features.group == BEHAVIOUR)
        return torch.where(events, inputs.values[..., 0], 0).sum(1)

    def choices(self, inputs: Inputs, items: Tensor) -> Tensor:
        return items - 0.5


def placed(said: list[list[float]], rivals: int = 10) -> tuple[Placed, Inputs]:
    """Users with four events that say these numbers, and rivals 1, 2, …"""
    data = small_data(history=4)
    model = Placed(data)
    with torch.no_grad():
        inputs = model.embed(data.queries("test", torch.arange(1, len(said) + 1)))
    values = inputs.values.clone()
    values[:, :4, 0] = torch.tensor(said)
    present = inputs.present.clone()
    present[:, :4] = True
    present[:, 4:-1] &= inputs.features.fixed[:, 4:-1]  # events and the item alone
    others = torch.arange(1, rivals + 1).expand(len(said), -1)
    return model, inputs.with_present(present).with_values(values).against(others)


def told(model: Recommender, inputs: Inputs, values: Tensor, **how: object) -> Case:
    nothing = torch.zeros(len(inputs))
    explanation = Explanation.of(inputs, values, nothing, nothing, Cost(), "by_hand")
    return Case(model, inputs, logit, explanation, **how)


def slots(inputs: Inputs, events: list[float], item: float = 0.0) -> Tensor:
    values = torch.zeros(inputs.present.shape)
    values[:, :4], values[:, -1] = torch.tensor(events), item
    return values


def test_by_hand() -> None:
    # Of 10 rivals, those above the events' sum are ahead: a sum of 9 leaves 1 ahead, place 2.
    model, inputs = placed([[4, 3, 2, 0]])
    case = told(model, inputs, slots(inputs, [4, 3, 2, 0], item=9), points=4)
    found = CounterfactualRanks([2, 5, 7]).measure(case)
    # What speaks most for it first: sums 9, 5, 2, 0, 0, places 2, 6, 9, 11, 11.
    assert found["pos@2"].tolist() == [1 / 5]
    assert found["pos@5"].tolist() == [1 / 5]
    assert found["pos@7"].tolist() == [2 / 5]
    # Least first: sums 9, 9, 7, 4, 0, places 2, 2, 4, 7, 11.
    assert found["neg@2"].tolist() == [2 / 5]
    assert found["neg@5"].tolist() == [3 / 5]
    assert found["neg@7"].tolist() == [4 / 5]
    gain = sum(1 / math.log2(1 + place) for place in (2, 6, 9, 11, 11)) / 5
    assert found["cdcg"].tolist() == pytest.approx([gain])


def test_what_speaks_against_it_goes_first_along_the_negative_curve() -> None:
    model, inputs = placed([[6, -3, 5, 1]])
    case = told(model, inputs, slots(inputs, [6, -3, 5, 1]), points=4)
    found = CounterfactualRanks([2]).measure(case)
    # Sums 9, 12, 11, 6, 0: places 2, 1, 1, 5, 11. And for it first: 9, 3, -2, -3, 0.
    assert found["neg@2"].tolist() == [3 / 5]
    assert found["pos@2"].tolist() == [1 / 5]


def test_an_explanation_turned_round_exchanges_the_curves() -> None:
    model, inputs = placed([[4, 3, 2, 0.5], [5, -1, 4, 1.5]])
    metric = CounterfactualRanks([3])
    values = slots(inputs, [4, 3, 2, 0.5])
    one = metric.measure(told(model, inputs, values))
    other = metric.measure(told(model, inputs, -values))
    assert torch.equal(one["pos@3"], other["neg@3"])
    assert torch.equal(one["neg@3"], other["pos@3"])


def test_the_items_own_features_stay_whatever_is_said_of_them() -> None:
    model, inputs = small_model()
    user = torch.randn(inputs.present.shape, generator=torch.Generator().manual_seed(0))
    mine = inputs.features.group != ITEM
    plain, *others = (
        CounterfactualRanks([3]).measure(told(model, inputs, torch.where(mine, user, of_item)))
        for of_item in (0.0, -99.0, 99.0)
    )
    assert not plain["cdcg"].isnan().any()
    for found in others:
        for name in found:
            assert torch.allclose(found[name], plain[name], equal_nan=True)


@pytest.mark.parametrize("absent", ["remove", "baseline"])
def test_against_a_loop(absent: str) -> None:
    model, inputs = small_model(users=3)
    values = torch.randn(inputs.present.shape, generator=torch.Generator().manual_seed(1))
    everyone = torch.arange(1, 15).expand(3, -1)
    own = model.data_module.queries("test", torch.arange(1, 4)).candidate[:, None]
    unranked = (everyone % 4 == 0) | (everyone == own)
    everyone = torch.where(unranked, 0, everyone)
    ledger = Ledger(model, inputs, everyone)
    found = CounterfactualRanks([20]).measure(
        told(model, inputs, values, absent=absent, points=3, ledger=ledger)
    )
    assert found["pos@20"].isnan().all()  # with fewer rivals than that, none leaves the first 20
    for row in range(3):
        one = inputs.rows(slice(row, row + 1))
        mine = inputs.players[row] & (inputs.features.group[row] != ITEM)
        ranked = sorted(mine.nonzero()[:, 0].tolist(), key=lambda slot: -values[row, slot])
        gains = []
        for step in range(4):
            out = ranked[: round(step * len(ranked) / 3)]
            present, vectors = one.present.clone(), one.values.clone()
            if absent == "remove":
                present[0, out] = False
            else:
                vectors[0, out] = 0
            left = one.with_values(vectors).with_present(present)
            with torch.no_grad():
                score = float(model.score(left))
                others = [
                    float(model.score(model.exchanged(left, torch.tensor([item]))))
                    for item in everyone[row].tolist()
                    if item
                ]
            gains.append(1 / math.log2(2 + sum(other >= score for other in others)))
        assert float(found["cdcg"][row]) == pytest.approx(sum(gains) / 4)


def test_rows_that_cannot_be_judged() -> None:
    model, inputs = placed([[4, 3, 2, 0.5]] * 4)
    present, rivals = inputs.present.clone(), inputs.rivals.clone()
    present[0, :4] = False  # nothing of the user
    rivals[1, 2:] = 0  # two rivals, which leave the item among the first 3
    values = inputs.values.clone()
    values[2, :4, 0] = 0.1  # last to begin with
    few = inputs.with_present(present).with_values(values).against(rivals)
    found = CounterfactualRanks([3]).measure(told(model, few, slots(few, [4, 3, 2, 1])))
    for name in ("pos@3", "neg@3"):
        assert found[name].isnan().tolist() == [True, True, True, False]
    assert found["cdcg"].isnan().tolist() == [True, False, False, False]


def test_it_applies_only_where_there_are_others_and_prefers_the_ledgers() -> None:
    model, inputs = placed([[4, 3, 2, 0.5]])
    values = slots(inputs, [4, 3, 2, 0.5])
    metric = CounterfactualRanks([1])
    alone = inputs.against(None)
    assert metric.measure(told(model, alone, values)) == {}
    assert metric.measure(told(model, inputs.against(torch.zeros(1, 0).long()), values)) == {}
    known = told(model, alone, values, ledger=Ledger(model, alone, inputs.rivals[:, :3]))
    assert metric.measure(known)["pos@1"].tolist() == [4 / 11]  # sums 9.5, 9.5, 5.5, 5.5, 2.5 …


def test_coalitions_are_looked_up_in_the_ledger() -> None:
    model, inputs = small_model()
    values = torch.randn(inputs.present.shape, generator=torch.Generator().manual_seed(0))
    case = told(model, inputs, values, ledger=Ledger(model, inputs))
    once = CounterfactualRanks().measure(case)
    evaluated = case.ledger.evaluations
    again = CounterfactualRanks().measure(case)
    assert case.ledger.evaluations == evaluated > 0
    for name in once:
        assert torch.allclose(once[name], again[name], equal_nan=True)


def test_measures_and_what_they_mean_follow_k() -> None:
    metric = CounterfactualRanks([1, 7])
    better = {"pos@1": "lower", "pos@7": "lower", "neg@1": "higher", "neg@7": "higher"}
    assert metric.measures == {**better, "cdcg": "lower"}
    assert sees(metric).keys() == metric.measures.keys()
    said = meaning(metric, "pos@7")
    assert said.startswith("Where the item comes in the whole catalogue as the user's features go.")
    assert "still among the first 7, while the features that speak most for it go first." in said
    assert "least for it" not in said
    assert "least for it" in meaning(metric, "neg@1")
    assert "1 / log2(1 + place)" in meaning(metric, "cdcg")


@pytest.mark.parametrize("k", [[], [0], [5, 5], [3, -1]])
def test_bad_options(k: list[int]) -> None:
    with pytest.raises(ValueError, match=r"^k (is|has) "):
        CounterfactualRanks(k)
