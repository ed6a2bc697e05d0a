"""Transformers within models: what of their layers is found, in every family, and what is left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tongues import ALL, saved
from torch import nn

from xrec.compress.blocks import Left, stacks
from xrec.errors import XrecError
from xrec.models.language import LanguageModel
from xrec.testing import small_model

#: Heads and hidden units of each layer, and the maps into these, as `tongues` configures them.
BERT = (2, 24, 1)
FOUND = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "mpnet", "distilbert", "electra"), BERT),
    **dict.fromkeys(("llama", "qwen2", "qwen3", "mistral", "gemma"), (None, 24, 2)),
    **dict.fromkeys(("deberta-v2", "gpt_neox"), (None, 24, 1)),
    **dict.fromkeys(("gpt2", "modernbert"), (None, None, None)),
    "opt": BERT,
}


def _language(family: str, folder: Path) -> nn.Module:
    model = nn.Module()
    model.language = LanguageModel.load(saved(family, folder), tune="full")
    return model


@pytest.mark.parametrize("family", FOUND)
def test_what_is_found_in_language_models(family: str, tmp_path: Path):
    model = _language(family, tmp_path)
    (stack,) = stacks(model)
    assert [block.module for block in stack.blocks] == model.language.layers
    assert stack.language is model.language
    assert f"language.{stacks(model.language)[0].name}" == stack.name
    heads, width, writers = FOUND[family]
    for at, block in enumerate(stack.blocks):
        assert block.name == f"{stack.name}.{at}"
        assert model.get_submodule(block.name) is block.module
        assert (block.attention and block.attention.count) == heads
        assert (block.feed and (block.feed.count, len(block.feed.writers))) == (
            width and (width, writers)
        )


def test_every_family_is_known_or_refused(tmp_path: Path):
    assert set(ALL) - set(FOUND) == {"albert", "bloom"}
    with pytest.raises(XrecError, match="the layers of a 'albert' model are not where"):
        stacks(_language("albert", tmp_path))


def test_the_maps_of_bert_by_their_names(tmp_path: Path):
    model = _language("bert", tmp_path)
    block = stacks(model)[0].blocks[1]
    layer = block.module
    own, feed = layer.attention.self, (layer.intermediate.dense, layer.output.dense)
    assert block.attention.writers == (own.query, own.key, own.value)
    assert block.attention.reader is layer.attention.output.dense
    assert (block.attention.module, block.attention.size) == (own, 8)
    assert (*block.feed.writers, block.feed.reader) == feed
    assert not block.attention.fused


def test_the_maps_of_the_sequential_model_by_their_names():
    model, _ = small_model(width=12, heads=4, layers=3)
    (stack,) = stacks(model)
    assert (stack.name, stack.language) == ("layers", None)
    for block, layer in zip(stack.blocks, model.layers, strict=True):
        assert (block.attention.writers, block.attention.reader) == ((layer.qkv,), layer.out)
        assert (block.attention.count, block.attention.size) == (4, 3)
        assert block.attention.columns == (layer.distance,)
        assert block.attention.fused
        assert (block.feed.writers, block.feed.reader) == ((layer.feed[0],), layer.feed[2])


class Theirs(nn.Module):
    """A layer that somebody else wrote, as wide inside as outside, its gated net beside it."""

    def __init__(self, heads: int, inner: int, hidden: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.k, self.q, self.v = (nn.Linear(12, inner) for _ in range(3))
        self.o = nn.Linear(inner, 12)
        self.net = nn.ModuleDict(
            {
                "gate": nn.Linear(12, hidden),
                "up": nn.Linear(12, hidden),
                "down": nn.Linear(hidden, 12),
            }
        )


@pytest.mark.parametrize(("inner", "hidden"), [(12, 30), (6, 30), (12, 12), (6, 12)])
def test_layers_of_another_author(inner: int, hidden: int):
    model = nn.Module()
    model.deep = nn.ModuleList(Theirs(3, inner, hidden) for _ in range(2))
    model.heads = nn.ModuleList(nn.Linear(12, 1) for _ in range(2))
    (stack,) = stacks(model)
    assert stack.name == "deep"
    attention, feed = stack.blocks[0].attention, stack.blocks[0].feed
    assert (attention.count, attention.size) == (3, inner // 3)
    assert attention.reader is model.deep[0].o
    assert feed.writers == (model.deep[0].net["gate"], model.deep[0].net["up"])
    assert feed.count == hidden


def test_lists_of_other_things_are_no_transformers():
    model = nn.Module()
    model.towers = nn.ModuleList(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4)) for _ in range(2))
    model.none = nn.ModuleList()
    assert stacks(model) == []


def test_layers_that_are_left_know_their_places():
    model, _ = small_model(width=8, layers=5)
    before = list(model.layers)
    stacks(model)[0].keep([1, 2, 4])
    assert list(model.layers) == [before[1], before[2], before[4]]
    stacks(model)[0].keep([0, 2])
    assert stacks(model)[0].places == (1, 4)
    assert list(model.layers) == [before[1], before[4]]
    stacks(model)[0].renumber()
    assert stacks(model)[0].places == (0, 1)
    assert "layers.1.qkv.weight" in model.state_dict()


def test_a_list_of_what_is_left_is_a_list():
    layers = Left([nn.Linear(2, 2), nn.Linear(2, 3)], [3, 5])
    assert len(layers[:1]) == 1
    assert layers.places == (3, 5)


@pytest.mark.parametrize("family", ["bert", "gpt2", "qwen3"])
def test_a_language_model_of_fewer_layers_reads_as_far(family: str, tmp_path: Path):
    model = _language(family, tmp_path).eval()
    language = model.language
    torch.manual_seed(0)
    given = (
        torch.randn(2, 5, language.embedding_width),
        torch.ones(2, 5, dtype=torch.bool),
        torch.arange(5).expand(2, 5),
        torch.zeros(2, 5, dtype=torch.long),
    )
    with torch.no_grad():
        wanted = language.states_by_layer(*given)
        stacks(model)[0].keep([0])
        found = language.states_by_layer(*given)
        assert len(language.layers) == len(language.attention(*given)) == 1
    assert len(found) == 2
    for mine, whole in zip(found, wanted, strict=False):
        assert torch.allclose(mine, whole, atol=1e-6)
