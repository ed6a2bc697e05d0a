"""Whether what a model was trained on can be told from what it was not."""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest
import torch
from torch import Tensor, nn

from xrec.audit.events import leakage, leakage_explanation, pairs, told_apart
from xrec.data.module import Data
from xrec.plugins import factory
from xrec.runs.explaining import ready
from xrec.testing import small_data
from xrec.testing.toys import LinearToy
from xrec.testing.world import SmallEncoder


def everyone(data: Data) -> Tensor:
    return torch.arange(1, len(data.users))


class Memory(nn.Module):
    """A model that knows the training events by heart."""

    def __init__(self, data: Data, sign: float = 1.0) -> None:
        super().__init__()
        self.sign, self.known = sign, set()
        for user in everyone(data).tolist():
            begin, end = data.events.span(user)
            self.known |= {(user, item) for item in data.events.item[begin : end - 2].tolist()}

    def forward(self, batch) -> Tensor:
        asked = zip(batch.user.tolist(), batch.candidate.tolist(), strict=True)
        return self.sign * torch.tensor([float(each in self.known) for each in asked])


def test_pairs_by_hand() -> None:
    data = small_data()
    members, others = pairs(data, everyone(data))
    assert members.user.tolist() == others.user.tolist() == everyone(data).tolist()
    for row, user in enumerate(members.user.tolist()):
        begin, end = data.events.span(user)
        had = data.events.item[begin:end].tolist()
        for batch, at in ((members, len(had) - 3), (others, len(had) - 1)):
            before = [item for item in batch.history[row].tolist() if item]
            assert int(batch.candidate[row]) == had[at]
            assert before == had[:at][-data.options.history :]


def test_users_with_nothing_before_or_an_item_again_are_left_out() -> None:
    data = small_data()
    first, second = data.users.ids[1], data.users.ids[2]
    events = data.tables.interactions
    mine = events.filter(user=first).sort("time").head(3)  # the first is all there is to train on
    again = events.filter(user=second).sort("time")
    again = again.with_columns(item=pl.concat([again["item"][:-1], again["item"][:1]]))
    rest = events.filter(~pl.col("user").is_in([first, second]))
    tables = replace(data.tables, interactions=pl.concat([mine, again, rest]))
    changed = Data(tables, data.options, data.train)
    assert pairs(changed, everyone(changed))[0].user.tolist() == everyone(changed)[2:].tolist()


def test_a_model_that_memorised_is_told_apart() -> None:
    data = small_data()
    assert leakage(Memory(data), data, everyone(data)) == 1
    assert leakage(Memory(data, sign=-1), data, everyone(data)) == 0


def test_an_untrained_model_is_at_chance() -> None:
    data = small_data(users=400)
    found = [leakage(LinearToy(data, seed=seed), data, everyone(data)) for seed in range(5)]
    assert sum(found) / len(found) == pytest.approx(0.5, abs=0.04)  # an error of 0.02 each


def test_it_is_how_often_a_member_says_more() -> None:
    data = small_data()
    generator = torch.Generator().manual_seed(0)
    said = {stage: torch.randint(0, 5, (12,), generator=generator) for stage in ("train", "test")}
    found = told_apart(lambda stage, batch: said[stage].float(), data, everyone(data))
    wins = [
        float(member > other) + (member == other) / 2
        for member in said["train"].tolist()
        for other in said["test"].tolist()
    ]
    assert found == pytest.approx(sum(wins) / len(wins))


def test_without_pairs_nothing_is_known() -> None:
    data = small_data()
    assert math.isnan(leakage(Memory(data), data, everyone(data)[:0]))


@pytest.mark.slow
def test_training_too_long_leaks() -> None:
    """A real model, with more to learn by heart than there is to understand."""
    torch.manual_seed(0)
    data = small_data(users=60)
    encoder = SmallEncoder()
    architecture = factory("model", "sequential")(width=64, layers=1, dropout=0.0)
    model = architecture.build(data, encoder.encode(data.texts), encoder)
    before = leakage(model.eval(), data, everyone(data))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0)
    model.train()
    generator = torch.Generator().manual_seed(0)
    windows = data.windows()
    for _ in range(300):
        optimizer.zero_grad()
        batch = replace(windows, negatives=data.negatives(windows.user, generator))
        sum(model.loss(batch).values()).backward()
        optimizer.step()
    after = leakage(model.eval(), data, everyone(data))
    assert abs(before - 0.5) < 0.15
    assert after > 0.8


def test_an_explanation_leaks_what_its_contributions_sum_to(tiny_run) -> None:
    data, model = tiny_run.data, tiny_run.model
    explainer = ready(tiny_run, "leave_one_out")
    sums = {}
    for stage, batch in zip(("train", "test"), pairs(data, everyone(data)), strict=True):
        inputs = tiny_run.inputs(batch)
        sums[stage] = explainer.explain(model, inputs, tiny_run.target).values.sum(1)
    expected = told_apart(lambda stage, batch: sums[stage], data, everyone(data))
    assert leakage_explanation(tiny_run, explainer, everyone(data)) == pytest.approx(expected)
