"""Masked evaluation against inputs that are built by hand, slot by slot."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from explain.toys import contributions, listed, masked_score, ones, random_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xrec.explain.game import OPERATORS, Game
from xrec.explain.probe import probe
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import small_model

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=40)


def toy() -> tuple[Recommender, Inputs]:
    return random_toy(rows=5, slots=7, seed=1, fixed=(2,))


def sequential() -> tuple[Recommender, Inputs]:
    """The small sequential model in double precision; the first row has padding before it."""
    model, inputs = small_model(history=6, users=5)
    return model.double(), inputs.with_values(inputs.values.double())


def draws(inputs: Inputs, count: int, seed: int = 0) -> Tensor:
    """(B, count, F) coalitions, with every slot, padding and fixed ones too, in or out."""
    rows, slots = inputs.present.shape
    return torch.rand(rows, count, slots, generator=torch.Generator().manual_seed(seed)) < 0.5


def by_hand(
    model: Recommender, inputs: Inputs, row: int, coalitions: Tensor, **how: object
) -> list[float]:
    """The values (C,) of one row's coalitions (C, F)."""
    sets = [set(each.nonzero()[:, 0].tolist()) for each in coalitions]
    return [masked_score(model, inputs, row, inside, **how) for inside in sets]


@pytest.mark.parametrize("make", [toy, sequential])
def test_all_is_the_score_and_none_the_base(make) -> None:
    model, inputs = make()
    game = Game(model, inputs)
    with torch.no_grad():
        assert torch.allclose(game.everything(), model.score(inputs), atol=1e-9, rtol=0)
        base = model.score(inputs.with_present(inputs.features.fixed & inputs.present))
    assert torch.allclose(game.nothing(), base, atol=1e-9, rtol=0)
    assert not torch.allclose(game.nothing(), game.everything())


@pytest.mark.parametrize("make", [toy, sequential])
@pytest.mark.parametrize("absent", ["remove", "baseline"])
def test_values_are_those_of_inputs_built_by_hand(make, absent: str) -> None:
    model, inputs = make()
    coalitions = draws(inputs, 12)
    found = Game(model, inputs, absent=absent).value(coalitions)
    assert found.shape == (len(inputs), 12)
    for row in range(len(inputs)):
        expected = by_hand(model, inputs, row, coalitions[row], absent=absent)
        assert found[row].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("max_bytes", [1, 2**29])
def test_coalitions_of_any_rows_in_any_order(max_bytes: int) -> None:
    model, inputs = toy()
    coalitions = draws(inputs, 6)
    row = torch.tensor([4, 0, 0, 3, 4, 0])
    mixed = coalitions[row, torch.arange(6)]
    mixed[2] = mixed[1]
    game = Game(model, inputs, max_bytes=max_bytes)
    for at, found in enumerate(game.each(row, mixed).tolist()):
        (expected,) = by_hand(model, inputs, int(row[at]), mixed[at : at + 1])
        assert found == pytest.approx(expected, abs=1e-9)
    inside = (mixed & inputs.players[row]).tolist()
    distinct = {(int(at), *each) for at, each in zip(row, inside, strict=True)}
    assert game.evaluations == (len(distinct) if max_bytes > 1 else 6)
    assert game.each(row[:0], mixed[:0]).shape == (0,)


def test_a_baseline_has_its_own_vector_for_each_slot() -> None:
    model, inputs = toy()
    coalitions, baseline = draws(inputs, 12), torch.randn(7, 3, dtype=torch.double)
    found = Game(model, inputs, absent="baseline", baseline=baseline).value(coalitions)
    for row in range(len(inputs)):
        expected = by_hand(
            model, inputs, row, coalitions[row], absent="baseline", baseline=baseline
        )
        assert found[row].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("make", [toy, sequential])
def test_resampling_takes_the_vectors_of_one_other_row(make) -> None:
    model, inputs = make()
    rows, coalitions = range(len(inputs)), draws(inputs, 8)
    donated = torch.tensor(
        [
            [by_hand(model, inputs, row, coalitions[row], absent="resample", donor=d) for d in rows]
            for row in rows
        ],
        dtype=torch.double,
    )
    chosen = set()
    for seed in range(4):
        found = Game(model, inputs, absent="resample", seed=seed).value(coalitions)
        again = Game(model, inputs, absent="resample", seed=seed).value(coalitions)
        assert torch.equal(found, again)
        match = (donated - found[:, None]).abs().amax(-1) < 1e-9  # (row, donor)
        match.fill_diagonal_(False)
        assert match.any(1).all(), "no other row explains the values of a row"
        chosen.add(tuple(match.int().argmax(1).tolist()))
    assert len(chosen) > 1, "the seed changes nothing"


def test_resampling_never_takes_what_the_other_row_lacks() -> None:
    model, inputs = random_toy(rows=6, slots=9, seed=3)
    junk = inputs.with_values(torch.where(inputs.present[..., None], inputs.values, torch.nan))
    seen: list[Inputs] = []

    def target(model: Recommender, inputs: Inputs) -> Tensor:
        seen.append(inputs)
        return model.score(inputs)

    game = Game(model, junk, target, absent="resample")
    assert game.value(draws(junk, 20)).isfinite().all()
    (asked,) = seen
    assert not asked.values[asked.present].isnan().any()
    assert not inputs.present.all()


@pytest.mark.parametrize("absent", OPERATORS)
def test_fixed_slots_are_always_in_and_padding_never(absent: str) -> None:
    model, inputs = toy()
    junk = inputs.with_values(torch.where(inputs.present[..., None], inputs.values, torch.nan))
    coalitions, neither = draws(inputs, 12), ~inputs.players[:, None]
    game = Game(model, junk, absent=absent)
    found = game.value(coalitions)
    assert found.isfinite().all()
    assert torch.equal(found, game.value(coalitions | neither))
    assert torch.equal(found, game.value(coalitions & ~neither))


@pytest.mark.parametrize("absent", OPERATORS)
def test_every_distinct_evaluation_is_counted_once(absent: str) -> None:
    model, inputs = toy()
    coalitions = draws(inputs, 40, seed=2).repeat(1, 3, 1)
    distinct = {
        (row, tuple((coalition & inputs.players[row]).tolist()))
        for row in range(len(inputs))
        for coalition in coalitions[row]
    }
    assert len(distinct) < 5 * 40  # some draws differ in fixed and padding slots alone
    game = Game(model, inputs, absent=absent)
    with probe(model) as cost:
        game.value(coalitions)
    assert game.evaluations == cost.forward == len(distinct)
    game.value(coalitions[:, :1])
    assert game.evaluations == len(distinct) + len(inputs)


@given(
    rows=st.integers(2, 5),
    slots=st.integers(1, 12),
    count=st.integers(1, 20),
    chunk=st.integers(0, 60),
    seed=st.integers(0, 999),
    absent=st.sampled_from(OPERATORS),
)
@QUICK
def test_memory_limit_changes_no_value(rows, slots, count, chunk, seed, absent) -> None:
    model, inputs = random_toy(rows, slots, seed)
    sizes: list[int] = []

    def target(model: Recommender, inputs: Inputs) -> Tensor:
        sizes.append(len(inputs))
        return model.score(inputs)

    coalitions, one = draws(inputs, count, seed), inputs.values[0].nbytes
    whole, parts = (
        Game(model, inputs, absent=absent),
        Game(model, inputs, target, absent, max_bytes=chunk * (one + 1)),
    )
    assert torch.allclose(parts.value(coalitions), whole.value(coalitions), atol=1e-6, rtol=0)
    assert max(sizes) * one <= max(chunk * (one + 1), one)
    assert sum(sizes) == parts.evaluations == whole.evaluations


def test_memory_limit_changes_no_value_of_a_transformer() -> None:
    model, inputs = sequential()
    coalitions = draws(inputs, 30)
    whole = Game(model, inputs).value(coalitions)
    for limit in (0, 5000, 12345):
        parts = Game(model, inputs, max_bytes=limit).value(coalitions)
        assert torch.allclose(parts, whole, atol=1e-6, rtol=0)


@given(slots=st.integers(1, 150), seed=st.integers(0, 99))
@QUICK
def test_coalitions_that_differ_in_one_slot_are_told_apart(slots: int, seed: int) -> None:
    model, inputs = random_toy(2, slots, seed, pairs=False, fixed=())
    but_one = ~torch.eye(slots, dtype=torch.bool)
    coalitions = torch.cat([but_one, but_one, torch.ones(1, slots, dtype=torch.bool)])
    game = Game(model, inputs)
    found = game.value(coalitions.expand(2, -1, -1))
    lost = found[:, -1:] - found[:, :-1]
    assert torch.allclose(lost, contributions(model, inputs).repeat(1, 2), atol=1e-9)
    # Leaving padding out is leaving nothing out; both rows are asked for everything once.
    assert game.evaluations == int(inputs.players.sum()) + 2


def test_one_row_alone_is_as_in_the_whole_game() -> None:
    for absent in OPERATORS:
        model, inputs = toy()
        coalitions = draws(inputs, 12)
        game = Game(model, inputs, absent=absent, seed=5)
        whole, spent = game.value(coalitions), game.evaluations
        for row in range(len(inputs)):
            one = game.alone(row)
            assert one.evaluations == 0
            assert torch.equal(one.value(coalitions[row : row + 1])[0], whole[row])
            assert one.evaluations > 0
        assert game.evaluations == spent
        assert len(game.inputs) == len(inputs)


def test_the_target_is_what_is_played_for() -> None:
    model, inputs = toy()
    coalitions = draws(inputs, 6)
    twice = Game(model, inputs, lambda model, inputs: 2 * model.score(inputs)).value(coalitions)
    assert torch.equal(twice, 2 * Game(model, inputs).value(coalitions))


def test_no_graph_is_kept_and_the_inputs_stay_as_they_were() -> None:
    model, inputs = toy()
    before = replace(inputs, values=inputs.values.clone(), present=inputs.present.clone())
    assert not Game(model, inputs).value(draws(inputs, 3)).requires_grad
    assert torch.equal(inputs.values, before.values)
    assert torch.equal(inputs.present, before.present)


@pytest.mark.parametrize("shape", [(4, 2, 7), (5, 2, 6), (6, 2, 7)])
def test_coalitions_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    model, inputs = toy()
    with pytest.raises(ValueError, match="the game has 5 rows of 7 slots"):
        Game(model, inputs).value(torch.ones(shape, dtype=torch.bool))


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(ValueError, match="'shuffle', not one of remove, baseline, resample"):
        Game(ones(2), listed([[1, 2]]), absent="shuffle")


def test_resampling_needs_another_row_and_no_game_is_empty() -> None:
    model, inputs = random_toy(rows=2, slots=3, seed=0)
    with pytest.raises(ValueError, match="absent='resample' needs more rows than the 1 given"):
        Game(model, inputs.rows(slice(0, 1)), absent="resample")
    with pytest.raises(ValueError, match="needs more rows than the 0 given"):
        Game(model, inputs.rows(slice(0, 0)))
    nothing_asked = torch.zeros(2, 0, 3, dtype=torch.bool)
    assert Game(model, inputs).value(nothing_asked).shape == (2, 0)
