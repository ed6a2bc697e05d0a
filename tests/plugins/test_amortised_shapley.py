"""Amortised Shapley values: learned, predicted in one pass, and corrected without bias."""

from __future__ import annotations

import copy

import pytest
import torch
from explain.toys import random_toy

from xrec.data.module import Data
from xrec.errors import XrecError
from xrec.explain.amortiser import Predictor, Slots
from xrec.explain.correction import corrected, ends
from xrec.explain.enumeration import enumerated
from xrec.explain.explainer import Trained
from xrec.explain.game import Game
from xrec.explain.lessons import drawn, parted
from xrec.explain.probe import probe
from xrec.explain.surrogate import ProductGame
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_data, small_model
from xrec.testing.kept import generators_kept, mode_kept, parameters_kept
from xrec.testing.toys import BentToy
from xrec_plugins.explainers.amortised_shapley import AmortisedShapley

QUICK = {"epochs": 3, "rows": 40, "width": 8, "rank": 4}


@pytest.fixture(scope="module")
def bent() -> tuple[Recommender, Data, Inputs]:
    """A model whose features all interact, in a world of 60 users."""
    data = small_data(users=60, history=6)
    model = BentToy(data)
    with torch.no_grad():
        return model, data, model.embed(data.queries("test", torch.arange(1, 9)))


@pytest.fixture(scope="module")
def taught(bent) -> AmortisedShapley:
    explainer = AmortisedShapley(epochs=40, rank=16, width=32)
    explainer.figures = explainer.fit(*bent[:2])
    return explainer


def wrong(inputs: Inputs) -> ProductGame:
    """A game that has nothing to do with the model's."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(*inputs.present.shape, 3, generator=generator) / 3
    weight = weight * inputs.players[..., None]
    return ProductGame(weight, torch.randn(len(inputs), 3, generator=generator))


def test_learns_to_predict(bent, taught) -> None:
    model, _, inputs = bent
    assert isinstance(taught, Trained)
    told = taught.explain(model, inputs, logit)
    exact = enumerated(model, inputs, logit, "remove")[0]
    gap = (told.values - exact).norm(dim=1) / exact.norm(dim=1)
    assert gap.mean() < 0.5  # a network of zeros that shares the score equally has about 1
    equal = inputs.players * ((told.score - told.base) / inputs.players.sum(1))[:, None]
    assert gap.mean() < 0.6 * ((equal - exact).norm(dim=1) / exact.norm(dim=1)).mean()
    assert torch.allclose(told.values.sum(1), told.score - told.base, atol=1e-5)
    assert told.cost.forward == len(inputs)  # the base that all share was learned
    assert told.deviation is None


def test_tells_what_training_took_and_what_it_is_good_for(bent, taught) -> None:
    model, data, _ = bent
    figures = taught.figures
    assert set(figures) == {
        "seconds",
        "evaluations",
        "rows",
        "relative_error",
        "rank_correlation",
        "break_even",
    }
    learning, held = parted(data, 0.1, 0)
    assert len(held) == 6
    assert figures["rows"] == 16 * len(learning)
    catalogue = len(data.items)  # from which the toy's likely items were drawn, one by one
    assert 0 < figures["evaluations"] <= figures["rows"] * (50 + catalogue)
    assert 0 < figures["relative_error"] < 0.8
    assert 0.5 < figures["rank_correlation"] <= 1
    with torch.no_grad():
        inputs = model.embed(data.queries("test", held))
    told = taught.explain(model, inputs, logit)
    assert torch.allclose(told.error, figures["relative_error"] * told.values.norm(dim=1))


def test_users_held_out_are_no_others(bent) -> None:
    learning, held = parted(bent[1], 0.25, 0)
    assert sorted(torch.cat([learning, held]).tolist()) == list(range(1, 61))
    assert len(held) == 15
    assert not torch.equal(parted(bent[1], 0.25, 1)[1], held)


@pytest.mark.parametrize("target", ["logit", "another"])
def test_corrected_without_bias_however_wrong_the_network_is(target: str) -> None:
    """The mean over many seeds is the exact value, within its standard error."""
    model, inputs = small_model(history=6, users=2, seed=1)
    inputs = inputs.with_values(inputs.values * 3)
    play = logit if target == "logit" else lambda m, i: m.score(i).sin()
    exact = enumerated(model, inputs, play, "remove")[0]
    found, said = [], []
    for seed in range(80):
        one = corrected(model, inputs, play, wrong(inputs), 24, "remove", seed)
        found.append(one.values)
        said.append(one.deviation)
    draws, deviation = torch.stack(found), torch.stack(said)
    error = draws.std(0) / 80**0.5
    there = inputs.players
    apart = ((draws.mean(0) - exact).abs() / error)[there]
    assert (apart**2).mean() < 2  # 1 is expected
    assert apart.max() < 4.5
    covered = ((draws - exact).abs() <= 1.96 * deviation)[:, there].float().mean()
    assert covered > 0.88
    assert torch.allclose(draws.sum(2), (one.score - one.base).expand(80, -1), atol=1e-4)


def test_correction_helps_and_a_good_prediction_helps_it(bent, taught) -> None:
    model, _, inputs = bent
    exact = enumerated(model, inputs, logit, "remove")[0]
    corrects = AmortisedShapley(evaluations=48, rank=16, width=32)
    corrects.restore(taught.state(), model, model.data_module)
    told = corrects.explain(model, inputs, logit)
    poor = corrected(model, inputs, logit, wrong(inputs), 24, "remove", 0)
    some = inputs.players.sum(1) > 5  # others are enumerated
    by = [
        (values - exact).norm(dim=1)[some].mean()
        for values in (told.values, taught.explain(model, inputs, logit).values, poor.values)
    ]
    assert by[0] < by[1]
    assert by[0] < by[2]
    assert told.deviation is not None
    assert torch.allclose(told.error, told.deviation.norm(dim=1))
    assert told.cost.forward <= len(inputs) * 50


def test_state_and_restore_give_the_same_to_the_bit(bent, taught) -> None:
    model, data, inputs = bent
    for evaluations in (0, 32):
        one = replace_options(taught, evaluations)
        two = AmortisedShapley(evaluations=evaluations, rank=16, width=32)
        two.restore({name: value.clone() for name, value in one.state().items()}, model, data)
        first, second = (each.explain(model, inputs, logit) for each in (one, two))
        assert torch.equal(first.values, second.values)
        assert torch.equal(first.error, second.error)


def replace_options(taught: AmortisedShapley, evaluations: int) -> AmortisedShapley:
    other = copy.copy(taught)
    other.evaluations = evaluations
    return other


def test_training_follows_the_seed_and_leaves_everything_alone() -> None:
    model, inputs = small_model(history=4, users=4)
    data = model.data_module
    one, two, other = (AmortisedShapley(**QUICK, seed=seed) for seed in (0, 0, 1))
    with generators_kept(), parameters_kept(model), mode_kept(model):
        one.fit(model, data)
    torch.manual_seed(99)
    two.fit(model, data)
    other.fit(model, data)
    said = [each.explain(model, inputs, logit).values for each in (one, two, other)]
    assert torch.equal(said[0], said[1])
    assert not torch.allclose(said[0], said[2])


def test_the_base_is_asked_of_once_where_rows_share_it() -> None:
    model, inputs = random_toy(rows=4, slots=6, seed=0, fixed=(0,))
    shared = inputs.values.clone()
    shared[:, 0] = shared[0, 0]
    for given, asked, bases in ((inputs, 8, 4), (inputs.with_values(shared), 5, 1)):
        with probe(model) as cost:
            score, base = ends(model, given, logit, "remove")
        assert cost.forward == asked
        assert base.unique().numel() == bases
        game = Game(model, given)
        assert torch.allclose(score, game.everything(), atol=1e-9)
        assert torch.allclose(base, game.nothing(), atol=1e-9)
    whole = ends(model, inputs, logit, "baseline")
    game = Game(model, inputs, absent="baseline")
    assert torch.allclose(torch.stack(whole), torch.stack([game.everything(), game.nothing()]))


def test_predictions_know_nothing_of_absent_slots_nor_of_padding() -> None:
    _, inputs = small_model(history=5, users=4)
    torch.manual_seed(0)
    predictor = Predictor(inputs.values.shape[2], 8, 4)
    junk = torch.where(inputs.present[..., None], inputs.values, torch.nan)
    with torch.no_grad():
        one, two = (predictor(Slots.of(i)) for i in (inputs, inputs.with_values(junk)))
        wide = predictor(Slots.of(inputs.wide(inputs.present.shape[1] + 3)))
    assert torch.equal(one.weight, two.weight)
    assert torch.allclose(one.weight, wide.weight[:, :-3], atol=1e-6)
    assert not one.weight[~inputs.players].any()


def test_drawn_coalitions_are_of_every_size() -> None:
    players = torch.tensor([[True] * 5 + [False], [False, True, True, False, True, False]])
    found = drawn(players, 600, torch.Generator().manual_seed(0))
    assert not (found & ~players[:, None]).any()
    assert torch.equal(found[:, -1], players)
    for row, count in enumerate((5, 3)):
        sizes = found[row, :-1].sum(1).bincount().tolist()
        assert len(sizes) == count
        assert sizes[0] == 0
        assert min(sizes[1:]) > 0.7 * 600 / (count - 1)


def test_untrained_or_asked_of_another_target_it_refuses(bent, taught) -> None:
    model, _, inputs = bent
    with pytest.raises(XrecError, match="has not been trained: call fit"):
        AmortisedShapley().explain(model, inputs, logit)
    with pytest.raises(XrecError, match="has learned the logit, not another target"):
        taught.explain(model, inputs, lambda m, i: m.score(i))
    few = replace_options(taught, 4)
    with pytest.raises(XrecError, match="4 evaluations are too few to correct it"):
        few.explain(model, inputs, logit)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"evaluations": 3}, "evaluations is 3, it must be 0 or an even number"),
        ({"evaluations": -2}, "evaluations is -2, it must be 0 or an even number"),
        ({"epochs": 0}, "epochs is 0, it must be at least 1"),
        ({"rows": 0}, "rows is 0, it must be at least 1"),
        ({"rank": 0}, "rank is 0, it must be at least 1"),
        ({"width": 7}, "width is 7, it must be a multiple of 2"),
        ({"absent": "resample"}, "absent is 'resample', not remove or baseline"),
    ],
)
def test_options_out_of_range_are_refused(option: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AmortisedShapley(**option)
