"""A recommender read word by word beside encoding the text anew by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tongues import saved, word_pieces
from torch import Tensor

from xrec.data.features import BEHAVIOUR
from xrec.errors import XrecError
from xrec.explain.game import Game
from xrec.explain.target import logit, margin
from xrec.models.inputs import Inputs
from xrec.models.words import WordByWord
from xrec.testing import check_explainer, check_model, small_data
from xrec_plugins.encoders.pretrained import Pretrained
from xrec_plugins.explainers.integrated_gradients import IntegratedGradients
from xrec_plugins.explainers.leave_one_out import LeaveOneOut
from xrec_plugins.models.sequential import Sequential, SequentialRecommender


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    data = small_data(history=4)
    return Pretrained(str(saved("bert", tmp_path_factory.mktemp("bert"), word_pieces(data.texts))))


def build(encoder: Pretrained, **options: object) -> SequentialRecommender:
    data = small_data(history=4)
    torch.manual_seed(0)
    model = Sequential(**{"width": 8, **options}).build(  # type: ignore[arg-type]
        data, encoder.encode(data.texts), encoder
    )
    assert isinstance(model, SequentialRecommender)
    with torch.no_grad():
        model.views.gate.weight.normal_()
    return model.eval()


@pytest.fixture(scope="module")
def opened(encoder: Pretrained) -> tuple[WordByWord, Inputs, Inputs]:
    """The model word by word, its inputs with the latest event opened, and the plain inputs."""
    model = build(encoder)
    batch = model.data_module.queries("test", torch.arange(1, 5))
    words = WordByWord(model, encoder.language(), encoder.max_tokens).eval()
    with torch.no_grad():
        return words, words.embed(batch), model.embed(batch)


def test_the_contract(opened):
    words, _, _ = opened
    check_model(words, words.data_module.queries("test", torch.arange(1, 5)))


def test_with_all_words_it_says_what_the_model_says(opened):
    words, inputs, plain = opened
    with torch.no_grad():
        assert torch.allclose(words.score(inputs), words.model.score(plain), atol=1e-5)


def test_slots_are_those_of_the_model_and_the_words(opened):
    words, inputs, plain = opened
    slots = plain.values.shape[1]
    assert torch.equal(inputs.present[:, :slots], plain.present)
    assert inputs.values.shape[2] == max(8, words.language.embedding_width)
    for row in range(4):
        told = [
            inputs.features.name(row, at)
            for at in range(slots, inputs.values.shape[1])
            if inputs.present[row, at]
        ]
        item = int(plain.features.key[row, 3])
        expected = words.language.tokens([words.data_module.texts[item]])[0]
        assert told == [words.pieces[token] for token in expected]
        assert set(inputs.features.parent[row, slots:][inputs.present[row, slots:]].tolist()) == {3}


def by_hand(words: WordByWord, plain: Inputs, row: int, keep: list[int]) -> Tensor:
    """The score of a row whose latest event has only some words, its text encoded by itself."""
    model, language = words.model, words.language
    item = int(plain.features.key[row, 3])
    ids = language.tokens([words.data_module.texts[item]])[0]
    kept = [at for at in range(len(ids)) if at in keep]
    sequence = [*language.opening, *(ids[at] for at in kept), *language.closing]
    places = [0, *(1 + at for at in kept), 1 + len(ids)]
    assert len(language.opening) == len(language.closing) == 1
    states = language.transformer(
        input_ids=torch.tensor([sequence]), position_ids=torch.tensor([places])
    ).last_hidden_state[0]
    text = torch.nn.functional.normalize(states.mean(0), dim=0)
    views = model.views
    old, _ = views(model.texts, torch.tensor(item))
    count = 1 + 1 + int((views.attributes[item] > 0).sum())
    share = views.shares(model.texts, torch.tensor([item]))["text"][0]
    vector = plain.values[row, 3] - old[0]
    if kept:
        vector = vector + share * count * views.text.weight @ text
    values = plain.values[row : row + 1].clone()
    values[0, 3] = vector
    return model.score(plain.rows(slice(row, row + 1)).with_values(values))[0]


@pytest.mark.parametrize("keep", [[], [0], [1, 2], [0, 3]])
def test_fewer_words_are_encoded_anew(opened, keep: list[int]):
    words, inputs, plain = opened
    slots = plain.values.shape[1]
    at = torch.arange(inputs.values.shape[1])
    some = (at < slots) | torch.isin(at - slots, torch.tensor(keep, dtype=torch.long))
    with torch.no_grad():
        found = words.score(inputs.with_present(inputs.present & some))
        for row in range(4):
            assert float(found[row]) == pytest.approx(
                float(by_hand(words, plain, row, keep)), abs=1e-5
            )


def test_without_words_and_the_rest_the_event_is_not_there(opened):
    words, inputs, plain = opened
    gone = inputs.features.whole != 3
    with torch.no_grad():
        found = words.score(inputs.with_present(inputs.present & gone))
        present = plain.present.clone()
        present[:, 3] = False
        assert torch.allclose(found, words.model.score(plain.with_present(present)), atol=1e-6)


@pytest.mark.parametrize("explainer", [LeaveOneOut(), IntegratedGradients(steps=8)])
def test_explainers_do_not_know_the_difference(opened, explainer):
    words, inputs, _ = opened
    check_explainer(explainer, words, inputs)
    against = inputs.against(torch.tensor([[3], [4], [5], [6]]))
    told = explainer.explain(words, against, margin)
    assert told.values[:, -1].isfinite().all()


def test_the_margin_is_that_of_the_model(opened):
    words, inputs, plain = opened
    rivals = torch.tensor([[3], [4], [5], [6]])
    with torch.no_grad():
        found = margin(words, inputs.against(rivals))
        assert torch.allclose(found, margin(words.model, plain.against(rivals)), atol=1e-5)


def test_any_event_can_be_opened_and_an_empty_slot_has_no_words(opened):
    words, _, plain = opened
    slot = torch.tensor([2, 0, 3, 1])
    lone = plain.present.clone()
    lone[2, 3] = False
    inputs = words.opened(plain.with_present(lone), slot)
    begin = plain.values.shape[1]
    assert not inputs.present[2, begin:].any()
    assert inputs.present[0, begin:].any()
    assert inputs.features.group[0, begin] == BEHAVIOUR
    with torch.no_grad():
        expected = words.model.score(plain.with_present(lone))
        assert torch.allclose(words.score(inputs), expected, atol=1e-5)
        assert torch.allclose(Game(words, inputs, logit).everything(), expected, atol=1e-5)


def test_gradients_reach_words(opened):
    words, inputs, _ = opened
    values = inputs.values.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(words.score(inputs.with_values(values)).sum(), values)
    there = inputs.present & (inputs.features.parent >= 0)
    assert (found[there].abs().sum(-1) > 0).all()
    assert not found[~inputs.present].any()


def test_what_has_no_texts_or_reads_words_already_says_so(opened, encoder: Pretrained):
    words, inputs, _ = opened
    with pytest.raises(XrecError, match="reads events by words already"):
        words.opened(inputs, torch.zeros(4, dtype=torch.long))
    with pytest.raises(XrecError, match=r"model\.views has no"):
        WordByWord(build(encoder, views=["identity"]), encoder.language(), 16)


def test_a_language_model_that_learned_with_it_is_its_own(encoder: Pretrained, tmp_path: Path):
    tuned = Pretrained(encoder.source, tune="full")
    model = build(tuned)
    assert model.reads_with is not None
    assert build(encoder).reads_with is None
