"""LIME, by captum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from captum._utils.models.model import Model
from captum.attr import Lime as CaptumLime
from captum.attr._core.lime import get_exp_kernel_similarity_function
from sklearn.linear_model import LinearRegression, lars_path
from torch import Tensor

from xrec import hookimpl
from xrec.explain.explanation import Explanation
from xrec.explain.masks import BATCH, Found, Masks, check_masks, explain_masks
from xrec.explain.target import Target
from xrec.models.inputs import Inputs
from xrec.models.recommender import Recommender

FITTED = "a line fitted near the row, not a share of the score"


@dataclass(frozen=True)
class Lime:
    """The slopes of a linear model fitted to the score near a row (Ribeiro et al., 2016).

    As published: how many features are taken away is drawn evenly, and then which; a sample weighs
    exp(-d² / 2 width²) at its cosine distance d from the row, and of most features the K-LASSO
    chooses, before the slopes are found by least squares. Nothing is regularised otherwise.

    Options: evaluations, the samples of a row; width, of the kernel, by default what the authors'
    code has for texts; most, the number of features that may have a slope, 0 for all; absent, what
    becomes of a feature; level, whether one is a part (a word) or a whole (its event); seed.

    A slope is not a share of the score. The error is the completeness gap, which shows how far the
    line is from the score between the row and none of its features.
    """

    budget: ClassVar[str] = "evaluations"

    standing: ClassVar[str] = "heuristic"
    excused: ClassVar[dict[str, str]] = {
        "completeness": FITTED,
        "symmetry": "its samples are drawn: twins get the same only on average",
        "dummy": "its samples are drawn: where features interact, a dummy gets nothing only on "
        "average",
    }

    evaluations: int = 512
    width: float = 0.25
    most: int = 0
    absent: str = "remove"
    level: str = "part"
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {"evaluations": (self.evaluations, 2), "most": (self.most, 0)}
        check_masks(self.absent, self.level, **counts)
        if not self.width > 0:
            raise ValueError(f"width is {self.width}, it must be above 0")

    def explain(self, model: Recommender, inputs: Inputs, target: Target) -> Explanation:
        """Explain row after row, as captum advises."""
        game = (model, inputs, target, self.absent, self.level, self.seed)
        return explain_masks("lime", self._attribute, *game)

    def _attribute(self, masks: Masks) -> Found:
        lime = CaptumLime(
            masks.value,
            interpretable_model=Line(self.most or len(masks)),
            similarity_func=get_exp_kernel_similarity_function("cosine", self.width),
            perturb_func=fewer,
        )
        found = lime.attribute(
            masks.everyone,
            baselines=masks.nobody,
            n_samples=self.evaluations,
            perturbations_per_eval=BATCH,
        )
        return Found(found[0])


def fewer(row: Tensor, **how: object) -> Iterator[Tensor]:
    """The row itself, (1, n) of ones, then, without end, rows of which 1 to n are 0."""
    count = row.shape[1]
    yield torch.ones(1, count, dtype=torch.long)
    while True:
        some = torch.ones(1, count, dtype=torch.long)
        gone = int(torch.randint(1, count + 1, ()))
        some[0, torch.randperm(count)[:gone]] = 0
        yield some


class Line(Model):
    """A weighted least squares fit with at most so many slopes, chosen by the K-LASSO."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.slopes = torch.zeros(0)

    def fit(self, train_data: Iterable[list[Tensor]], **_: object) -> None:
        """Fit to batches of masks (N, n), values (N,) and weights (N,)."""
        whole = [torch.cat(parts).double().numpy() for parts in zip(*train_data, strict=True)]
        masks, values, weights = whole
        chosen = self._chosen(masks, values, weights)
        line = LinearRegression().fit(masks[:, chosen], values, sample_weight=weights)
        self.slopes = torch.zeros(masks.shape[1], dtype=torch.double)
        self.slopes[torch.from_numpy(chosen)] = torch.from_numpy(line.coef_)

    def _chosen(self, masks: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The features that the Lasso's path has when it has as many as it may."""
        if self.most >= masks.shape[1]:
            return np.arange(masks.shape[1])
        root = np.sqrt(weights)
        centred = (masks - np.average(masks, axis=0, weights=weights)) * root[:, None]
        heights = (values - np.average(values, weights=weights)) * root
        *_, path = lars_path(centred, heights, method="lasso")
        fits = [at for at in range(path.shape[1]) if (path[:, at] != 0).sum() <= self.most]
        return path[:, fits[-1]].nonzero()[0]

    def representation(self) -> Tensor:
        """(n,) the slopes."""
        return self.slopes

    def __call__(self, x: Tensor) -> Tensor:
        """(N,) what the line says of masks (N, n), its intercept aside."""
        return x.double() @ self.slopes


@hookimpl
def xrec_explainers() -> dict[str, type]:
    """Offer LIME."""
    return {"lime": Lime}
