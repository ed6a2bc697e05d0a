"""Checks that a plugin author runs: each raises AssertionError that says what is broken.

::

    from xrec.testing import check_explainer, check_model, small_model

    def test_mine():
        model, inputs = small_model()
        check_explainer(Mine(), model, inputs)
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.features import ITEM
from xrec.explain.explainer import Explainer
from xrec.explain.game import Game
from xrec.explain.target import Target, logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing.kept import mode_kept, parameters_kept
from xrec.testing.world import padded

TOLERANCE = 1e-6


def check_model(model: Recommender, batch: Batch, tolerance: float | None = None) -> None:
    """A recommender keeps the contract of `embed` and `score`, in evaluation mode.

    Scores are compared in double precision, to 1e-6, or, where a tolerance is given, as the model
    computes them, to that: absent slots change nothing whatever their
    values, NaN included; nor does padding, nor who else is in the batch; `forward` is `embed` then
    `score`; with everything removed, rows score alike. Where the model exchanges items, layers can
    be looked into, or attention watched, that is as if the batch had been about those items, ends
    with what the model says, and has gradients.
    """
    twin = copy.deepcopy(model).eval()
    twin = twin.double() if tolerance is None else twin
    within = TOLERANCE if tolerance is None else tolerance
    with torch.no_grad():
        inputs = twin.embed(batch)
        score = twin.score(inputs)
        assert score.shape == (len(batch),), f"score gives {tuple(score.shape)}, not (B,)"
        _same(twin(batch), score, "forward is not embed then score", within)
        _check_absence(twin, inputs, within)
        alone = torch.cat([twin(batch.rows(slice(at, at + 1))) for at in range(len(batch))])
        _same(alone, score, "who else is in the batch changes the score", within)
        _same(twin(padded(batch)), score, "padding changes the score", within)
        nothing = Game(twin, inputs).nothing()
        alike = nothing[:1].expand_as(nothing)
        _same(nothing, alike, "rows with nothing present score differently", within)
        if type(twin).exchanged is not Recommender.exchanged:
            _check_exchange(twin, batch, inputs, within)
    if twin.attends:
        _check_watched(twin, inputs, within)


def _check_exchange(model: Recommender, batch: Batch, inputs: Inputs, within: float) -> None:
    """Other items are scored for the same features as if the batch were about them.

    Rows are left out where about another item the model has more or fewer features of the user, as
    where events find room beside a shorter text.
    """
    count = len(model.data_module.items) - 1
    generator = torch.Generator().manual_seed(1)
    items = torch.randint(1, count + 1, (len(batch), 3), generator=generator)
    items = items.to(inputs.values.device)
    about = [model.embed(batch.about(column)) for column in items.unbind(1)]
    alike = torch.stack([_of_user(each) == _of_user(inputs) for each in about], dim=1)
    whole = torch.stack([model.score(each) for each in about], dim=1)
    choices = model.choices(inputs, items)
    _same(choices * alike, whole * alike, "choices differ from scores of those items", within)
    compared = torch.cat([model.score(inputs)[:, None], choices], dim=1)
    said = model.compared(inputs, items)
    _same(said, compared, "compared differs from score and choices", within)
    for at, column in enumerate(items.unbind(1)):
        other = model.exchanged(inputs, column)
        told = inputs.item is None or (other.item is not None and other.item.equal(column))
        assert told, "with the item exchanged the inputs tell of another item"
        found = model.score(other)
        same = choices[:, at]
        _same(found, same, "with the item exchanged the score is not that item's", within)
    back = model.exchanged(model.exchanged(inputs, items[:, 0]), batch.candidate)
    own = model.score(inputs)
    _same(model.score(back), own, "the item exchanged and put back scores another", within)
    if model.layers_read:
        layers = model.by_layer(inputs, items)
        _same(layers[-1], choices, "the last layer does not say the score", within)
        assert len(layers) == len(model.layers_read) + 1, (
            "by_layer does not tell of the start and of each layer"
        )


def _of_user(inputs: Inputs) -> Tensor:
    """(B,) how many features of the user there are."""
    return ((inputs.features.group != ITEM) & inputs.players).sum(1)


def _check_watched(model: Recommender, inputs: Inputs, within: float) -> None:
    """What is watched is the attention that the score was made of, as far as gradients tell."""
    with torch.enable_grad(), model.watched() as readings:
        score = model.score(inputs)
    assert len(readings) == 1, f"a score took {len(readings)} readings"
    assert model.watching is None, "the model goes on watching"
    (reading,) = readings
    if model.slope.trusted:
        gradients = torch.autograd.grad(score.sum(), list(reading.maps), allow_unused=True)
        part = all(each is not None for each in gradients)
        assert part, "an attention map is not part of the score"
    for shown, seen in zip(model.attend(inputs), reading.maps, strict=True):
        end = reading.start + seen.shape[-1]
        real = inputs.present[:, None, reading.start : end, None]
        own = shown[..., reading.start : end, reading.start : end]
        _same(own * real, seen * real, "what is watched is not what attend shows", within)


def _check_absence(model: Recommender, inputs: Inputs, within: float) -> None:
    generator = torch.Generator().manual_seed(0)
    drop = torch.rand(inputs.present.shape, generator=generator).to(inputs.values.device) < 0.5
    fewer = inputs.with_present(inputs.present & (~drop | inputs.features.fixed))
    expected = model.score(fewer)
    for junk in (0.0, 1e6, float("nan")):
        values = torch.where(fewer.present[..., None], fewer.values, junk)
        found = model.score(fewer.with_values(values))
        _same(found, expected, f"an absent slot whose values are {junk} changes the score", within)


def check_explainer(
    explainer: Explainer, model: Recommender, inputs: Inputs, target: Target = logit
) -> None:
    """An explainer keeps its contract.

    One finite value a slot, zero where a slot is absent or fixed; the score is the target's; cost
    is counted; the model keeps its mode, its parameters and their gradients; asked twice, it says
    the same.
    """
    standing = getattr(explainer, "standing", "")
    assert standing in ("", "floor", "heuristic", "ceiling"), f"unknown standing '{standing}'"
    with mode_kept(model), parameters_kept(model):
        told = explainer.explain(model, inputs, target)
    assert told.values.shape == inputs.present.shape, "there is not one value a slot"
    assert bool(told.values.isfinite().all()), "a value is not finite"
    assert not told.values[~inputs.players].any(), (
        "a slot that is absent or fixed was given a value"
    )
    assert told.present.equal(inputs.players), "other slots were attributed than the players"
    for name in ("score", "base", "error"):
        assert getattr(told, name).shape == (len(inputs),), f"the {name} is not (B,)"
    assert bool(told.base.isfinite().all()), "a base is not finite"
    assert not (told.error < 0).any(), "an error estimate is negative"
    assert told.cost.forward > 0, "no forward evaluation was counted: explain inside xrec.probe"
    with torch.no_grad():
        _same(told.score, target(model, inputs), "the score is not the target's", 1e-4)
    again = explainer.explain(model, inputs, target)
    _same(again.values, told.values, "asked twice, it says two things")


def _same(found: Tensor, expected: Tensor, complaint: str, tolerance: float = TOLERANCE) -> None:
    gap = float((found - expected).detach().abs().max())
    assert gap <= tolerance, f"{complaint}: they differ by {gap:.3g}, more than {tolerance:g}"
