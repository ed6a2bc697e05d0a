"""Language models of many families, tiny, beside what transformers says of them by itself."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tongues import ALL, DECODERS, ENCODERS, END, TEXTS, UNPLACED, bytes_of, configured, saved
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from xrec.errors import XrecError
from xrec.models import language
from xrec.models.family import Family, weights
from xrec.models.language import LanguageModel

CLOSE = {"atol": 1e-5, "rtol": 0}
PLACED = [*ENCODERS, *DECODERS]
#: These count distance in slots, so that a slot between two tokens moves them apart.
BY_SLOT = ("mpnet", "deberta-v2", "modernbert")


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory):
    """Folders of tiny models by family, made when asked for. Tests must not write to them."""
    made: dict[str, Path] = {}

    def folder(model_type: str) -> Path:
        if model_type not in made:
            made[model_type] = saved(model_type, tmp_path_factory.mktemp(model_type))
        return made[model_type]

    return folder


def placed(model: LanguageModel, texts: list[str]) -> tuple[Tensor, ...]:
    """Ids, and vectors, present, positions and types as `states` takes them."""
    ids, mask = model.padded([model.framed(each) for each in model.tokens(texts)])
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    return ids, model.word_vectors(ids), mask.bool(), positions, torch.zeros_like(ids)


# Reading


@pytest.mark.parametrize("pooling", ["mean", "last", "first"])
@pytest.mark.parametrize("model_type", ALL)
def test_a_texts_vector_is_what_transformers_pools_to(shelf, model_type: str, pooling: str):
    """Each text by itself, without padding, through the bare model."""
    folder = shelf(model_type)
    found = LanguageModel.load(folder, pooling=pooling).encode(TEXTS, 64, 40)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    for text, vector in zip(TEXTS, found, strict=True):
        ids = tokenizer(text)["input_ids"]
        if model_type not in ENCODERS:
            ids = [*ids, tokenizer.eos_token_id]
        with torch.no_grad():
            states = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        pooled = {"mean": states.mean(0), "last": states[-1], "first": states[0]}[pooling]
        assert torch.allclose(vector, functional.normalize(pooled, dim=0), **CLOSE)


@pytest.mark.parametrize("model_type", ALL)
def test_a_texts_vector_does_not_depend_on_its_batch(shelf, model_type: str):
    model = LanguageModel.load(shelf(model_type))
    vectors = model.encode(TEXTS, 64, 10_000)
    for at, text in enumerate(TEXTS):
        assert torch.allclose(model.encode([text], 64, 1), vectors[at : at + 1], **CLOSE)
    assert torch.allclose(model.encode(TEXTS[::-1], 64, 30), vectors.flip(0), **CLOSE)
    assert not torch.allclose(vectors[0], vectors[2], atol=1e-2)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "gpt2", "llama"])
def test_long_texts_are_cut_off_and_keep_their_end(shelf, model_type: str):
    model = LanguageModel.load(shelf(model_type), pooling="mean")
    assert model.longest == (64 if model_type != "roberta" else 62)
    long = "the sea and a lamp " * 50
    (content,) = model.tokens([long])
    assert len(content) > 64
    for most, kept in ((8, 8), (1000, model.longest)):
        room = kept - len(model.opening) - len(model.closing)
        ids, mask = model.padded([model.framed(content[:room])])
        assert ids.shape[1] == kept
        with torch.no_grad():
            assert torch.allclose(model.encode([long], most, 512), model.eval()(ids, mask), **CLOSE)
    only = len(model.opening) + len(model.closing)
    assert torch.allclose(model.encode([long], only, 512), model.encode([""], 64, 512), **CLOSE)


def test_families_differ_in_what_they_are(shelf):
    found = {name: LanguageModel.load(shelf(name)) for name in ("bert", "albert", "gpt2", "llama")}
    assert {name: model.kind for name, model in found.items()} == {
        "bert": "encoder",
        "albert": "encoder",
        "gpt2": "decoder",
        "llama": "decoder",
    }
    assert [model.pooling for model in found.values()] == ["mean", "mean", "last", "last"]
    assert [model.width for model in found.values()] == [16] * 4
    assert [model.embedding_width for model in found.values()] == [16, 8, 16, 16]
    assert (found["bert"].opening, found["bert"].closing) == ((2,), (3,))
    assert (found["gpt2"].opening, found["gpt2"].closing) == ((), (0,))
    assert (found["llama"].opening, found["llama"].closing) == ((1,), (0,))


def test_a_decoder_has_one_end_though_its_tokenizer_adds_one(tmp_path: Path):
    from tokenizers.processors import TemplateProcessing

    tokenizer = bytes_of()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, 0)]
    )
    model = LanguageModel.load(saved("qwen3", tmp_path, tokenizer))
    assert (model.opening, model.closing) == ((), (0,))


def test_a_decoder_without_an_end_is_refused(tmp_path: Path):
    folder = saved("gpt2", tmp_path, bytes_of(unk_token="<|what|>"))
    with pytest.raises(XrecError) as raised:
        LanguageModel.load(folder)
    assert str(raised.value) == (
        f"encoder.source: the tokenizer of {folder} has no end token (eos_token): set it in "
        "tokenizer_config.json"
    )


def test_pooling_is_as_sentence_transformers_was_told(shelf, tmp_path: Path):
    import json
    import shutil

    folder = shutil.copytree(shelf("bert"), tmp_path / "told")
    (folder / "1_Pooling").mkdir()
    for key, pooling in (("cls_token", "first"), ("mean_tokens", "mean"), ("lasttoken", "last")):
        told = {f"pooling_mode_{each}": each == key for each in ("cls_token", "mean_tokens")}
        told[f"pooling_mode_{key}"] = True
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(told))
        assert LanguageModel.load(folder).pooling == pooling
        assert LanguageModel.load(folder, pooling="mean").pooling == "mean"


def test_weights_in_half_precision_are_read_in_full(shelf, tmp_path: Path):
    model = AutoModel.from_pretrained(shelf("llama"))
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(shelf("llama")).save_pretrained(tmp_path)
    assert LanguageModel.load(tmp_path).transformer.dtype == torch.float32


@pytest.mark.parametrize("model_type", ["bert", "qwen2"])
def test_a_model_cast_to_half_precision_still_reads(shelf, model_type: str):
    model = LanguageModel.load(shelf(model_type))
    full = model.encode(TEXTS, 64, 512)
    half = model.to(torch.bfloat16).encode(TEXTS, 64, 512)
    assert half.dtype == torch.float32
    assert functional.cosine_similarity(full, half).min() > 0.98
    _, vectors, present, positions, types = placed(model, TEXTS)
    with torch.no_grad():
        assert model.states(vectors.float(), present, positions, types).isfinite().all()


def test_weights_in_several_files_are_read(shelf, tmp_path: Path):
    model = AutoModel.from_pretrained(shelf("bert"))
    model.save_pretrained(tmp_path, max_shard_size="6KB")
    AutoTokenizer.from_pretrained(shelf("bert")).save_pretrained(tmp_path)
    shards = weights(tmp_path)
    assert len(shards) > 1
    whole = LanguageModel.load(shelf("bert")).encode(TEXTS, 64, 512)
    assert LanguageModel.load(tmp_path).encode(TEXTS, 64, 512).equal(whole)
    shards[1].unlink()
    with pytest.raises(XrecError, match=f"names {shards[1].name}, which is not there"):
        Family.of(tmp_path)


# States


@pytest.mark.parametrize("model_type", PLACED)
def test_states_of_word_vectors_pool_to_the_texts_vectors(shelf, model_type: str):
    model = LanguageModel.load(shelf(model_type))
    ids, *given = placed(model, TEXTS)
    with torch.no_grad():
        pooled = model.pooled(model.states(*given), given[1])
    assert torch.allclose(
        functional.normalize(pooled, dim=-1), model.encode(TEXTS, 64, 512), **CLOSE
    )
    assert given[0].shape == (*ids.shape, model.embedding_width)


@pytest.mark.parametrize("model_type", PLACED)
def test_an_absent_token_changes_nothing_though_it_be_no_number(shelf, model_type: str):
    model = LanguageModel.load(shelf(model_type), tune="full").eval()
    _, vectors, present, positions, types = placed(model, TEXTS[:1])
    whole = model.states(vectors, present, positions, types)
    assert whole.isfinite().all()

    # A slot of its own, not a number, in the middle or at the end, and positions beyond the last.
    at = vectors.shape[1] if model_type in BY_SLOT else 2
    nothing = torch.full_like(vectors[:, :1], torch.nan)
    gap = [
        torch.cat([each[:, :at], extra, each[:, at:]], 1)
        for each, extra in (
            (vectors, nothing),
            (present, torch.zeros(1, 1, dtype=torch.bool)),
            (positions, torch.full((1, 1), 10**6)),
            (types, torch.full((1, 1), 10**6)),
        )
    ]
    kept = [slot for slot in range(vectors.shape[1] + 1) if slot != at]
    found = model.states(*gap)
    assert torch.allclose(found[:, kept], whole, **CLOSE)
    assert (found[:, at] == 0).all()

    found.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("model_type", PLACED)
def test_a_row_of_nothing_is_zero_and_leaves_the_others_alone(shelf, model_type: str):
    model = LanguageModel.load(shelf(model_type), tune="full").eval()
    _, vectors, present, positions, types = placed(model, TEXTS[:1] * 2)
    alone = model.states(vectors, present, positions, types)[0]
    present[1] = False
    found = model.states(vectors, present, positions, types)
    assert (found[1] == 0).all()
    assert torch.allclose(found[0], alone, **CLOSE)
    model.pooled(found, present).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("model_type", DECODERS)
def test_a_decoder_does_not_hear_of_what_follows(shelf, model_type: str):
    model = LanguageModel.load(shelf(model_type))
    _, vectors, present, positions, types = placed(model, TEXTS[3:4])
    with torch.no_grad():
        whole = model.states(vectors, present, positions, types)
        for end in (1, 4):
            first = [each[:, :end] for each in (vectors, present, positions, types)]
            assert torch.allclose(model.states(*first), whole[:, :end], **CLOSE)


@pytest.mark.parametrize("model_type", [*PLACED])
def test_positions_are_where_tokens_stand(shelf, model_type: str):
    """A token moved with its position says the same, except where distance is by slot."""
    model = LanguageModel.load(shelf(model_type))
    _, *given = placed(model, TEXTS[:1])
    with torch.no_grad():
        whole = model.states(*given)
        moved = model.states(given[0], given[1], given[2].flip(1), given[3])
    if model_type != "deberta-v2":  # which has no other positions than those by slot
        assert not torch.allclose(moved, whole, atol=1e-3)
    if model_type in ENCODERS and model_type not in BY_SLOT:
        with torch.no_grad():
            turned = model.states(*(each.flip(1) for each in given))
        assert torch.allclose(turned.flip(1), whole, **CLOSE)


def test_token_types_count_where_a_model_has_them(shelf):
    for model_type, differs in (("bert", True), ("roberta", False), ("gpt2", False)):
        model = LanguageModel.load(shelf(model_type))
        _, *given, types = placed(model, TEXTS[:1])
        with torch.no_grad():
            same = torch.allclose(model.states(*given, types), model.states(*given, types + 1))
        assert same != differs


@pytest.mark.parametrize("model_type", UNPLACED)
def test_a_model_that_takes_no_positions_says_so(shelf, model_type: str):
    model = LanguageModel.load(shelf(model_type))
    with pytest.raises(XrecError) as raised:
        model.states(*placed(model, TEXTS)[1:])
    assert str(raised.value) == (
        f"a '{model_type}' model cannot be given vectors and positions: choose a model that can, "
        "such as BERT, RoBERTa, MPNet, GPT-2, Llama or Qwen"
    )


# Attention


@pytest.mark.parametrize("model_type", PLACED)
def test_attention_is_among_those_present(shelf, model_type: str):
    model = LanguageModel.load(shelf(model_type), tune="full")
    _, *given = placed(model, TEXTS)
    way, before = model.transformer.config._attn_implementation, model.states(*given)
    maps = model.attention(*given)
    assert len(maps) == 2
    present = given[1]
    for each in maps:
        assert each.shape == (len(TEXTS), 2, *[present.shape[1]] * 2)
        assert not each.requires_grad
        assert torch.allclose(each.sum(-1), torch.ones(()), **CLOSE)
        between = each.masked_fill(present[:, None, :, None] & present[:, None, None, :], 0)
        assert torch.allclose(between, torch.eye(present.shape[1]) * ~present[:, None, None])
        if model_type in DECODERS:
            assert (each.triu(1) == 0).all()
    assert model.transformer.config._attn_implementation == way
    assert model.training
    assert model.states(*given).shape == before.shape


def test_attention_is_bert_s_own(shelf):
    folder = shelf("bert")
    model = LanguageModel.load(folder)
    ids, *given = placed(model, TEXTS[:1])
    bare = AutoModel.from_pretrained(folder, attn_implementation="eager")
    theirs = bare(input_ids=ids, output_attentions=True).attentions
    for ours, their in zip(model.attention(*given), theirs, strict=True):
        assert torch.allclose(ours, their, **CLOSE)


def test_attention_that_fails_leaves_all_as_it_was(shelf, monkeypatch: pytest.MonkeyPatch):
    model = LanguageModel.load(shelf("gpt2"), tune="full")
    _, *given = placed(model, TEXTS)
    way = model.transformer.config._attn_implementation
    with pytest.raises(IndexError):
        model.attention(given[0], given[1], given[2] + 1000, given[3])
    assert model.transformer.config._attn_implementation == way
    assert model.training


# Tuning


def learnt(model: LanguageModel) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def step(model: LanguageModel, head: nn.Linear) -> None:
    """One step of a head on pooled vectors, that cannot be right already."""
    torch.manual_seed(0)
    ids, mask = model.padded([model.framed(each) for each in model.tokens(TEXTS)])
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD([*learning, *head.parameters()], lr=0.5)
    loss = (head(model(ids, mask)) - torch.arange(len(TEXTS))[:, None]).square().sum()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("tune", ["frozen", "lora", "full"])
@pytest.mark.parametrize("model_type", ALL)
def test_what_learns_moves_and_nothing_else(shelf, model_type: str, tune: str):
    model, head = LanguageModel.load(shelf(model_type), tune=tune, rank=2), nn.Linear(16, 1)
    before = learnt(model)
    step(model, head)
    step(model, head)  # an adapter's first factor has no gradient until its second is not zero
    moved = {name for name, value in learnt(model).items() if not value.equal(before[name])}
    if tune == "frozen":
        assert moved == set()
    elif tune == "lora":
        adapters = {name for name in before if ".lora_" in name}
        assert len(adapters) in (4, 8)  # of two layers, fused or not
        if model_type == "albert":  # whose layers are one
            assert len(adapters) == 4
        assert moved == adapters
    else:
        idle = {name for name in before if "pooler." in name}
        unread = {name for name in set(before) - moved - idle if "position" not in name}
        assert {name for name in unread if "token_type" not in name} == set()
    assert {name for name, p in model.named_parameters() if p.requires_grad} >= moved


def test_a_frozen_model_draws_no_dropout_and_the_others_do(shelf):
    for tune, draws in (("frozen", False), ("lora", True), ("full", True)):
        model = LanguageModel.load(shelf("bert"), tune=tune)
        ids, mask = model.padded([model.framed(each) for each in model.tokens(TEXTS)])
        assert model.train().training == draws
        assert model(ids, mask).equal(model(ids, mask)) != draws
        model.encode(TEXTS, 64, 512)
        assert model.training == draws


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama"])
def test_adapters_change_nothing_at_first(shelf, model_type: str):
    frozen, lora = (LanguageModel.load(shelf(model_type), tune=tune) for tune in ("frozen", "lora"))
    assert lora.encode(TEXTS, 64, 512).equal(frozen.encode(TEXTS, 64, 512))


def test_adapters_have_the_rank_and_weight_they_are_given(shelf):
    model = LanguageModel.load(shelf("gpt2"), tune="lora", rank=3, alpha=12)
    layer, _ = (each.attn.c_attn for each in model.transformer.h)
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert (tuple(down.shape), tuple(up.shape)) == ((3, 16), (48, 3))
    nn.init.normal_(up)
    given = torch.randn(2, 16)
    added = layer(given) - layer.base_layer(given)
    assert torch.allclose(added, 12 / 3 * given @ down.T @ up.T, atol=1e-4)


@pytest.mark.parametrize("tune", ["frozen", "lora", "full"])
@pytest.mark.parametrize("model_type", ["bert", "albert", "gpt2", "llama"])
def test_what_learnt_is_all_that_is_kept(shelf, tmp_path: Path, model_type: str, tune: str):
    class Holder(nn.Module):  # as a recommender has it: as a part
        def __init__(self) -> None:
            super().__init__()
            self.language = LanguageModel.load(shelf(model_type), tune=tune)
            self.head = nn.Linear(16, 1)

    taught, fresh = Holder(), Holder()
    step(taught.language, taught.head)
    step(taught.language, taught.head)
    kept = taught.state_dict()
    names = {f"language.{n}" for n, p in taught.language.named_parameters() if p.requires_grad}
    assert set(kept) == names | {"head.weight", "head.bias"}
    save_file(kept, tmp_path / "weights.safetensors")
    fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"))  # strict
    learned = taught.language.encode(TEXTS, 64, 512)
    assert fresh.language.encode(TEXTS, 64, 512).equal(learned)
    if tune != "frozen":
        assert not learned.equal(Holder().language.encode(TEXTS, 64, 512))
        with pytest.raises(RuntimeError, match="Missing key"):
            fresh.load_state_dict(
                {"head.weight": kept["head.weight"], "head.bias": kept["head.bias"]}
            )
    with pytest.raises(RuntimeError, match="Unexpected key"):
        fresh.load_state_dict({**kept, "language.transformer.more": torch.zeros(1)})


def test_what_is_kept_does_not_depend_on_the_moment(shelf):
    """An explainer's probe freezes everything for a while."""
    model = LanguageModel.load(shelf("bert"), tune="lora")
    kept = set(model.state_dict())
    model.requires_grad_(False)
    assert set(model.state_dict()) == kept


@pytest.mark.parametrize("tune", ["frozen", "lora", "full"])
@pytest.mark.parametrize("model_type", ["bert", "gpt2"])
def test_a_copy_is_a_model_of_its_own(shelf, model_type: str, tune: str):
    model = LanguageModel.load(shelf(model_type), tune=tune, checkpointing=True)
    twin = copy.deepcopy(model)
    before = model.encode(TEXTS, 64, 512)
    assert twin.encode(TEXTS, 64, 512).equal(before)
    step(twin, nn.Linear(16, 1))
    step(twin, nn.Linear(16, 1))
    assert model.encode(TEXTS, 64, 512).equal(before)
    changed = twin.encode(TEXTS, 64, 512)
    assert changed.equal(before) == (tune == "frozen")
    model.load_state_dict(twin.state_dict())
    assert model.encode(TEXTS, 64, 512).equal(changed)
    assert set(twin.state_dict()) == set(model.state_dict())


def gradients(model: LanguageModel, by_vectors: bool) -> dict[str, Tensor]:
    """Of what learns, with dropout drawn from one seed."""
    ids, *given = placed(model, TEXTS)
    torch.manual_seed(1)
    pooled = model.pooled(model.states(*given), given[1]) if by_vectors else model(ids, given[1])
    pooled.square().sum(0).pow(1.5).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: grad.clone() for name, grad in found.items()}


@pytest.mark.parametrize("by_vectors", [False, True])
@pytest.mark.parametrize("tune", ["lora", "full"])
@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama", "qwen3"])
def test_checkpointing_gives_the_same_gradients(
    shelf, model_type: str, tune: str, by_vectors: bool
):
    torch.manual_seed(0)
    plain = LanguageModel.load(shelf(model_type), tune=tune)
    if tune == "lora":  # so that both factors have a gradient
        for name, p in plain.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(p)
    saving = LanguageModel.load(shelf(model_type), tune=tune, checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    assert saving.transformer.is_activation_checkpointing
    assert saving.encode(TEXTS, 64, 512).equal(plain.encode(TEXTS, 64, 512))
    expected, found = gradients(plain, by_vectors), gradients(saving, by_vectors)
    assert set(found) == set(expected)
    assert expected
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-5, rtol=1e-4), name
    assert any(gradient.abs().sum() > 0 for gradient in expected.values())


def test_lora_without_peft_names_the_extra(shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(language, "find_spec", lambda _: None)
    with pytest.raises(XrecError) as raised:
        LanguageModel.load(shelf("bert"), tune="lora")
    assert str(raised.value) == (
        "encoder.tune 'lora' needs the package peft: pip install 'xrec[peft]'"
    )


def test_peft_is_imported_only_for_adapters(shelf):
    import subprocess

    script = (
        "import sys; from pathlib import Path\n"
        "from xrec.models.language import LanguageModel\n"
        f"LanguageModel.load(Path({str(shelf('bert'))!r}), tune='full')\n"
        "print('peft' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.stdout.splitlines() == ["False"], told.stderr


# What tokens are called


def test_pieces_are_what_a_person_calls_them(shelf):
    bert = LanguageModel.load(shelf("bert"))
    (ids,) = bert.tokens(["a small camping tent"])
    assert [bert.pieces()[at] for at in ids] == ["a", "small", "camp", "ing", "tent"]
    assert len(bert.pieces()) == len(bert.transformer.embeddings.word_embeddings.weight)
    gpt = LanguageModel.load(shelf("gpt2"))
    for text in ("the sea and the lamp", "été\n  海"):
        (ids,) = gpt.tokens([text])
        named = [gpt.pieces()[at] for at in ids]
        assert all(named)
        assert not re.search(r"[ĠĊ]|^\s|\s$", "".join(named))
    (ids,) = gpt.tokens([" the sea"])
    assert "".join(gpt.pieces()[at] for at in ids) == "thesea"
    (ids,) = gpt.tokens(["é"])
    assert "".join(gpt.pieces()[at] for at in ids) in ("é", "\\xc3\\xa9")


@pytest.mark.parametrize(
    ("token", "called"),
    [("▁the", "the"), ("##ing", "ing"), ("[CLS]", "[CLS]"), ("▁", "␣"), ("<0x0A>", "<0x0A>")],
)
def test_pieces_of_other_vocabularies(token: str, called: str):
    assert language._called(token, None) == called


# Texts that a model cannot read


def test_texts_in_another_script_are_refused(shelf):
    model = LanguageModel.load(shelf("bert"))
    texts = ["", "lamp", "чайник для кемпинга", "a tent"]
    with pytest.raises(XrecError) as raised:
        model.encode([*texts, "лампа для чтения"], 64, 512)
    assert str(raised.value) == (
        "encoder.source: the tokenizer does not know 67% of what the texts say, as in "
        "'чайник для кемпинга': choose a multilingual model, such as "
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
    )
    assert model.encode(texts, 64, 512).isfinite().all()  # half of it is known
    assert model.encode(["", ""], 64, 512).isfinite().all()
    byte_level = LanguageModel.load(shelf("gpt2"))
    assert byte_level.encode(["лампа"], 64, 512).isfinite().all()


# Models that are none


ADVICE = "choose an encoder of text (BERT, RoBERTa, MPNet …) or a decoder (GPT-2, Llama, Qwen …)"


def complaint(folder: Path) -> str:
    with pytest.raises(XrecError) as raised:
        Family.of(folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("model_type", "told"),
    [
        ("t5", "is an encoder-decoder"),
        ("bart", "is an encoder-decoder"),
        ("whisper", "is an encoder-decoder"),
        ("vit", "does not read text alone"),
        ("clip", "does not read text alone"),
        ("wav2vec2", "does not read text alone"),
        ("clip_text_model", "is neither an encoder nor a decoder of text"),
    ],
)
def test_a_model_of_another_kind_is_told_from_its_configuration(
    shelf, tmp_path: Path, model_type: str, told: str
):
    from transformers import AutoConfig

    AutoConfig.for_model(model_type).save_pretrained(tmp_path)
    expected = f"language model {tmp_path}: a model of type '{model_type}' {told}: {ADVICE}"
    assert complaint(tmp_path) == expected


@pytest.fixture
def bert(shelf, tmp_path: Path) -> Path:
    """A folder to spoil."""
    import shutil

    return shutil.copytree(shelf("bert"), tmp_path / "bert")


def test_a_model_type_that_nobody_knows(bert: Path):
    told = f"which transformers does not know: {ADVICE}"
    assert complaint(configured(bert, model_type="nonesuch")) == (
        f"language model {bert}: config.json says model_type 'nonesuch', {told}"
    )
    assert told in complaint(configured(bert, model_type=None))


def test_a_configuration_that_is_none(bert: Path):
    for text in ("", "{", "[]"):
        (bert / "config.json").write_text(text)
        assert complaint(bert) == (
            f"language model {bert}: {bert / 'config.json'} is not a configuration"
        )


def test_a_folder_without_a_tokenizer(bert: Path):
    (bert / "tokenizer.json").unlink()
    assert complaint(bert) == (
        f"language model {bert}: there is no tokenizer; the folder needs tokenizer.json, "
        "vocab.txt or tokenizer.model"
    )


def test_a_head_alone(bert: Path):
    save_file({"classifier.weight": torch.zeros(2, 16)}, bert / "model.safetensors")
    assert re.fullmatch(
        rf"language model {bert}: the weights have no word vectors for the \d+ words of a 'bert' "
        "model; give the folder of the whole model",
        complaint(bert),
    )


def test_weights_that_are_cut_off_or_not_weights(bert: Path):
    path = bert / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    assert "model.safetensors cannot be read" in complaint(bert)
    path.write_bytes(b"\x80\x04pickle")
    assert "model.safetensors cannot be read" in complaint(bert)


def test_weights_that_lack_a_layer(bert: Path):
    path = bert / "model.safetensors"
    tensors = {k: v for k, v in load_file(path).items() if "layer.1." not in k}
    save_file(tensors, path, {"format": "pt"})
    Family.of(bert)
    with pytest.raises(XrecError, match=r"the weights lack encoder\.layer\.1\.\S+ and 15 more"):
        LanguageModel.load(bert)


# Settled


@pytest.mark.parametrize("tune", ["frozen", "lora", "full"])
@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama"])
def test_a_settled_model_says_the_same_and_keeps_all_of_it(shelf, model_type: str, tune: str):
    model = LanguageModel.load(shelf(model_type), tune=tune).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # which are zero at first, and would add nothing
            nn.init.normal_(parameter, std=0.1)
    before = model.encode(TEXTS, 64, 100)
    model.settle()
    assert torch.allclose(model.encode(TEXTS, 64, 100), before, **CLOSE)
    plain = LanguageModel.load(shelf(model_type))
    assert [name for name, _ in model.named_parameters()] == [
        name for name, _ in plain.named_parameters()
    ]
    assert {*model.state_dict()} >= {name for name, _ in model.named_parameters()}
    learning = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert all("pooler." in name for name in learning)
    plain.settle()
    plain.load_state_dict(model.state_dict())
    assert plain.encode(TEXTS, 64, 100).equal(model.encode(TEXTS, 64, 100))
