"""Training a little more: what learns, by whose hooks, and what is left behind."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from xrec import hookimpl
from xrec.runs.finetuning import finetune


class Pulled:
    """A term that pulls the query towards zero, and counts how often it was asked for."""

    def __init__(self) -> None:
        self.asked = 0

    @hookimpl
    def xrec_loss(self, module):
        self.asked += 1
        return {"pulled": 100 * module.query.square().sum()}


def test_it_ends_with_the_best_weights_by_the_monitor(tiny_run) -> None:
    model = copy.deepcopy(tiny_run.model)
    told: list[str] = []
    history = finetune(model, tiny_run.data, 3, 1e-3, told.append)
    assert [each["epoch"] for each in history] == [1, 2, 3]
    assert len(told) == 3
    assert not model.training
    found = max([each["val_ndcg@10"] for each in history])
    trained = max(e["val_ndcg@10"] for e in tiny_run.store.json("training.json")["epochs"])
    from xrec.compress.chain import validated

    kept = float(validated(model, tiny_run.data).mean())
    assert abs(kept - max(found, trained)) < 1e-6


def test_only_what_requires_a_gradient_moves_and_options_stay(tiny_run) -> None:
    model = copy.deepcopy(tiny_run.model)
    model.requires_grad_(False)
    model.query.requires_grad_(True)
    before, options, hook = copy.deepcopy(model.state_dict()), model.options, model.hook
    pulled = Pulled()
    finetune(model, tiny_run.data, 1, 1e-2, lambda text: None, [pulled])
    assert pulled.asked > 0
    assert (model.options, model.hook) == (options, hook)
    for name, tensor in model.state_dict().items():
        assert name == "query" or torch.equal(tensor, before[name])


def test_rates_of_parts_keep_their_ratio(tiny_run) -> None:
    model = copy.deepcopy(tiny_run.model)
    model.options = replace(model.options, lr=1e-3, rates={"query": 1e-2})
    seen: list[dict[float, int]] = []

    class Watching:
        @hookimpl
        def xrec_optimizer(self, module, optimizer):
            seen.append({each["lr"]: len(each["params"]) for each in optimizer.param_groups})

    finetune(model, tiny_run.data, 1, 1e-4, lambda text: None, [Watching()])
    (rates,) = seen
    assert {round(rate, 6): count == 1 for rate, count in rates.items()} == {
        1e-4: False,
        1e-3: True,
    }


def test_the_run_s_own_hooks_are_not_called(tiny_run) -> None:
    model = copy.deepcopy(tiny_run.model)
    own = Pulled()
    from xrec import plugins

    model.use(plugins.new_manager([own]))
    finetune(model, tiny_run.data, 1, 1e-3, lambda text: None)
    assert own.asked == 0


def test_what_learns_learns_with_dropout_and_nothing_else(tiny_run) -> None:
    model = copy.deepcopy(tiny_run.model).eval()
    model.views.requires_grad_(False)
    seen: dict[str, bool] = {}

    class Watching:
        @hookimpl
        def xrec_loss(self, module):
            seen.update({name: each.training for name, each in module.named_modules()})

    finetune(model, tiny_run.data, 1, 1e-3, lambda text: None, [Watching()])
    frozen = {name for name in seen if name.startswith("views")}
    assert frozen
    assert {name for name, training in seen.items() if not training} == frozen
    assert not any(module.training for module in model.modules())
