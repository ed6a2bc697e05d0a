"""The gradient explainers keep their contract for each model that there is, and each target."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tongues import bytes_of, saved

from xrec.data.features import BEHAVIOUR
from xrec.data.module import Data
from xrec.data.tasks import KNOWN
from xrec.errors import XrecError
from xrec.explain.explainer import Explainer, Trained
from xrec.explain.target import Target, logit, margin, task
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender
from xrec.testing import check_explainer, gates, small_data, small_model
from xrec.testing.world import SmallEncoder
from xrec_plugins.encoders.pretrained import Pretrained
from xrec_plugins.explainers.adaptive_integrated_gradients import AdaptiveIntegratedGradients
from xrec_plugins.explainers.deep_lift import DeepLift
from xrec_plugins.explainers.gradient_rollout import GradientRollout
from xrec_plugins.explainers.gradient_shap import GradientShap
from xrec_plugins.explainers.gradient_x_input import GradientXInput
from xrec_plugins.explainers.integrated_gradients import IntegratedGradients
from xrec_plugins.explainers.layer_conductance import LayerConductance
from xrec_plugins.explainers.saliency import Saliency
from xrec_plugins.explainers.smoothgrad import SmoothGrad
from xrec_plugins.models.cross_encoder import CrossEncoder
from xrec_plugins.models.sequential import Sequential

USERS = {"baseline": "users", "samples": 2, "background": 4}
EXPLAINERS = {
    "adaptive": lambda: AdaptiveIntegratedGradients(),
    "adaptive, users": lambda: AdaptiveIntegratedGradients(**USERS),
    "deep_lift, mean": lambda: DeepLift(baseline="mean"),
    "gradient_rollout": GradientRollout,
    "gradient_shap": lambda: GradientShap(samples=4, background=4),
    "gradient_x_input": GradientXInput,
    "integrated_gradients, padding": lambda: IntegratedGradients(5, baseline="padding"),
    "integrated_gradients, users": lambda: IntegratedGradients(5, **USERS),
    "layer_conductance": lambda: LayerConductance(steps=4),
    "saliency": Saliency,
    "smoothgrad": lambda: SmoothGrad(samples=3),
}
TARGETS: dict[str, Target] = {"logit": logit, "margin": margin, "rating": task(1)}


def _data() -> Data:
    """The small world in few words, with two tasks."""
    data = small_data(history=4)
    items = data.tables.items.with_columns(text=data.tables.items["title"])
    users = data.tables.users.select("user", "age")
    tables = data.tables.replace(items=items, users=users)
    return Data(tables, data.options, data.train, 0, [KNOWN["click"], KNOWN["rating"]])


@pytest.fixture(scope="module", params=["sequential", "bert", "gpt2"])
def read(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recommender, Inputs]:
    """A model, and what three users are told, with runners-up."""
    data = _data()
    torch.manual_seed(0)
    texts = torch.randn(len(data.items), 8)
    model: Recommender
    if request.param == "sequential":
        model = Sequential(width=8).build(data, texts, SmallEncoder())
    else:
        folder: Path = tmp_path_factory.mktemp(request.param)
        opening = None if request.param == "gpt2" else "<s>"
        encoder = Pretrained(str(saved(request.param, folder, bytes_of(opening))), tune="full")
        options = CrossEncoder(tokens=64, item_tokens=9, retriever={"width": 8})
        model = options.build(data, texts, encoder)
    batch = data.queries("test", torch.tensor([1, 2, 3]))
    rivals = torch.tensor([[4, 5], [9, 1], [2, 3]])
    with torch.no_grad():
        return model, model.eval().embed(batch).against(rivals)


def ready(name: str, model: Recommender) -> Explainer:
    explainer: Explainer = EXPLAINERS[name]()
    if isinstance(explainer, Trained):
        explainer.fit(model, model.data_module)
    return explainer


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_contract(read, name: str, target: str) -> None:
    model, inputs = read
    explainer = ready(name, model)
    check_explainer(explainer, model, inputs, TARGETS[target])
    told = explainer.explain(model, inputs, TARGETS[target])
    assert told.values[inputs.features.group == BEHAVIOUR].any()
    if name.startswith("adaptive"):
        assert told.error.max() < 0.01 + 1e-5


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_row_alone_is_explained_as_among_others(read, name: str) -> None:
    model, inputs = read
    explainer = ready(name, model)
    together = explainer.explain(model, inputs, margin)
    for row in range(3):
        alone = explainer.explain(model, inputs.rows(slice(row, row + 1)), margin)
        assert torch.allclose(alone.values[0], together.values[row], atol=1e-4)
        assert torch.allclose(alone.base[0], together.base[row], atol=1e-4)


def test_padding_is_what_fills_a_row(read) -> None:
    model, inputs = read
    vectors = model.padding(inputs)
    assert vectors.shape == inputs.values.shape
    absent = ~inputs.present & (inputs.features.parent < 0) & inputs.features.fixed
    if hasattr(model, "language"):
        assert absent.any()  # shorter rows are filled
        assert torch.equal(vectors[absent], inputs.values[absent])
    else:
        assert not vectors.any()


@pytest.mark.parametrize("baseline", ["zero", "padding", "mean", "users"])
@pytest.mark.parametrize("made", [IntegratedGradients, AdaptiveIntegratedGradients, DeepLift])
def test_the_gates_with_other_baselines(made, baseline: str) -> None:
    outcomes = gates(made(baseline=baseline, background=8, samples=2))
    excused = {name for name, told in outcomes.items() if told.startswith("excused")}
    assert not any(told.startswith("failed") for told in outcomes.values()), outcomes
    expected = {"mean": {"linear"}, "users": {"linear", "symmetry"}}
    assert excused == expected.get(baseline, set())


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_model_that_lets_no_gradient_through_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = small_model()
    monkeypatch.setattr(type(model), "score", torch.no_grad()(type(model).score))
    explainer = EXPLAINERS[name]()
    with pytest.raises(XrecError, match="lets no gradient through to its inputs: explain it by"):
        if isinstance(explainer, Trained):
            explainer.fit(model, model.data_module)
        explainer.explain(model, inputs, logit)
