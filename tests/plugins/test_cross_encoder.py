"""The cross-encoder: its contract, its layout beside transformers by hand, and what it ranks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tongues import bytes_of, saved
from transformers import AutoModel

from xrec import Recipe, hookimpl, run
from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, FIXED, ITEM, PROFILE
from xrec.data.module import Data
from xrec.data.tasks import KNOWN
from xrec.errors import RecipeError, XrecError
from xrec.explain.explainer import learns
from xrec.explain.game import Game
from xrec.explain.target import logit
from xrec.fidelity.truth import laid_out
from xrec.models.recommender import Recommender
from xrec.plugins import factory, new_manager
from xrec.report.card import card
from xrec.runs.training import fit
from xrec.testing import check_explainer, check_influence, check_model, small_data
from xrec.testing.world import SmallEncoder
from xrec_plugins.encoders.pretrained import Pretrained
from xrec_plugins.explainers.amortised_shapley import AmortisedShapley
from xrec_plugins.explainers.attention_rollout import AttentionRollout
from xrec_plugins.explainers.fast_shapley import FastShapley
from xrec_plugins.explainers.integrated_gradients import IntegratedGradients
from xrec_plugins.explainers.item_cosine import ItemCosine
from xrec_plugins.explainers.kernel_shap import KernelShap
from xrec_plugins.explainers.leave_one_out import LeaveOneOut
from xrec_plugins.explainers.popularity import Popularity
from xrec_plugins.models.cross_encoder import CrossEncoder, CrossEncoderRecommender

FAMILIES = ("bert", "roberta", "gpt2", "llama", "qwen2")
#: Tiny models have few positions, and byte pairs make many tokens: short texts, short histories.
OPTIONS = {"tokens": 64, "item_tokens": 9, "candidates": 4, "rows": 3, "retriever": {"width": 8}}


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory):
    """Folders of tiny models by family, made when asked for."""
    made: dict[str, Path] = {}

    def folder(model_type: str) -> Path:
        if model_type not in made:
            opening = None if model_type in ("gpt2", "qwen2") else "<s>"
            place = tmp_path_factory.mktemp(model_type)
            made[model_type] = saved(model_type, place, bytes_of(opening))
        return made[model_type]

    return folder


def _data(tasks: tuple[str, ...] = ("click",)) -> Data:
    """The small world, in few words, its events rated."""
    data = small_data(history=4)
    items = data.tables.items.with_columns(text=data.tables.items["title"])
    users = data.tables.users.select("user", "age")
    tables = data.tables.replace(items=items, users=users)
    return Data(tables, data.options, data.train, 0, [KNOWN[name] for name in tasks])


def _model(folder: Path, data: Data | None = None, **options: object) -> CrossEncoderRecommender:
    """An untrained model, in evaluation mode."""
    data = data or _data()
    encoder = Pretrained(str(folder), tune=str(options.pop("tune", "full")))
    torch.manual_seed(0)
    architecture = CrossEncoder(**{**OPTIONS, **options})  # type: ignore[arg-type]
    model = architecture.build(data, torch.randn(len(data.items), 8), encoder)
    assert isinstance(model, CrossEncoderRecommender)
    return model.eval()


def _queries(model: Recommender) -> Batch:
    return model.data_module.queries("test")


# The contract


@pytest.mark.parametrize("family", FAMILIES)
def test_the_contract_by_families(shelf, family: str):
    model = _model(shelf(family))
    check_model(model, _queries(model).rows(slice(0, 4)))


def test_the_contract_with_several_tasks_and_where_events_do_not_fit(shelf):
    model = _model(shelf("bert"), _data(("click", "rating")), tokens=40)
    batch = _queries(model).rows(slice(0, 4))
    assert model.layout.left_out(batch).any()
    check_model(model, batch)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_score_is_what_transformers_says_of_the_text_in_one_piece(shelf, family: str):
    """Tokens, places and types put together by hand, a row at a time, without padding."""
    model = _model(shelf(family))
    bare = AutoModel.from_pretrained(shelf(family)).eval()
    data, words, head = model.data_module, model.language, model.heads[0]
    batch = _queries(model)
    with torch.no_grad():
        said = model(batch)
    for row in range(len(batch)):
        values = [data.profile.names[value] for value in batch.profile[row].tolist() if value]
        titles = [data.titles[item] for item in batch.history[row].tolist() if item]
        context = [token for text in values for token in words.tokens([f"{text}."])[0]]
        context += [token for text in titles for token in words.tokens([f"{text}."])[0][:9]]
        item = words.tokens([f"{data.titles[int(batch.candidate[row])]}."])[0][:9]
        ids = [*words.opening, *context, *item, *words.closing]
        start = model.layout.size - len(ids) + len(words.opening)
        places = [*range(len(words.opening)), *range(start, model.layout.size)]
        types = [0] * (len(words.opening) + len(context)) + [1] * len(item)
        types += [0] * len(words.closing)
        given = {"input_ids": torch.tensor([ids]), "position_ids": torch.tensor([places])}
        if family == "bert":
            given["token_type_ids"] = torch.tensor([types])
        if family == "roberta":  # counts from behind its padding index
            padding = bare.embeddings.position_embeddings.padding_idx
            given["position_ids"] += 0 if padding is None else padding + 1
        with torch.no_grad():
            states = bare(**given).last_hidden_state[0]
            pooled = states[-1] if words.kind == "decoder" else states.mean(0)
            expected = pooled @ head.weight + head.bias
        assert float(said[row]) == pytest.approx(float(expected), abs=1e-4)


# Slots


def test_words_are_parts_of_events_and_those_of_groups(shelf):
    model = _model(shelf("bert"))
    data, batch = model.data_module, _queries(model)
    inputs = model.embed(batch)
    features = inputs.features
    for row in range(len(batch)):
        spelled: dict[int, str] = {}
        for slot in inputs.players[row].nonzero()[:, 0].tolist():
            parent = int(features.parent[row, slot])
            assert features.group[row, slot] == features.group[row, parent]
            assert not inputs.present[row, parent]
            spelled[parent] = spelled.get(parent, "") + features.name(row, slot)
        wanted = {
            at: data.titles[item] for at, item in enumerate(batch.history[row].tolist()) if item
        }
        wanted |= {
            4 + at: data.profile.names[value]
            for at, value in enumerate(batch.profile[row].tolist())
            if value
        }
        wanted[4 + batch.profile.shape[1]] = data.titles[int(batch.candidate[row])]
        for parent, name in wanted.items():
            assert f"{name}.".replace(" ", "").startswith(spelled[parent].replace("␣", ""))
        assert set(spelled) == set(wanted)
        named = {at: features.name(row, at) for at in wanted}
        assert named == {**wanted, 4 + batch.profile.shape[1]: "text"}
    fixed = features.fixed & inputs.present
    assert fixed.sum(1).eq(len(model.layout.opening) + len(model.layout.closing)).all()


def test_contributions_of_words_add_up_to_events_and_groups(shelf):
    model = _model(shelf("bert"))
    inputs = model.embed(_queries(model))
    told = IntegratedGradients(steps=20).explain(model, inputs, logit)
    events = told.summed()
    assert torch.allclose(events.values.sum(1), told.values.sum(1), atol=1e-5)
    assert (events.features.parent[events.present] == -1).all()
    for name, sums in told.by_group().items():
        assert torch.allclose(events.by_group()[name], sums, atol=1e-5), name
    row = 0
    for slot in events.present[row].nonzero()[:, 0].tolist():
        inside = told.parts(row, slot)
        assert float(told.values[row, inside].sum()) == pytest.approx(
            float(events.values[row, slot]), abs=1e-5
        )
        sizes = told.values[row, inside].abs().tolist()
        assert sizes == sorted(sizes, reverse=True)
    shown = card(told, 0, "user u", "Film 1")
    assert {bar.name for bar in shown.bars} >= {"this item's text"}
    assert any(line.startswith("Within ") for line in shown.lines)


def test_floors_compare_the_texts_of_whole_events(shelf):
    model = _model(shelf("bert"))
    batch = _queries(model)
    inputs = model.embed(batch)
    events = ItemCosine().explain(model, inputs, logit).summed()
    texts = model.retriever.texts
    counts = model.data_module.counts
    had = Popularity().explain(model, inputs, logit).summed()
    for row, slot in (batch.history > 0).nonzero().tolist():
        item, own = int(batch.history[row, slot]), int(batch.candidate[row])
        if not events.present[row, slot]:  # it did not fit
            continue
        cosine = torch.cosine_similarity(texts[item], texts[own], dim=0)
        assert float(events.values[row, slot]) == pytest.approx(float(cosine), abs=1e-5)
        assert float(had.values[row, slot]) == pytest.approx(float(counts[item].log1p()), abs=1e-5)
    assert events.present[:, : batch.history.shape[1]].any()


def test_without_an_events_words_it_is_as_if_the_event_had_not_been(shelf):
    """Only that places are kept: so the words of the last profile value are taken away."""
    model = _model(shelf("llama"))  # which knows distances alone
    batch = _queries(model).rows(slice(0, 1))
    inputs = model.embed(batch)
    first = int((batch.history[0] > 0).nonzero()[0])
    gone = (inputs.features.parent == first) & inputs.present
    gone |= (inputs.features.group == PROFILE) & inputs.present
    coalition = ~gone[:, None]
    value = Game(model, inputs).value(coalition)[0, 0]
    shorter = replace(batch, history=batch.history.clone(), profile=torch.zeros_like(batch.profile))
    shorter.history[0, first] = 0
    with torch.no_grad():
        assert float(model(shorter)[0]) == pytest.approx(float(value), abs=1e-4)


def test_too_long_a_history_loses_its_oldest_events_whole(shelf):
    data = _data()
    whole, short = _model(shelf("bert"), data), _model(shelf("bert"), data, tokens=40)
    batch = _queries(short)
    assert not whole.layout.left_out(batch).any()
    assert whole.notes() == []
    left = short.layout.left_out(batch)
    kept = batch.history.clone()
    for row, count in enumerate(left.tolist()):
        first = int((batch.history[row] > 0).nonzero()[0])
        kept[row, first : first + count] = 0
    inputs, fewer = short.embed(batch), short.embed(replace(batch, history=kept))
    assert torch.equal(inputs.values, fewer.values)
    assert torch.equal(inputs.present, fewer.present)
    lengths = (inputs.present & (inputs.features.place >= 0)).sum(1)
    assert lengths.max() <= 40
    one_more = [
        int(lengths[row]) + len(short.layout.items[int(batch.history[row, at])])
        for row, at in enumerate(kept.ne(0).float().argmax(1).sub(1).tolist())
        if left[row]
    ]
    assert min(one_more) > 40  # no event was left out that would have fitted
    assert short.notes() == [
        f"Of 12 users, {int((left > 0).sum())} have a history of more than the 40 tokens that are "
        f"read at once: their oldest events, {left.float().mean():.1f} on average over all users, "
        "are left out."
    ]


# Re-ranking


def test_what_is_retrieved_is_ranked_by_its_score_and_the_rest_below_as_retrieved(shelf):
    model = _model(shelf("bert"))
    batch = _queries(model)
    with torch.no_grad():
        found = model.catalogue(batch)
        retrieved = model.retriever.catalogue(batch)
    seen = model.data_module.seen(batch.user, "test")
    for row in range(len(batch)):
        free = [item for item in range(1, found.shape[1]) if not seen[row, item]]
        best = sorted(free, key=lambda item: -float(retrieved[row, item]))[:4]
        one = batch.rows(torch.tensor([row] * 4)).about(torch.tensor(best))
        with torch.no_grad():
            assert torch.allclose(found[row, best], model(one), atol=1e-4)
        others = [item for item in range(1, found.shape[1]) if item not in best]
        assert found[row, others].max() < found[row, best].min()
        order = found[row, others].argsort(descending=True)
        assert order.tolist() == retrieved[row, others].argsort(descending=True).tolist()


# Learning


def test_the_loss_is_that_of_pairs_beside_the_retrievers(shelf):
    model = _model(shelf("bert"), _data(("click", "rating")))
    window = next(iter(model.data_module.train_dataloader()))
    with torch.no_grad():
        losses = model.loss(window)
        assert set(losses) == {"click", "rating", "retrieval"}
        assert losses["retrieval"] == model.retriever.loss(window)["click"]


def test_the_language_model_reads_once_for_all_tasks(shelf, monkeypatch: pytest.MonkeyPatch):
    model = _model(shelf("bert"), _data(("click", "rating")))
    inputs = model.embed(_queries(model))
    with torch.no_grad():
        alone = [model.score(inputs, at) for at in range(2)]
        read, times = model.language.states, []
        monkeypatch.setattr(
            model.language, "states", lambda *given: times.append(1) or read(*given)
        )
        together = model.scores(inputs, range(2))
    assert len(times) == 1
    assert torch.equal(torch.stack(together), torch.stack(alone))


@pytest.mark.parametrize("tune", ["frozen", "lora", "full"])
def test_what_is_tuned_learns_and_the_retriever_too(shelf, tune: str):
    if tune == "lora":
        pytest.importorskip("peft")
    model = _model(shelf("bert"), tune=tune).train()
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for batch in model.data_module.train_dataloader():
        optimizer.zero_grad()
        sum(model.loss(batch).values()).backward()
        optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert "heads.0.weight" in moved
    assert any(name.startswith("retriever.") for name in moved)
    reading = {name for name in moved if name.startswith("language.")}
    if tune == "frozen":
        assert not reading
    elif tune == "lora":
        assert reading
        assert all(".lora_" in name for name in reading)
    else:
        assert any("attention" in name for name in reading)


def test_training_fits_what_it_is_shown(shelf):
    torch.manual_seed(0)
    model = _model(shelf("bert")).eval()  # without dropout
    window = next(iter(model.data_module.train_dataloader())).rows(slice(0, 3))
    pairs = window.pairs(model.tasks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    first = float(model.pair_losses(pairs)["click"])
    for _ in range(40):
        optimizer.zero_grad()
        model.pair_losses(pairs)["click"].backward()
        optimizer.step()
    assert float(model.pair_losses(pairs)["click"]) < first / 4


class Stop:
    """Stops training at its n-th step, from 1."""

    def __init__(self, at: int) -> None:
        self.at = at

    @hookimpl
    def xrec_loss(self) -> None:
        self.at -= 1
        if not self.at:
            raise KeyError("stop")


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_a_stopped_training_goes_on_with_what_of_the_language_learns(shelf, tmp_path, tune: str):
    if tune == "lora":
        pytest.importorskip("peft")

    def train(folder: Path, stop: int = 0) -> CrossEncoderRecommender:
        data = _data()
        rates = {"language": 1e-4}
        data.train = replace(data.train, epochs=2, checkpoint=2, rates=rates, validate=4)
        model = _model(shelf("bert"), data, tune=tune).train()
        model.use(new_manager([Stop(stop)]))
        fit(model, data, [], folder, folder / "c.safetensors", lambda text: None)
        return model

    whole = train(tmp_path / "whole").state_dict()
    steps = len(_data().train_dataloader())
    for stop in (4, steps - 1, 3):
        with pytest.raises(KeyError):
            train(tmp_path / "stopped", stop)
    found = train(tmp_path / "stopped").state_dict()
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], whole[name]) for name in whole)


# Explaining


@pytest.mark.parametrize(
    "explainer",
    [
        IntegratedGradients(steps=5),
        AttentionRollout(),
        LeaveOneOut(),
        KernelShap(evaluations=64),
        FastShapley(evaluations=128),
        AmortisedShapley(epochs=1, rows=8),
        ItemCosine(),
        Popularity(),
    ],
    ids=lambda explainer: type(explainer).__name__,
)
def test_explainers_do_not_know_the_difference(shelf, explainer):
    model = _model(shelf("bert"))
    if learns(explainer):
        explainer.fit(model, model.data_module)
    inputs = model.embed(_queries(model).rows(slice(0, 2)))
    check_explainer(explainer, model, inputs)


def test_attention_is_that_of_the_tokens(shelf):
    model = _model(shelf("bert"))
    inputs = model.embed(_queries(model).rows(slice(0, 2)))
    maps = model.attend(inputs)
    slots = inputs.values.shape[1]
    assert [each.shape for each in maps] == [(2, 2, slots, slots)] * 2
    assert torch.allclose(maps[0].sum(-1), torch.ones(2, 2, slots), atol=1e-5)
    tokens = inputs.features.place >= 0
    away = maps[0] * (~inputs.present & tokens)[:, None, None, :]
    rows = inputs.present[:, None, :, None]
    assert not (away * rows).any()  # nobody looks at what is absent


# Bad input


def test_an_encoder_without_a_language_model_is_refused():
    data = _data()
    with pytest.raises(RecipeError) as raised:
        CrossEncoder().build(data, torch.randn(len(data.items), 8), SmallEncoder())
    assert str(raised.value) == (
        "encoder: the model cross_encoder reads tokens, and this encoder has no language model; "
        "choose {name: pretrained, …}"
    )


def test_too_few_tokens_are_refused_with_the_number_needed(shelf):
    with pytest.raises(XrecError) as raised:
        _model(shelf("bert"), tokens=20)
    told = str(raised.value)
    assert told.startswith("model.tokens: 20 are too few for the longest profile (")
    needed = int(told.split("make it ")[1].split(",")[0])
    _model(shelf("bert"), tokens=needed)
    with pytest.raises(XrecError):
        _model(shelf("bert"), tokens=needed - 1)


def test_options_of_the_retriever_are_checked():
    with pytest.raises(RecipeError) as raised:
        CrossEncoder(retriever={"widht": 8})
    assert str(raised.value) == (
        "model.retriever.widht: there is no such key; did you mean 'width'?"
    )
    with pytest.raises(ValueError, match="rows is 0, it must be at least 1"):
        CrossEncoder(rows=0)


# A run


def test_a_run_from_data_to_report(shelf, tmp_path: Path):
    recipe = Recipe.of(
        {
            "name": "read",
            "data": {"dataset": "planted", "users": 30, "items": 100, "events": 8, "history": 4},
            "encoder": {"name": "pretrained", "source": str(shelf("bert")), "tune": "full"},
            "model": {"name": "cross_encoder", **OPTIONS},
            "train": {"epochs": 1, "batch": 16, "negatives": 8},
            "explain": ["leave_one_out", "random"],
            "fidelity": ["deletion", "planted_truth"],
            "protocol": {"users": 6, "points": 3, "repeats": 1, "batch": 2},
        }
    )
    done = run(recipe, tmp_path)
    table = done.store.table("explanations/leave_one_out.parquet")
    assert set(table["group"].drop_nulls()) == {"behaviour", "profile", "item"}
    batch, inputs = done.subject.batch, done.subject.inputs
    dataset = done.made["dataset"][0]
    truth = laid_out(dataset.truth(done.data, batch), inputs)
    events = (inputs.features.group == BEHAVIOUR) & (inputs.features.parent < 0)
    left = done.model.layout.left_out(batch)
    assert left.any()
    assert truth[events].isfinite().sum() == (batch.history > 0).sum() - left.sum()
    assert truth[inputs.features.parent >= 0].isnan().all()
    assert truth[(inputs.features.group == FIXED) | (inputs.features.group == ITEM)].isnan().all()
    assert "Within " in (done.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "options"),
    [("tracin", {}), ("influence_functions", {"iterations": 6, "dimensions": 3})],
)
def test_it_is_traced_back_to_what_it_was_trained_on(shelf, name: str, options: dict[str, int]):
    """Its loss draws negatives, and its language model's attention has a second derivative."""
    model = _model(shelf("bert"))
    queries = model.data_module.queries("test", torch.arange(1, 3))
    method = factory("influence", name)(interactions=6, parts=["language", "heads"], **options)
    check_influence(method, model, queries)
