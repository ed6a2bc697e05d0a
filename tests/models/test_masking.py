"""Masked-language modelling: what is hidden, what perplexity is, and what learns."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tongues import TEXTS, saved, with_head
from torch.nn import functional
from transformers import AutoModelForMaskedLM, AutoTokenizer, DataCollatorForLanguageModeling

from xrec.models.language import LanguageModel
from xrec.models.masking import UNASKED, Guesser, Puzzle, hide

FAMILIES = [
    "bert",
    "roberta",
    "mpnet",
    "distilbert",
    "albert",
    "electra",
    "deberta-v2",
    "modernbert",
]


def guesser_of(folder: Path) -> Guesser:
    return Guesser.of(LanguageModel.load(folder), folder)


def puzzle_of(guesser: Guesser, seed: int = 0) -> Puzzle:
    rows = guesser.language.tokens([text for text in TEXTS if text])
    return guesser.puzzle(rows, 0.3, torch.Generator().manual_seed(seed))


# What is hidden


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 12),
    st.floats(0.01, 0.99),
    st.integers(0, 2**31),
)
def test_only_content_is_asked_and_some_of_each_text(
    rows: int, width: int, share: float, seed: int
):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 50, (rows, width), generator=generator)
    content = torch.rand(rows, width, generator=generator) < 0.7
    again = torch.Generator().manual_seed(seed)
    seen, labels = hide(ids, content, share, 4, 50, torch.Generator().manual_seed(seed))
    asked = labels != UNASKED
    assert not (asked & ~content).any()
    assert asked.any(1).equal(content.any(1))
    assert labels[asked].equal(ids[asked])
    assert seen[~asked].equal(ids[~asked])
    assert ((seen >= 0) & (seen < 50)).all()
    same = hide(ids, content, share, 4, 50, again)
    assert same[0].equal(seen)
    assert same[1].equal(labels)


def test_the_shares_are_those_of_the_collator_of_transformers(tmp_path: Path):
    """Of many tokens 15 % are asked; of those 80 % hidden, 10 % replaced, 10 % left."""
    tokenizer = AutoTokenizer.from_pretrained(saved("bert", tmp_path))
    ids = torch.full((400, 100), 7)
    ours = hide(
        ids, torch.ones_like(ids, dtype=torch.bool), 0.15, tokenizer.mask_token_id,
        len(tokenizer), torch.Generator().manual_seed(0),
    )  # fmt: skip
    collator = DataCollatorForLanguageModeling(tokenizer, seed=0)
    theirs = collator([{"input_ids": row.tolist()} for row in ids])
    shares = []
    for seen, labels in (ours, (theirs["input_ids"], theirs["labels"])):
        asked = labels != UNASKED
        hidden = seen[asked] == tokenizer.mask_token_id
        shares.append(
            [asked.float().mean(), hidden.float().mean(), (seen[asked] == 7).float().mean()]
        )
    # The hidden include 1 / 24 of the replaced, and the left as well.
    assert torch.allclose(*torch.tensor(shares), atol=0.02)
    assert torch.allclose(torch.tensor(shares[0]), torch.tensor([0.15, 0.8, 0.1]), atol=0.02)


def test_special_tokens_and_padding_are_never_asked(tmp_path: Path):
    guesser = guesser_of(saved("bert", tmp_path))
    language = guesser.language
    rows = language.tokens([text for text in TEXTS if text])
    for seed in range(5):
        puzzle = guesser.puzzle(rows, 0.99, torch.Generator().manual_seed(seed))
        for row, ids, mask, labels in zip(
            rows, puzzle.ids, puzzle.mask, puzzle.labels, strict=True
        ):
            whole = torch.tensor(language.framed(row))
            assert int(mask.sum()) == len(whole)
            asked = (labels != UNASKED).nonzero()[:, 0].tolist()
            assert set(asked) <= set(range(1, 1 + len(row)))
            assert torch.where(labels == UNASKED, ids, labels)[: len(whole)].equal(whole)


# Perplexity


@pytest.mark.parametrize("model_type", FAMILIES)
def test_perplexity_is_that_of_a_loop_by_hand(tmp_path: Path, model_type: str):
    guesser = guesser_of(with_head(model_type, tmp_path))
    puzzles = [puzzle_of(guesser, seed) for seed in range(3)]
    model = AutoModelForMaskedLM.from_pretrained(tmp_path)
    total, count = 0.0, 0
    for puzzle in puzzles:
        for ids, mask, labels in zip(puzzle.ids, puzzle.mask, puzzle.labels, strict=True):
            length = int(mask.sum())
            with torch.no_grad():
                (logits,) = model(input_ids=ids[None, :length]).logits
            for at in range(length):
                if labels[at] != UNASKED:
                    total -= float(functional.log_softmax(logits[at], dim=0)[labels[at]])
                    count += 1
    assert count > 10
    assert guesser.perplexity(puzzles) == pytest.approx(math.exp(total / count), rel=1e-4)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_loss_is_that_of_transformers(tmp_path: Path, model_type: str):
    guesser = guesser_of(with_head(model_type, tmp_path))
    puzzle = puzzle_of(guesser)
    guesser.eval()
    with torch.no_grad():
        loss, count = guesser.surprise(puzzle)
        theirs = guesser.model(
            input_ids=puzzle.ids, attention_mask=puzzle.mask, labels=puzzle.labels
        ).loss
    assert float(loss / count) == pytest.approx(float(theirs), rel=1e-4)


# The head


@pytest.mark.parametrize("model_type", FAMILIES)
def test_whether_the_files_have_a_head_is_told(tmp_path: Path, model_type: str):
    assert guesser_of(saved(model_type, tmp_path / "trunk")).headless
    assert not guesser_of(with_head(model_type, tmp_path / "head")).headless


@pytest.mark.parametrize("trunk", [False, True])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_head_learns_alone_or_with_its_trunk(tmp_path: Path, model_type: str, trunk: bool):
    guesser = guesser_of(saved(model_type, tmp_path))
    own = {name: p.detach().clone() for name, p in guesser.trunk.named_parameters()}
    others = {
        name: p.detach().clone()
        for name, p in guesser.model.named_parameters()
        if not name.startswith(f"{guesser.model.base_model_prefix}.")
    }
    guesser.study(lambda epoch: (), 10, 0.01, trunk)
    assert guesser.trunk.training == trunk
    assert guesser.model.training
    made = guesser.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    for seed in range(3):
        loss, count = guesser.surprise(puzzle_of(guesser, seed))
        (loss / count).backward()
        optimizer.step()
        schedule.step()  # the first rate is none
    learnt = dict(guesser.trunk.named_parameters())
    moved = {name for name, value in own.items() if not value.equal(learnt[name])}
    assert bool(moved) == trunk
    if not trunk:
        assert all(p.grad is None for p in learnt.values())
    named = dict(guesser.model.named_parameters())
    assert any(not value.equal(named[name]) for name, value in others.items())


def test_a_head_is_tied_to_the_word_vectors(tmp_path: Path):
    guesser = guesser_of(saved("bert", tmp_path))
    words = guesser.model.get_output_embeddings().weight
    assert words is guesser.trunk.get_input_embeddings().weight
