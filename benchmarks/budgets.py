"""What the benchmark of privacy trains: recipes, by budgets, by where the data are, by heart."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from xrec.recipe import Recipe
from xrec.runs.pipeline import run, trained
from xrec.runs.run import Run

RECIPES = Path(__file__).parents[1] / "recipes"
PRIVATE, CEILING, FEDERATED, CONTROL = "private", "video", "federated", "quickstart"
INF = math.inf
MECHANISM = "dp_sgd"
FLOOR = "random"  # the explainer that others are held against
ATTACKED = "leave_one_out"  # the explainer that audits ask

#: Options of each key, as a recipe has them; `data` and lists take the place of a recipe's own.
Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """How much is done.

    films, clients, controls: changes of the recipes of films, of the federated one, and of that
    which is audited for control. trainings: at each epsilon, from seeds 0, 1 …; explained: users
    whose explanations are judged; steps: of Integrated Gradients. audited: the epsilons that are
    attacked, by `shadows` models, asked about `asked` users; watched: shadows of the controls.
    turns, warm_up: of steps that are timed. reported: the epsilons of randomised events, of which
    each user reports the latest `events`. heart: how a model is trained that shall learn by heart.
    """

    films: Changes
    clients: Changes
    controls: Changes
    trainings: Mapping[float, int]
    explained: int
    steps: int
    audited: tuple[float, ...]
    shadows: int
    asked: int
    watched: int
    turns: int
    reported: tuple[float, ...]
    warm_up: int = 3
    events: int = 10
    heart: Changes = field(default_factory=dict)


FULL = Form(
    films={},
    clients={},
    controls={"data": {"dataset": "planted", "users": 300, "items": 200, "history": 30}},
    trainings={1.0: 1, 2.0: 1, 4.0: 1, 8.0: 3, INF: 2},
    explained=100,
    steps=50,
    audited=(1.0, 2.0, 4.0, 8.0, INF),
    shadows=8,
    asked=400,
    watched=16,
    turns=40,
    reported=(2.0, 8.0, 32.0),
    heart={"epochs": 100},
)

_TINY = {"dataset": "planted", "users": 60, "items": 100, "events": 8, "history": 6}
_QUICK = {"epochs": 2}
SHORT = Form(
    films={"data": _TINY, "train": _QUICK},
    clients={
        "data": _TINY,
        "model": {"width": 16},
        "train": _QUICK,
        "privacy": [{"name": "federated", "clients": 3, "rounds": 2}],
    },
    controls={"data": _TINY, "model": {"width": 32}, "train": _QUICK},
    trainings={1.0: 1, 2.0: 1, 4.0: 1, 8.0: 2, INF: 2},
    explained=8,
    steps=8,
    audited=(8.0,),
    shadows=6,
    asked=60,
    watched=6,
    turns=5,
    reported=(8.0,),
    warm_up=1,
    events=4,
    heart={"epochs": 15, "lr": 1e-2},
)


def recipe(name: str, *changes: Changes) -> Recipe:
    """A recipe of those that are shipped, changed."""
    given = _shipped(name)
    for each in changes:
        for key, value in each.items():
            whole = key == "data" or not isinstance(value, Mapping)
            given[key] = value if whole else {**given.get(key, {}), **value}
    return Recipe.of(given)


def _shipped(name: str) -> dict[str, Any]:
    given = OmegaConf.to_container(OmegaConf.load(RECIPES / f"{name}.yaml"), resolve=True)
    assert isinstance(given, dict)
    return {str(key): value for key, value in given.items()}


def private(form: Form, epsilon: float, seed: int) -> Recipe:
    """The private recipe with another epsilon; at infinity the mechanism is left out."""
    mechanisms = [
        {**each, "epsilon": epsilon} if each["name"] == MECHANISM else each
        for each in _shipped(PRIVATE)["privacy"]
        if each["name"] != MECHANISM or epsilon < INF
    ]
    return recipe(PRIVATE, form.films, _judged(form), {"privacy": mechanisms, "seed": seed})


def ceiling(form: Form) -> Recipe:
    """The recipe for films without privacy, of another size."""
    return recipe(CEILING, form.films, _judged(form))


def _judged(form: Form) -> dict[str, Any]:
    """How models of films are explained, and their explanations judged."""
    return {
        "track": [],
        "explain": [
            {"name": "integrated_gradients", "steps": form.steps},
            ATTACKED,
            {"name": FLOOR, "seed": 1},
        ],
        "fidelity": ["deletion", "insertion", {"name": "counterfactual_ranks", "k": [10]}],
        "protocol": {"users": form.explained, "repeats": 2, "batch": 2},
        "report": {"explained": 1},
    }


def central(form: Form) -> Recipe:
    """The federated recipe without clients."""
    return recipe(FEDERATED, form.clients, {"privacy": []})


def federated(form: Form) -> dict[str, Recipe]:
    """The federated recipe, by what is changed of how clients train."""
    base = recipe(FEDERATED, form.clients)
    own = base.resolved["privacy"][0]
    sides = {
        "fedavg": {},
        "fedprox": {"strategy": "fedprox"},
        "fedavg, epsilon 8 per client": {"epsilon": 8.0},
    }
    return {
        name: recipe(FEDERATED, form.clients, {"privacy": [{**own, **each}]})
        for name, each in sides.items()
    }


def reported(form: Form) -> dict[float, Recipe]:
    """The same without clients, of events that were randomised before they were stored."""
    given = {"name": "local_dp", "events": form.events, "spared": 2}
    return {
        epsilon: recipe(FEDERATED, form.clients, {"privacy": [{**given, "epsilon": epsilon}]})
        for epsilon in form.reported
    }


def controls(form: Form) -> dict[str, Recipe]:
    """Models of which it is known what an audit must find: by heart, as usual, of nobody.

    The first is kept where it fits best, not where it ranks best. The last takes steps too small
    to change a weight, so that what differs between models is where they began.
    """
    plain = {
        "track": [],
        "explain": [ATTACKED],
        "influence": [],
        "fidelity": [],
        "protocol": {"users": 6},
        "report": {"explained": 1},
    }
    by_heart = {"monitor": "train_loss", "patience": 1000, "weight_decay": 0, **form.heart}
    nobody = {"epochs": 1, "lr": 1e-30, "weight_decay": 0}
    return {
        "memorising": recipe(
            CONTROL, form.controls, plain, {"model": {"dropout": 0.0}, "train": by_heart}
        ),
        "ordinary": recipe(CONTROL, form.controls, plain),
        "unseen": recipe(CONTROL, form.controls, plain, {"train": nobody}),
    }


def whole(asked: Recipe, out: Path) -> Run:
    """The run of a recipe up to its report, as an audit needs it; what was done before is kept."""
    return run(asked, out, told)


def ranking(asked: Recipe, out: Path) -> Run:
    """The run of a recipe up to how well it ranks; what was done before is kept."""
    return trained(asked, out, told)


def told(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)
