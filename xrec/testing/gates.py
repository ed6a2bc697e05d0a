"""Gates: what an explainer must pass before its scores mean anything.

Each raises AssertionError with a sentence. They explain small worlds with known answers: a linear
model, one that is bent so that all features interact, and the untrained `small_model`::

    from xrec.testing import check_gates, gates

    def test_mine():
        check_gates(Mine())      # raises, unless each gate is passed or `Mine.excused` from
        print(gates(Mine()))     # {"linear": "passed", "symmetry": "excused: …", …}

The axioms are those of Shapley (1953), and of Sundararajan et al. (2017) for gradients.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from xrec.data.batches import Batch
from xrec.data.features import BEHAVIOUR, ITEM, PROFILE
from xrec.data.module import Data
from xrec.errors import XrecError
from xrec.explain.explainer import Choosing, Explainer, Trained
from xrec.explain.explanation import Explanation
from xrec.explain.generators import seeded
from xrec.explain.target import logit
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing.kept import generators_kept, inputs_kept, mode_kept, parameters_kept
from xrec.testing.toys import BentToy, LinearToy
from xrec.testing.world import padded, small_data, small_model

CLOSE = 1e-3  # of the largest number compared, or of 1: single precision, and fine quadrature
SAME = 1e-4  # likewise, of what should be the same computation


def linear(explainer: Explainer) -> None:
    """On a linear model, a feature's contribution is what it adds to the score."""
    model = LinearToy(_data())
    inputs = _inputs(model)
    told = _told(explainer, model, inputs)
    with torch.no_grad():
        said = torch.where(inputs.players, model.said(inputs), 0)
    _near(told.values, said, CLOSE, "contributions to a linear model are not what its terms are")


def completeness(explainer: Explainer) -> None:
    """Contributions sum to score - base, where all features interact."""
    model = BentToy(_data())
    told = _told(explainer, model, _inputs(model))
    found = told.values.sum(1)
    _near(found, told.score - told.base, CLOSE, "contributions do not sum to score - base")


def symmetry(explainer: Explainer) -> None:
    """Two events that are the same, in whatever the model makes of them, get the same."""
    model = BentToy(_data())
    inputs = _inputs(model)
    last = int((inputs.features.group[0] == BEHAVIOUR).sum()) - 1
    values = inputs.values.clone()
    values[:, last - 2] = values[:, last]
    told = _told(explainer, model, inputs.with_values(values))
    _near(told.values[:, last - 2], told.values[:, last], CLOSE, "twins do not get the same")


def dummy(explainer: Explainer) -> None:
    """Features that the model does not look at get nothing, while others interact."""
    for deaf in ((BEHAVIOUR,), (PROFILE, ITEM)):
        model = BentToy(_data(), deaf)
        inputs = _inputs(model)
        told = _told(explainer, model, inputs)
        unheard = torch.isin(inputs.features.group, torch.tensor(deaf))
        got = told.values[unheard]
        _near(got, torch.zeros_like(got), CLOSE, "features that the model ignores got something")


def batch(explainer: Explainer) -> None:
    """A row is explained alone as among others, wherever it stands among them."""
    model, inputs = _small()
    made = ready(explainer, model)
    told = made.explain(model, inputs, logit).values
    for row in range(len(inputs)):
        alone = made.explain(model, inputs.rows(slice(row, row + 1)), logit).values
        _near(alone[0], told[row], SAME, "a row alone is explained in another way than among more")
    order = torch.tensor([2, 0, 1, 2])
    moved = made.explain(model, inputs.rows(order), logit).values
    _near(moved, told[order], SAME, "a row is explained in another way where it stands elsewhere")


def padding(explainer: Explainer) -> None:
    """More padding before the events changes no contribution, and gets none."""
    model, inputs = _small()
    made = ready(explainer, model)
    told = made.explain(model, inputs, logit)
    with torch.no_grad():
        wide = model.embed(padded(_queries(model.data_module)))
    again = made.explain(model, wide.against(_rivals(model.data_module)), logit)
    found, expected = again.values[wide.players], told.values[inputs.players]
    _near(found, expected, SAME, "padding changes what is said")
    assert not again.values[~wide.players].any(), "padding was given a value"


def determinism(explainer: Explainer) -> None:
    """Asked twice it says the same, whatever the global random generators, which it leaves alone.

    What an explainer draws follows its own `seed`.
    """
    model, inputs = _small()
    made = ready(explainer, model)
    with seeded(54321), generators_kept(), inputs_kept(inputs):  # from where nobody would put them
        told = made.explain(model, inputs, logit)
    with seeded(1):  # elsewhere than before
        again = made.explain(model, inputs, logit)
    _near(again.values, told.values, 1e-6, "asked twice, it says two things")


def mode(explainer: Explainer) -> None:
    """Modules in training mode are back in it, and do not change what is said."""
    model, inputs = _small()
    made = ready(explainer, model)
    with mode_kept(model):
        told = made.explain(model, inputs, logit)
    again = made.explain(model, inputs, logit)
    _near(told.score, again.score, SAME, "a model in training mode is explained as such")


def gradients(explainer: Explainer) -> None:
    """No parameter is left with a gradient, frozen, thawed or changed."""
    model, inputs = _small()
    next(model.parameters()).requires_grad_(False)
    made = ready(explainer, model)
    with parameters_kept(model), inputs_kept(inputs):
        made.explain(model, inputs, logit)


#: A gate, by the name that `Explainer.excused` and reports have for it.
GATES: Mapping[str, Callable[[Explainer], None]] = {
    "linear": linear,
    "completeness": completeness,
    "symmetry": symmetry,
    "dummy": dummy,
    "batch": batch,
    "padding": padding,
    "determinism": determinism,
    "mode": mode,
    "gradients": gradients,
}


def gates(explainer: Explainer) -> dict[str, str]:
    """How an explainer fares at each gate: "passed", "failed: …" or "excused: why".

    It is excused from a gate that it fails and that its class declares in `excused`. An explainer
    that is `Trained` is fitted anew, a copy of it, to each small world; one that is `Choosing`
    explains by another of a run, whose gates are its own. Raises AssertionError where `excused`
    names no gate.
    """
    excused: Mapping[str, str] = getattr(explainer, "excused", {})
    for name in excused:
        assert name in GATES, f"excused: there is no gate '{name}', only {', '.join(GATES)}"
    if isinstance(explainer, Choosing):
        return dict.fromkeys(GATES, "excused: it explains by another, whose gates are its own")
    return {name: _outcome(gate, explainer, excused.get(name)) for name, gate in GATES.items()}


def check_gates(explainer: Explainer) -> None:
    """Raise AssertionError with every gate that an explainer neither passes nor is excused from."""
    outcomes = {name: told.partition(": ") for name, told in gates(explainer).items()}
    failed = [f"{name}: {what}" for name, (how, _, what) in outcomes.items() if how == "failed"]
    assert not failed, f"{type(explainer).__name__} fails gates: {'; '.join(failed)}"


def ready(explainer: Explainer, model: Recommender) -> Explainer:
    """The explainer, or a copy of it that is fitted to the model, where it is `Trained`."""
    if not isinstance(explainer, Trained):
        return explainer
    made = copy.deepcopy(explainer)
    made.fit(model, model.data_module)
    return made


def _outcome(gate: Callable[[Explainer], None], explainer: Explainer, why: str | None) -> str:
    try:
        gate(explainer)
    except (AssertionError, XrecError) as error:  # it says wrong things, or that it cannot explain
        return f"excused: {why}" if why else f"failed: {error}"
    except Exception as error:  # it is broken, which nothing excuses; the other gates are tried
        return f"failed: {type(error).__name__}: {error}"
    return "passed"


@lru_cache(maxsize=1)
def _data() -> Data:
    return small_data(history=4)


def _queries(data: Data) -> Batch:
    """Three users, of whom one at least has a history shorter than others."""
    return data.queries("test", torch.arange(1, 4))


def _rivals(data: Data) -> Tensor:
    """(B, R) a few items for each row to compete with, its own not among them."""
    items = torch.arange(1, min(7, len(data.items)))
    own = items == _queries(data).candidate[:, None]
    return items[own.long().argsort(dim=1, stable=True)[:, :-1]]


@torch.no_grad()
def _inputs(model: LinearToy) -> Inputs:
    model.eval()
    inputs = model.embed(_queries(model.data_module))
    return inputs.against(_rivals(model.data_module))


def _small() -> tuple[Recommender, Inputs]:
    """The small model and inputs of it, fresh: what one explainer did to them no other meets."""
    model, inputs = _made()
    twin = copy.deepcopy(model)
    return twin, inputs.with_values(inputs.values.clone())


@lru_cache(maxsize=1)
def _made() -> tuple[Recommender, Inputs]:
    model, inputs = small_model(users=3, history=4)
    return model, inputs.against(_rivals(model.data_module))


def _told(explainer: Explainer, model: Recommender, inputs: Inputs) -> Explanation:
    return ready(explainer, model).explain(model, inputs, logit)


def _near(found: Tensor, expected: Tensor, share: float, complaint: str) -> None:
    """Numbers differ by no more than a share of the largest expected, or of 1."""
    gap = float((found - expected).abs().max())
    limit = share * max(1.0, float(expected.abs().max()))
    assert gap <= limit, f"{complaint}: they differ by {gap:.3g}, more than {limit:.3g}"
