"""Federated training: what clients learn apart is what it would be by hand, whatever others do."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from chapters import blocks, rendered, words
from federating import Tampered, fitted, plain, secure_app, small_model, with_arrays
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.supercore.differential_privacy import compute_clip_model_update, compute_stdv
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm
from torch import nn

from xrec import Recipe, hookimpl, run
from xrec.errors import PluginError, RecipeError, TrainingError, XrecError
from xrec.report.section import Table, Terms
from xrec.runs.run import Run
from xrec.testing import small_data
from xrec_plugins.privacy.federated import Federated
from xrec_plugins.privacy.federation import app as apps
from xrec_plugins.privacy.federation import conducting, in_process
from xrec_plugins.privacy.federation.averaging import Averaging, Member
from xrec_plugins.privacy.federation.client import client_app, trained
from xrec_plugins.privacy.federation.exchange import (
    Schema,
    clipped,
    flat,
    learned,
    moved,
    packed,
    put,
    telling,
    unpacked,
)
from xrec_plugins.privacy.federation.fixed_point import BITS, RANGE, decoded, encoded
from xrec_plugins.privacy.federation.greeting import greet
from xrec_plugins.privacy.federation.in_process import InProcess
from xrec_plugins.privacy.federation.keystream import gaussian, numbers
from xrec_plugins.privacy.federation.noise import Noise, least_multiplier, spent
from xrec_plugins.privacy.federation.proximal import Proximal
from xrec_plugins.privacy.federation.rounds import CHECKPOINT
from xrec_plugins.privacy.federation.secure import LostError, SecureSum, ring
from xrec_plugins.privacy.federation.shards import Shard, deal

ROUNDING = 2.0**-BITS / 2  # how far off a mean is by secure aggregation's fixed point


def same(one: nn.Module, other: nn.Module, tolerance: float = 1e-6) -> None:
    others = other.state_dict()
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, others[name], atol=tolerance, rtol=0, msg=name)


# What clients and server compute


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_one_client_with_all_users_is_training_without_clients(tmp_path: Path, optimizer) -> None:
    alone = small_model(optimizer=optimizer)
    apart = copy.deepcopy(alone)
    figures = fitted(alone, tmp_path)
    history = fitted(apart, tmp_path, plain(clients=1))
    same(apart, alone)
    assert history[0]["val_ndcg@10"] == pytest.approx(figures[0]["val_ndcg@10"], abs=1e-6)


def by_hand(model: Any, clients: int, mu: float = 0.0) -> tuple[dict[str, np.ndarray], list[int]]:
    """The weighted average of the weights after each client's first round, and the weights."""
    data, sent = model.data_module, learned(model)
    config = ConfigRecord({"server-round": 1, "local-epochs": 1, "proximal-mu": mu})
    updates = []
    for number, users in enumerate(deal(data, clients)):
        who = SimpleNamespace(number=number, module=copy.deepcopy(model), data=data, users=users)
        updates.append(trained(who, RecordDict({"arrays": packed(sent), "config": config})))
    counts = [update.windows for update in updates]
    shares = np.array(counts) / sum(counts)
    return {
        name: sum(share * u.weights[name] for share, u in zip(shares, updates, strict=True))
        for name in sent
    }, counts


@pytest.mark.parametrize(("strategy", "mu"), [("fedavg", 0.0), ("fedprox", 0.5)])
def test_a_round_gives_the_weighted_average(tmp_path: Path, strategy: str, mu: float) -> None:
    model = small_model()
    expected, counts = by_hand(model, 3, mu)
    assert sum(counts) == len(model.data_module.windows())
    options = {"strategy": strategy, "proximal_mu": 0.5}
    history = fitted(model, tmp_path, plain(clients=3, **options))
    for name, value in learned(model).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6)
    assert history[0]["clients"] == 3
    assert history[0]["left_out"] == 0


def test_secure_aggregation_gives_the_weighted_average_too(tmp_path: Path) -> None:
    model = small_model()
    expected, _ = by_hand(model, 4)
    fitted(model, tmp_path, Federated(clients=4, rounds=1))
    for name, value in learned(model).items():
        np.testing.assert_allclose(value, expected[name], atol=ROUNDING + 1e-6)


def test_the_proximal_term_is_half_mu_times_the_squared_distance() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    frozen = nn.Parameter(torch.randn(2), requires_grad=False)
    layer.register_parameter("frozen", frozen)
    term = Proximal(0.3)
    term.on_train_start(None, layer)
    sent = {name: value.detach().clone() for name, value in layer.named_parameters()}
    with torch.no_grad():
        layer.weight += torch.randn(2, 3)
        layer.bias += 1.0
    twin, x = copy.deepcopy(layer), torch.randn(4, 3)
    layer(x).square().mean().backward()
    term.on_after_backward(None, layer)
    distance = sum(
        (value - sent[name]).square().sum()
        for name, value in twin.named_parameters()
        if value.requires_grad
    )
    (twin(x).square().mean() + 0.3 / 2 * distance).backward()
    torch.testing.assert_close(layer.weight.grad, twin.weight.grad)
    torch.testing.assert_close(layer.bias.grad, twin.bias.grad)
    assert layer.frozen.grad is None


def test_users_are_dealt_once_each_and_a_client_sees_its_own_alone() -> None:
    data = small_data(users=11)
    shares = deal(data, 4)
    assert sorted(torch.cat(shares).tolist()) == list(range(1, 12))
    assert {len(share) for share in shares} == {2, 3}
    shard = Shard(data, shares[1], 1)
    for batch in shard.train_dataloader():
        assert set(batch.user.tolist()) <= set(shares[1].tolist())
    assert (
        len(shard.windows())
        < len(data.windows())
        == sum(len(Shard(data, share, 1).windows()) for share in shares)
    )


def test_only_what_learns_is_exchanged(tmp_path: Path) -> None:
    model = small_model()
    model.layers.requires_grad_(False)
    before = copy.deepcopy(model)
    assert not any(name.startswith("layers") for name in learned(model))
    fitted(model, tmp_path, Federated(clients=3, rounds=1))
    same(model.layers, before.layers, 0)
    assert not np.array_equal(flat(learned(model)), flat(learned(before)))


def test_a_seed_repeats_a_run(tmp_path: Path) -> None:
    models = [small_model() for _ in range(2)]
    options = {"clients": 5, "rounds": 2, "fraction": 0.6}
    told = [fitted(model, tmp_path, Federated(**options)) for model in models]
    same(*models, 0)
    assert told[0] == told[1]
    assert [row["clients"] for row in told[0]] == [3, 3]


def test_who_is_drawn_differs_from_round_to_round() -> None:
    averaging = Averaging([Member(at, 100 + at) for at in range(20)], 0.0, 0.3, 1, 0, 10.0)
    drawn = [averaging.drawn(number) for number in range(1, 6)]
    assert {len(nodes) for nodes in drawn} == {6}
    assert len(set(map(frozenset, drawn))) > 1


def test_a_killed_training_goes_on_after_its_last_round(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class Saying(list):
        def append(self, text: str) -> None:
            super().append(text)
            if "round 3/3" in text and "going" not in self[0]:
                raise Killed

    whole, stopped = small_model(), small_model()
    options = Federated(clients=3, rounds=3)
    (tmp_path / "one").mkdir()
    expected = fitted(whole, tmp_path / "one", options)
    with pytest.raises(Killed):
        fitted(stopped, tmp_path, options, said=Saying())
    again, said = small_model(), []
    history = fitted(again, tmp_path, options, said=said)
    assert said[0] == "  going on after round 2"
    assert history == expected
    same(again, whole, 0)
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_checkpoint_of_another_course_is_not_gone_on_from(tmp_path: Path) -> None:
    from xrec.runs.checkpoint import write

    write({"key": "another"}, tmp_path / CHECKPOINT)
    said: list[str] = []
    assert len(fitted(small_model(), tmp_path, plain(clients=2), said=said)) == 1
    (tmp_path / CHECKPOINT).write_bytes(b"spoilt")
    fitted(small_model(), tmp_path, plain(clients=2), said=said)
    assert any("training starts again" in line for line in said)


def test_rounds_end_where_nothing_gets_better(tmp_path: Path) -> None:
    model = small_model(patience=2, lr=1e-12)
    history = fitted(model, tmp_path, plain(clients=2, rounds=9))
    assert len(history) == 3


# Clients that misbehave


def reply_of(node: int, arrays: dict[str, np.ndarray], weight: Any = 2) -> Message:
    in_process.InProcess(None, 0)  # sets who speaks
    asked = Message(RecordDict(), node, "train")
    metrics = MetricRecord({"num-examples": weight})
    content = RecordDict({"arrays": packed(arrays), "metrics": metrics})
    return Message(content, reply_to=asked)


SENT = {"w": np.zeros((2, 3), np.float32), "b": np.zeros(2, np.float32)}


def weights(scale: float) -> dict[str, np.ndarray]:
    return {name: np.full(value.shape, scale, np.float32) for name, value in SENT.items()}


def averaging(clients: int, **options: Any) -> Averaging:
    members = [Member(at, at + 1) for at in range(clients)]
    defaults = {"mu": 0.0, "fraction": 1.0, "least": 1, "seed": 0, "far_off": 10.0}
    made = Averaging(members, **{**defaults, **options})
    made.sent = SENT
    return made


@given(
    st.lists(st.tuples(st.floats(0.5, 2, width=32), st.integers(1, 2**20)), min_size=1, max_size=6)
)
@settings(max_examples=30, deadline=None)
def test_fedavg_is_the_weighted_average(clients: list[tuple[float, int]]) -> None:
    strategy = averaging(len(clients))
    replies = [reply_of(at + 1, weights(x), n) for at, (x, n) in enumerate(clients)]
    arrays, _ = strategy.aggregate_train(1, replies[::-1])
    mean = sum(x * n for x, n in clients) / sum(n for _, n in clients)
    np.testing.assert_allclose(flat(unpacked(arrays)), mean, rtol=1e-5)
    assert strategy.left_out.total() == 0


def spoil(kind: str) -> Message:
    """A reply of node 3 that is no good."""
    good = weights(1.0)
    if kind == "weight":
        return reply_of(3, good, -1)
    if kind == "heavy":
        return reply_of(3, good, 1e30)
    if kind == "weightless":
        return reply_of(3, good, float("nan"))
    reply = reply_of(3, good)
    if kind == "error":
        return Message(Error(2, "ValueError"), reply_to=Message(RecordDict(), 3, "train"))
    if kind == "records":
        reply.content["more"] = ArrayRecord()
    elif kind == "key":
        reply.content = RecordDict({"x": reply.content["arrays"], "y": reply.content["metrics"]})
    elif kind == "list":
        reply.content["metrics"] = MetricRecord({"num-examples": [1, 2]})
    elif kind == "bytes":
        broken = Array("float32", (2, 3), "numpy.ndarray", b"no array at all")
        reply.content["arrays"] = ArrayRecord({"w": broken, "b": Array(good["b"])})
    else:
        changes = {
            "nan": lambda arrays: arrays["w"].__setitem__((0, 0), np.nan),
            "infinite": lambda arrays: arrays["b"].__setitem__(0, np.inf),
            "shape": lambda arrays: arrays.update(w=np.ones((3, 2), np.float32)),
            "type": lambda arrays: arrays.update(w=np.ones((2, 3), np.int64)),
            "name": lambda arrays: arrays.update(v=arrays.pop("w")),
            "lacking": lambda arrays: arrays.pop("b"),
            "far": lambda arrays: arrays.update(w=np.full((2, 3), 1e6, np.float32)),
        }
        with_arrays(reply, changes[kind])
    return reply


GARBAGE = {
    **dict.fromkeys(["weight", "heavy", "weightless", "records", "key", "list"], "not as agreed"),
    **dict.fromkeys(["bytes", "shape", "type", "name", "lacking"], "not as agreed"),
    **dict.fromkeys(["nan", "infinite"], "not finite"),
    "far": "far off",
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_left_out_and_the_average_of_the_rest_is_exact(kind: str) -> None:
    strategy = averaging(4)
    others = [reply_of(1, weights(1.0), 3), reply_of(2, weights(2.0), 1)]
    stranger = reply_of(99, weights(50.0), 7)
    arrays, _ = strategy.aggregate_train(1, [spoil(kind), *others, stranger])
    np.testing.assert_allclose(flat(unpacked(arrays)), 1.25)
    assert +strategy.left_out == Counter({GARBAGE[kind]: 1})


def conducted(model: Any, tamper: Any, options: Federated, folder: Path) -> tuple[Any, list[str]]:
    """A run in which what clients reply is tampered with: its history, and what was told."""
    data, said = model.data_module, []
    shares = deal(data, options.clients)

    def participant(context: Any) -> Any:
        return conducting.dealt(copy.deepcopy(model), data, shares, context)

    grid = Tampered(client_app(participant), options.clients, tamper)
    with conducting.connected(grid):
        return fitted(model, folder, options, said=said), said


def test_late_gone_failed_and_spoilt_clients_do_not_stop_a_round(tmp_path: Path) -> None:
    model = small_model()
    data, sent = model.data_module, learned(model)
    config = ConfigRecord({"server-round": 1, "local-epochs": 1, "proximal-mu": 0.0})
    content = RecordDict({"arrays": packed(sent), "config": config})
    rest = [
        trained(conducting.dealt(copy.deepcopy(model), data, deal(data, 6), context), content)
        for context in InProcess(None, 6).contexts.values()
    ][3:]

    def tamper(asked: Message, reply: Message) -> Message | None:
        if asked.metadata.message_type != "train" or asked.metadata.dst_node_id > 3:
            return reply
        if asked.metadata.dst_node_id == 1:
            return None
        if asked.metadata.dst_node_id == 2:
            return Message(Error(2, "MemoryError"), reply_to=asked)
        return with_arrays(reply, lambda arrays: arrays.update(query=np.full(8, np.nan, "f4")))

    options = plain(clients=6)
    history, said = conducted(model, tamper, options, tmp_path)
    count = sum(update.windows for update in rest)
    for name, value in learned(model).items():
        mean = sum(update.windows / count * update.weights[name] for update in rest)
        np.testing.assert_allclose(value, mean, atol=1e-6)
    assert (history[0]["clients"], history[0]["left_out"]) == (3, 3)
    assert said[-1].endswith(
        "3 clients; left out: 1 failed (MemoryError), 1 late or gone, 1 not finite"
    )
    assert options.told["left_out"] == {
        "late or gone": 1,
        "failed (MemoryError)": 1,
        "not finite": 1,
    }


def test_a_round_without_an_update_leaves_the_weights_and_training_goes_on(tmp_path: Path) -> None:
    model = small_model()

    def tamper(asked: Message, reply: Message) -> Message | None:
        config = asked.content.config_records.get("config", {})
        return None if config.get("server-round") == 1 else reply

    history, said = conducted(model, tamper, plain(clients=2, rounds=2), tmp_path)
    assert [row["clients"] for row in history] == [0, 2]
    assert said[0].endswith("left out: 2 late or gone; no update: no reply could be used")


class Leaky:
    """A plugin whose errors tell a user's id."""

    @hookimpl
    def xrec_loss(self, batch: Any) -> None:
        raise ValueError(f"user u{batch.user[0]} watches i{batch.history[0, -1]}")


@pytest.mark.parametrize("secure", [True, False])
def test_what_fails_at_clients_is_told_without_private_data(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], secure: bool
) -> None:
    said: list[str] = []
    options = Federated(clients=3, rounds=1, secure_aggregation=secure)
    with pytest.raises(TrainingError, match=r"left out: 3 failed \(ValueError\)") as caught:
        fitted(small_model(), tmp_path, options, Leaky(), said=said)
    told = "\n".join([*said, str(caught.value), *capfd.readouterr()])
    assert "watches" not in told


def greeted(change: Any, secure: bool = False) -> tuple[list[Member], list[str]]:
    """Who takes part of two clients, one of which is of a model that was changed."""
    own, other = small_model(), small_model()
    other = change(other) or other
    models, said = {1: own, 2: other}, []

    def participant(context: Any) -> Any:
        model = models[context.node_id]
        return SimpleNamespace(number=context.node_id - 1, module=model)

    grid = InProcess(client_app(participant), 2)
    return greet(grid, Schema.of(own), 2, secure, 1.0, Counter(), said.append), said


def shorter(model: Any) -> None:
    model.query = nn.Parameter(torch.zeros(5))


def lacking(model: Any) -> None:
    model.query.requires_grad_(False)


def more(model: Any) -> None:
    model.secret = nn.Parameter(torch.zeros(5))


def other_items(model: Any) -> Any:
    model.data_module = copy.copy(model.data_module)
    model.data_module.items = copy.copy(model.data_module.items)
    model.data_module.items.ids = [*model.data_module.items.ids[:-1], "another"]


def fewer_items(model: Any) -> Any:
    other_items(model)
    model.data_module.items.ids = model.data_module.items.ids[:-2]


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        (shorter, "its parameter 'query' is of shape (5,), the server's (8,)"),
        (lacking, "its model lacks the parameter 'query'"),
        (more, "its model has a parameter that the server's has not"),
        (other_items, "its items have other ids, or another order, than the server's"),
        (fewer_items, "it knows 13 items, the server 15"),
    ],
)
def test_a_client_of_another_schema_takes_no_part(change: Any, clause: str) -> None:
    members, said = greeted(change)
    assert [member.number for member in members] == [0]
    assert said == [f"  client 1 takes no part: {clause}"]


def test_another_frozen_weight_is_another_schema() -> None:
    one, other = small_model(), small_model()
    for model in (one, other):
        model.query.requires_grad_(False)
    assert Schema.of(one).differs(Schema.of(other).text()) == ""
    with torch.no_grad():
        other.query += 1
    clause = Schema.of(one).differs(Schema.of(other).text())
    assert clause == "its frozen weights differ from the server's"


def test_too_few_clients_for_secure_aggregation_are_one_sentence() -> None:
    with pytest.raises(XrecError) as caught:
        greeted(shorter, secure=True)
    assert str(caught.value) == (
        "federated: 1 of 2 clients can take part (1 of another schema; client 1: its parameter "
        "'query' is of shape (5,), the server's (8,)), and secure aggregation takes 3 at least: "
        "connect more that have the same recipe"
    )


def test_running_statistics_are_refused() -> None:
    model = small_model()
    model.batch = nn.BatchNorm1d(4)
    with pytest.raises(XrecError, match="the layer 'batch' of the model keeps running statistics"):
        Schema.of(model)


# Secure aggregation


def contents(clients: int) -> dict[int, RecordDict]:
    return {node: RecordDict() for node in range(1, clients + 1)}


def secure_sum(
    updates: dict[int, tuple[np.ndarray, int]], tamper: Any = None, neighbours: int = 0
) -> tuple[tuple[np.ndarray, int, int], Counter[str], Tampered]:
    grid = Tampered(secure_app(updates), len(updates), tamper or (lambda asked, reply: reply))
    size, left_out = len(next(iter(updates.values()))[0]), Counter()
    total = SecureSum(grid, contents(len(updates)), size, neighbours, 1.0, left_out).total()
    return total, left_out, grid


def drawn_updates(clients: int, size: int = 40) -> dict[int, tuple[np.ndarray, int]]:
    generator = np.random.default_rng(clients)
    return {
        node: (generator.normal(size=size), int(generator.integers(1, 1000)))
        for node in range(1, clients + 1)
    }


def weighted(updates: Any) -> tuple[np.ndarray, int]:
    return sum(w * u for u, w in updates), sum(w for _, w in updates)


@pytest.mark.parametrize(("clients", "neighbours"), [(3, 0), (5, 0), (7, 2), (8, 4)])
def test_a_secure_sum_is_the_plain_sum(clients: int, neighbours: int) -> None:
    updates = drawn_updates(clients)
    (total, weight, count), left_out, _ = secure_sum(updates, neighbours=neighbours)
    expected, whole = weighted(updates.values())
    assert (weight, count, left_out.total()) == (whole, clients, 0)
    np.testing.assert_allclose(total / weight, expected / whole, atol=ROUNDING)


@pytest.mark.parametrize("step", ["setup", "share", "mask", "unmask"])
@pytest.mark.parametrize("how", ["gone", "failed", "garbage"])
@pytest.mark.parametrize("neighbours", [0, 4])
def test_a_client_may_drop_out_at_any_step(step: str, how: str, neighbours: int) -> None:
    updates = drawn_updates(6)

    def tamper(asked: Message, reply: Message) -> Message | None:
        kind, node = asked.metadata.message_type, asked.metadata.dst_node_id
        if (kind, node) != (f"train.{step}", 2):
            return reply
        if how == "gone":
            return None
        if how == "failed":
            return Message(Error(2, "KeyError"), reply_to=asked)
        reply.content = RecordDict({"masked": ArrayRecord({"masked": Array(np.ones(3))})})
        return reply

    (total, weight, count), left_out, _ = secure_sum(updates, tamper, neighbours)
    there = [update for node, update in updates.items() if node != 2 or step == "unmask"]
    expected, whole = weighted(there)
    assert (weight, count) == (whole, len(there))
    np.testing.assert_allclose(total / weight, expected / whole, atol=ROUNDING)
    why = {"gone": "late or gone", "failed": "failed (KeyError)", "garbage": "not as agreed"}[how]
    assert +left_out == (Counter() if step == "unmask" else Counter({why: 1}))


def test_two_may_drop_out_at_different_steps() -> None:
    updates = drawn_updates(7)
    gone = {("train.share", 1), ("train.mask", 2), ("train.mask", 3)}

    def tamper(asked: Message, reply: Message) -> Message | None:
        where = (asked.metadata.message_type, asked.metadata.dst_node_id)
        return None if where in gone else reply

    (total, weight, _), _, _ = secure_sum(updates, tamper)
    expected, whole = weighted([updates[node] for node in range(4, 8)])
    np.testing.assert_allclose(total / weight, expected / whole, atol=ROUNDING)


@pytest.mark.parametrize(
    ("step", "left", "why"),
    [
        ("setup", 2, "2 clients were there, and it takes 3"),
        ("share", 2, "no client gave an update"),
        ("mask", 0, "no client gave an update"),
        ("mask", 2, "too few clients were left to unmask it"),
        ("unmask", 2, "too few clients were left to unmask it"),
    ],
)
def test_a_sum_of_too_few_is_not_had(step: str, left: int, why: str) -> None:
    def tamper(asked: Message, reply: Message) -> Message | None:
        gone = asked.metadata.message_type == f"train.{step}" and asked.metadata.dst_node_id > left
        return None if gone else reply

    with pytest.raises(LostError, match=why):
        secure_sum(drawn_updates(5), tamper)


def test_a_share_or_vector_of_nonsense_loses_the_round_and_does_not_pass_for_a_sum() -> None:
    def bad_vector(asked: Message, reply: Message) -> Message:
        if asked.metadata.message_type == "train.mask" and asked.metadata.dst_node_id == 1:
            vector = reply.content["masked"]["masked"].numpy()
            reply.content["masked"]["masked"] = Array(vector + np.uint64(2**61 + 7))
        return reply

    def bad_share(asked: Message, reply: Message) -> Message:
        if asked.metadata.message_type == "train.unmask" and asked.metadata.dst_node_id == 1:
            shares = reply.content["secure"]["shares"]
            changed = [share[:4] + bytes(len(share) - 4) for share in shares]
            reply.content = telling("secure", of=reply.content["secure"]["of"], shares=changed)
        return reply

    for tamper in (bad_vector, bad_share):
        with pytest.raises(LostError, match="made nonsense of the sum"):
            secure_sum(drawn_updates(4), tamper)


def test_the_server_never_sees_an_update() -> None:
    updates = drawn_updates(4, size=5000)
    _, _, grid = secure_sum(updates)
    masked = {
        asked.metadata.dst_node_id: reply.content["masked"]["masked"].numpy()
        for asked, reply in grid.sent
        if asked.metadata.message_type == "train.mask"
    }
    for node, (update, weight) in updates.items():
        vector = masked[node]
        assert not np.isin(encoded(update, weight), vector).any()
        assert kstest(vector / 2.0**64, "uniform").pvalue > 1e-6
        assert abs(np.corrcoef(vector[1:].astype(float), update)[0, 1]) < 0.08
    # Nor from what two of them sent: the masks that they share cancel out, their own do not.
    pair = (masked[1] + masked[2])[1:] / 2.0**64
    assert kstest(pair, "uniform").pvalue > 1e-6


def handed(asks: list[tuple[str, Any]]) -> Any:
    """A grid of four clients whose server asks otherwise than it should at a step."""
    changes = dict(asks)

    class Curious(Tampered):
        def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> Any:
            messages = list(messages)
            for message in messages:
                change = changes.get(message.metadata.message_type)
                if change:
                    change(message.content["secure"])
            return super().send_and_receive(messages, timeout=timeout)

    return Curious


@pytest.mark.parametrize(
    ("step", "change"),
    [
        ("train.unmask", lambda asked: asked.update(gone=asked["there"][:1])),
        ("train.unmask", lambda asked: asked.update(there=asked["there"][:2])),
        ("train.share", lambda asked: asked.update({k: asked[k][:2] for k in list(asked)})),
        ("train.share", lambda asked: asked.update(mask=asked["mask"][::-1])),
        ("train.mask", lambda asked: asked.update({k: asked[k][:1] for k in list(asked)})),
        ("train.mask", lambda asked: asked.update(sealed=asked["sealed"][::-1])),
    ],
)
def test_clients_refuse_a_server_that_asks_for_too_much(step: str, change: Any) -> None:
    updates, left_out = drawn_updates(4), Counter()
    grid = handed([(step, change)])(secure_app(updates), 4, lambda asked, reply: reply)
    with pytest.raises(LostError):
        SecureSum(grid, contents(4), 40, 0, 1.0, left_out).total()
    assert all(
        reply.has_error() for asked, reply in grid.sent if asked.metadata.message_type == step
    )


def test_a_client_helps_to_unmask_a_sum_once() -> None:
    updates = drawn_updates(4)
    _, _, grid = secure_sum(updates)
    asked = [asked for asked, _ in grid.sent if asked.metadata.message_type == "train.unmask"]
    assert all(reply.has_error() for reply in grid.send_and_receive(asked))


def test_neighbours_are_a_ring() -> None:
    peers = ring(list(range(7)), 4)
    assert peers[0] == [5, 6, 0, 1, 2]
    assert all(node in peers[other] for node in peers for other in peers[node])
    assert ring([1, 2, 3], 2) == {node: [1, 2, 3] for node in (1, 2, 3)}


@given(
    st.lists(st.floats(-RANGE, RANGE), min_size=1, max_size=20),
    st.integers(1, 2**20),
)
def test_fixed_point_is_off_by_a_rounding_at_most(values: list[float], weight: int) -> None:
    total, found = decoded(encoded(np.array(values), weight))
    assert found == weight
    np.testing.assert_allclose(total / weight, values, atol=ROUNDING)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), RANGE * 1.01])
def test_an_update_out_of_range_is_not_masked(value: float) -> None:
    with pytest.raises(ValueError, match="out of range"):
        encoded(np.array([0.0, value]), 1)
    with pytest.raises(ValueError, match="weight"):
        encoded(np.array([0.0]), 2**20 + 1)


def test_the_keystream_is_chacha20() -> None:
    # RFC 8439, appendix A.1, test vector 1: key, nonce and counter of zeros.
    block = bytes.fromhex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")
    assert numbers(bytes(32), 4).tobytes() == block


# Privacy by noise


def test_the_noise_is_gaussian_and_as_large_as_flowers() -> None:
    drawn = gaussian(b"k" * 32, 200_000)
    assert kstest(drawn, norm.cdf).pvalue > 1e-3
    noise = Noise(clip=3.0, multiplier=1.5, expected=20.0)
    mean = noise.mean(np.zeros(200_000), key=b"k" * 32)
    assert mean.std() == pytest.approx(compute_stdv(1.5, 3.0, 20), rel=0.01)
    assert not np.array_equal(noise.mean(np.zeros(9)), noise.mean(np.zeros(9)))
    whole = noise.mean(np.full(4, 40.0), key=b"k" * 32) - noise.mean(np.zeros(4), key=b"k" * 32)
    np.testing.assert_allclose(whole, 2.0)


def test_updates_are_clipped_as_flower_does() -> None:
    generator = np.random.default_rng(0)
    for scale in (0.01, 10.0):
        after = [generator.normal(size=(3, 2)) * scale, generator.normal(size=4) * scale]
        step = clipped(np.concatenate([value.ravel() for value in after]), 1.0)
        compute_clip_model_update(after, [np.zeros((3, 2)), np.zeros(4)], 1.0)
        np.testing.assert_allclose(step, np.concatenate([value.ravel() for value in after]))


def test_with_noise_each_client_moves_the_weights_by_a_clip_over_the_expected_at_most() -> None:
    quiet = Noise(clip=1.0, multiplier=1e-12, expected=4.0)
    strategy = averaging(4, noise=quiet)
    far = {name: np.full(value.shape, 1e6, np.float32) for name, value in SENT.items()}
    near = weights(0.1)
    arrays, _ = strategy.aggregate_train(1, [reply_of(1, far, 999), reply_of(2, near, 1)])
    expected = (flat(far) / np.linalg.norm(flat(far)) + flat(near)) / 4
    np.testing.assert_allclose(flat(unpacked(arrays)), expected, atol=1e-6)
    assert strategy.left_out.total() == 0
    empty, _ = strategy.aggregate_train(2, [])
    np.testing.assert_allclose(flat(unpacked(empty)), 0, atol=1e-9)


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Delta of a Gaussian mechanism of sensitivity mu to unit noise (Balle and Wang, 2018)."""
    tail = math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
    return float(norm.cdf(mu / 2 - epsilon / mu) - tail)


@pytest.mark.parametrize(("multiplier", "rounds"), [(2.0, 1), (5.0, 30)])
def test_epsilon_of_all_clients_is_the_closed_form(multiplier: float, rounds: int) -> None:
    epsilon = spent(multiplier, 1.0, rounds, 1e-5)
    assert gaussian_delta(epsilon, math.sqrt(rounds) / multiplier) == pytest.approx(1e-5, rel=0.02)
    assert gaussian_delta(epsilon, math.sqrt(rounds) / multiplier) <= 1e-5  # from above


def test_epsilon_of_drawn_clients_is_that_of_another_accountant() -> None:
    opacus = pytest.importorskip("opacus.accountants")
    accountant = opacus.PRVAccountant()
    accountant.history = [(1.1, 0.1, 50)]
    assert spent(1.1, 0.1, 50, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5), rel=0.02)


def test_the_noise_is_the_least_that_keeps_to_epsilon() -> None:
    multiplier = least_multiplier(1.0, 1.0, 20, 1e-5)
    assert 0.99 < spent(multiplier, 1.0, 20, 1e-5) <= 1.0
    assert spent(0.97 * multiplier, 1.0, 20, 1e-5) > 1.0


@pytest.mark.parametrize("secure", [True, False])
def test_a_private_run_tells_what_it_costs(tmp_path: Path, secure: bool) -> None:
    options = Federated(
        clients=5, rounds=2, epsilon=1.0, delta=0.01, clip=0.5, secure_aggregation=secure
    )
    model = small_model()
    before = flat(learned(model))
    fitted(model, tmp_path, options)
    told = options.told
    assert (told["mechanism"], told["level"], told["rounds"]) == ("federated", "client", 2)
    assert 0.99 < told["epsilon"] <= 1.0
    assert told["delta"] == 0.01
    assert told["noise_multiplier"] == pytest.approx(least_multiplier(1.0, 1.0, 2, 0.01))
    deviation = told["noise_multiplier"] * 0.5 / 5
    step = (flat(learned(model)) - before) / deviation
    assert 0.9 < step.std() < 2  # one or two rounds of noise, and little else
    assert "validation events" in dict(told["not_covered"])


# Bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "fedsgd"}, "strategy is 'fedsgd'"),
        ({"clients": 0}, "clients is 0, it must be at least 1"),
        ({"fraction": 0.0}, "fraction is 0.0"),
        ({"fraction": 1.5}, "fraction is 1.5"),
        ({"timeout": 0}, "timeout is 0"),
        ({"far_off": 1.0}, "far_off is 1.0"),
        ({"neighbours": 3}, "neighbours is 3, it must be even"),
        ({"clients": 2}, "secure_aggregation takes 3 clients at least, and clients is 2"),
        ({"epsilon": 0.0}, "epsilon is 0.0, it must be above 0"),
        ({"epsilon": -1.0}, "epsilon is -1.0, it must be above 0"),
        ({"epsilon": 1.0, "delta": 0.1}, r"delta is 0.1, .* below 1 / clients \(0.1\)"),
        ({"epsilon": 1.0, "delta": 0.0}, "delta is 0.0"),
        ({"epsilon": 1.0, "fraction": 0.5}, "fraction must be 1 for secure_aggregation"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Federated(**options)


def test_more_clients_than_users_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(XrecError, match="40 clients cannot be made of 30 users"):
        fitted(small_model(), tmp_path, plain(clients=40))


def test_an_unknown_monitor_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"train\.monitor"):
        fitted(small_model(monitor="val_luck"), tmp_path, plain(clients=2))


def test_processes_need_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "xrec_plugins.privacy.federation.simulation", raising=False)
    with pytest.raises(PluginError, match=r"needs the package ray: pip install 'xrec\[flwr\]'"):
        fitted(small_model(), tmp_path, plain(clients=2, processes=1))


# Whole runs

FEDERATION = ["explain=[]", "fidelity=[]"]


def test_a_recipe_federates(tiny_recipe: Path, tmp_path: Path) -> None:
    said: list[str] = []
    text = tiny_recipe.read_text() + "privacy: [{name: federated, clients: 4, rounds: 2}]\n"
    tiny_recipe.write_text(text)
    made = run(Recipe.load(tiny_recipe, FEDERATION), tmp_path / "runs", said.append)
    epochs = made.store.json("training.json")["epochs"]
    assert [(row["epoch"], row["clients"]) for row in epochs] == [(1, 4), (2, 4)]
    assert sum("round" in line for line in said) == 2
    assert made.store.json("privacy/federated.json")["secure_aggregation"] is True
    assert "privacy/federated.json" in made.store.writes("train")
    assert "over 2 epochs" in (made.folder / "report.html").read_text()
    chapter = rendered("privacy", made)
    assert "trained by 4 clients" in words(chapter)
    assert "nothing bounds what they give away" in words(chapter)
    assert not blocks(chapter, Table)
    covers, leaves = blocks(chapter, Terms)
    assert "a client's update" in dict(covers.pairs)
    assert "validation events" in dict(leaves.pairs)


def test_the_report_tells_the_epsilon_of_a_client(tiny_recipe: Path, tmp_path: Path) -> None:
    mechanism = plain(clients=4, rounds=1, epsilon=8.0, delta=1e-3)
    fitted(small_model(users=30), tmp_path, mechanism)
    given = {"name": "federated", "clients": 4, "epsilon": 8.0, "delta": 1e-3}
    recipe = Recipe.of({**Recipe.load(tiny_recipe).resolved, "privacy": [given]})
    asked = Run(recipe, tmp_path / "run")
    asked.store.write_json("privacy/federated.json", mechanism.told)
    chapter = rendered("privacy", asked)
    assert f"epsilon is {mechanism.told['epsilon']:.2f}, at delta 0.001" in words(chapter)
    (table,) = blocks(chapter, Table)
    assert ("clients", "4") in table.rows


def test_connected_clients_train_by_their_own_recipes(tiny_recipe: Path, tmp_path: Path) -> None:
    text = tiny_recipe.read_text() + "privacy: [{name: federated, clients: 3, rounds: 1}]\n"
    tiny_recipe.write_text(text.split("explain:")[0] + "privacy:" + text.split("privacy:")[1])
    grid = InProcess(apps.client, 3)
    for at in range(3):
        config = {"partition-id": at, "num-partitions": 3, "recipe": str(tiny_recipe)}
        grid.contexts[at + 1] = in_process.context(
            at + 1, {**config, "out": str(tmp_path / "clients")}
        )
    given = {"recipe": str(tiny_recipe), "out": str(tmp_path / "server")}
    context = in_process.context(0, {})
    context.run_config = given
    apps.server(grid, context)
    apart = run(Recipe.load(tiny_recipe), tmp_path / "here")
    (folder,) = (tmp_path / "server" / "tiny").iterdir()
    told = json.loads((folder / "training.json").read_text())["epochs"]
    here = apart.store.json("training.json")["epochs"]
    assert told == here


def test_an_app_without_its_configuration_says_so() -> None:
    context = in_process.context(0, {})
    with pytest.raises(XrecError, match="lacks 'recipe'"):
        apps.server(InProcess(apps.client, 1), context)


@pytest.mark.slow
@pytest.mark.parametrize("secure", [True, False])
def test_clients_in_processes_of_their_own_come_to_the_same(tmp_path: Path, secure: bool) -> None:
    here, there = small_model(), small_model()
    options = {"clients": 4, "rounds": 2, "secure_aggregation": secure}
    expected = fitted(here, tmp_path, Federated(**options))
    history = fitted(there, tmp_path, Federated(processes=2, **options))
    assert history == expected
    same(there, here, 0)


def test_steps_are_in_the_order_of_flat() -> None:
    arrays = {"a": np.zeros((2, 2), np.float32), "b": np.ones(3, np.float32)}
    after = moved(arrays, np.arange(7.0))
    np.testing.assert_array_equal(after["a"], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(after["b"], [5, 6, 7])
    model = small_model()
    put(model, {name: value + 1 for name, value in learned(model).items()})
    np.testing.assert_allclose(learned(model)["query"], learned(small_model())["query"] + 1)
