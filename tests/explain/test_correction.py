"""Score and base of rows that may share what they are without their players."""

from __future__ import annotations

import torch

from xrec.explain.correction import ends, nothing
from xrec.explain.game import Game
from xrec.explain.probe import probe
from xrec.explain.target import logit
from xrec.testing import small_model


def test_a_base_that_all_share_is_asked_of_once_or_not_at_all():
    model, inputs = small_model(users=4)
    with torch.no_grad():
        known = nothing(model, inputs)
        game = Game(model, inputs)
        score, base = game.everything(), game.nothing()
        for given, evaluations in ((None, 5), (known, 4)):
            with probe(model) as cost:
                found = ends(model, inputs, logit, "remove", given)
            assert torch.allclose(found[0], score, atol=1e-5)
            assert torch.allclose(found[1], base, atol=1e-5)
            assert cost.forward == evaluations


def test_what_is_known_of_other_fixed_slots_is_not_taken():
    model, inputs = small_model(users=4)
    with torch.no_grad():
        known = nothing(model, inputs)
        fixed = inputs.features.fixed[..., None]
        other = inputs.with_values(torch.where(fixed, inputs.values + 1, inputs.values))
        assert known is not None
        assert known.of(inputs)
        assert not known.of(other)
        with probe(model) as cost:
            base = ends(model, other, logit, "remove", known)[1]
        assert cost.forward == 5
        assert torch.allclose(base, Game(model, other).nothing(), atol=1e-5)


def test_where_rows_differ_without_their_players_each_is_asked_of():
    model, inputs = small_model(users=4)
    fixed = inputs.features.fixed[..., None]
    shift = torch.arange(4.0)[:, None, None]
    other = inputs.with_values(torch.where(fixed, inputs.values + shift, inputs.values))
    with torch.no_grad():
        assert nothing(model, other) is None
        base = ends(model, other, logit, "remove")[1]
        assert torch.allclose(base, Game(model, other).nothing(), atol=1e-5)


def test_another_operator_is_played_by_the_game():
    model, inputs = small_model(users=4)
    with torch.no_grad():
        base = ends(model, inputs, logit, "baseline")[1]
        assert torch.allclose(base, Game(model, inputs, absent="baseline").nothing(), atol=1e-5)
