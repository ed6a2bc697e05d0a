"""Max-sensitivity: how much an explanation changes when the features barely do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from xrec import hookimpl
from xrec.fidelity.metric import Case
from xrec.fidelity.perturbation import perturbed


@dataclass(frozen=True)
class MaxSensitivity:
    """The largest change of the explanation, by its own length, as vectors move a little.

    Length is Euclidean; the features' vectors move anywhere within a cube around them, by as much
    as `radius` times the root mean square of the row's numbers (Yeh et al., 2019, "On the
    (In)fidelity and Sensitivity of Explanations"). The same moves are put to every explainer; one
    that draws draws as before. NaN where an explanation is all zeros.

    Options: draws, how many moves are tried of each row; radius; rows, how many of the first rows
    the explainer is asked about again; the others are NaN.

    Pitfalls: an explainer that does not look at the vectors has a perfect 0, so that it tells one
    faithful explainer from another, and nothing of faithfulness. Where the score itself is steep, a
    faithful explanation has to change. The maximum of a few draws is below that of the whole cube.
    A vector that moved belongs to no real item.
    """

    measures: ClassVar[Mapping[str, str]] = {"max_sensitivity": "lower"}
    plays: ClassVar[bool] = False
    retells: ClassVar[bool] = True
    sees: ClassVar[Mapping[str, tuple[str, ...]]] = {"max_sensitivity": ("jittery",)}

    draws: int = 5
    radius: float = 0.05
    rows: int = 50

    def __post_init__(self) -> None:
        for name in ("draws", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if not self.radius > 0:
            raise ValueError(f"radius is {self.radius}, it must be above 0")

    def measure(self, case: Case) -> dict[str, Tensor]:
        """(B,) sensitivities; nothing where the explainer cannot be asked again."""
        if case.retelling is None:
            return {}
        few = case.inputs.rows(slice(self.rows))
        told = case.explanation.values[: self.rows]
        rows, slots, width = few.values.shape
        generator = torch.Generator().manual_seed(case.seed)
        noise = torch.rand(rows, self.draws, slots, width, generator=generator) * 2 - 1
        moved = perturbed(few, self.radius * noise)
        again = case.retelling.of(case.model, moved, case.target).values
        change = (again.unflatten(0, (rows, self.draws)) - told[:, None]).norm(dim=2).amax(1)
        length = told.norm(dim=1)
        found = torch.where(length > 0, change / length, torch.nan)
        return {"max_sensitivity": pad(found, (0, len(case.inputs) - rows), value=torch.nan)}


@hookimpl
def xrec_metrics() -> dict[str, type]:
    """Offer max-sensitivity."""
    return {"max_sensitivity": MaxSensitivity}
