"""Low-rank factorisation: each large weight as the product of two that are smaller together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from xrec import hookimpl
from xrec.compress.compressor import Tell
from xrec.data.module import Data
from xrec.errors import XrecError, nearest
from xrec.models.recommender import Recommender
from xrec.runs.finetuning import finetune
from xrec_plugins.compressors.factored import (
    FactoredLinear,
    FactoredTable,
    factored,
    matrix,
    rounded,
    shaped,
    spectrum,
)
from xrec_plugins.compressors.seen import observe


@dataclass(frozen=True)
class LowRank:
    """Linear maps, by singular value decomposition, as two of a lower rank where that saves.

    Gradients stay true: nothing but the weights is another.

    Options: ratio, the share of a weight's numbers that its factors have, or energy, the share of
    its squared singular values that they keep: one of the two; embeddings, whether tables of
    vectors are factorised too; whiten, to spare what the inputs of a map make most use of, as some
    training batches show it (SVD-LLM, Wang et al., 2024), in place of its largest numbers; epochs
    and lr, of training afterwards, 0 for none; only, the modules to factorise, with all within
    them, by the names that `model.named_modules()` gives, by default all.
    """

    ratio: float | None = None
    energy: float | None = None
    embeddings: bool = False
    whiten: bool = False
    epochs: int = 0
    lr: float = 1e-4
    only: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if (self.ratio is None) == (self.energy is None):
            raise ValueError("one of ratio and energy must be given, and not both")
        for name in ("ratio", "energy"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} is {value}, it must be above 0 and below 1")
        if self.epochs < 0:
            raise ValueError(f"epochs is {self.epochs}, it must not be below 0")
        if not self.lr > 0:
            raise ValueError(f"lr is {self.lr}, it must be above 0")

    def compress(self, model: Recommender, data: Data, tell: Tell) -> Recommender:
        """Factorise what saves numbers. Raises XrecError where nothing does, or `only` names none.

        Weights that are rounded cannot be factorised: an XrecError says so.
        """
        found = self._chosen(model)
        moments = _moments(model, data, found) if self.whiten else {}
        ranks = {}
        for name, module in found.items():
            rank = self._rank(module, moments.get(name))
            if rank:
                model.set_submodule(name, factored(module, rank, moments.get(name)))
                ranks[name] = rank
        if not ranks:
            asked = f"a ratio above {self.ratio}" if self.ratio else f"energy below {self.energy}"
            raise XrecError(
                f"low_rank: none of {len(found)} weights can be smaller as two factors: give "
                f"{asked}, or leave this step out"
            )
        least, most = min(ranks.values()), max(ranks.values())
        tell(f"  {len(ranks)} of {len(found)} weights factorised, of ranks {least} to {most}")
        if self.epochs:
            finetune(model, data, self.epochs, self.lr, tell)
        return model

    def _chosen(self, model: Recommender) -> dict[str, nn.Module]:
        """The modules that may be factorised, by name."""
        every = dict(model.named_modules())
        for name in self.only:
            if name not in every:
                raise XrecError(f"low_rank.only has '{name}': {nearest(name, every.keys() - {''})}")
        found = {
            name: module
            for name, module in every.items()
            if matrix(module) is not None
            and (self.embeddings or not isinstance(module, nn.Embedding))
            and (not self.only or any(f"{name}.".startswith(f"{each}.") for each in self.only))
        }
        for name, module in found.items():
            if rounded(module):
                raise XrecError(
                    f"low_rank: the weight of {name} is in rounded numbers already: put low_rank "
                    "before the step that rounds"
                )
        return found

    def _rank(self, module: nn.Module, moment: Tensor | None) -> int:
        """How many singular values are kept; 0 where the factors would not be smaller."""
        weight = matrix(module)
        assert weight is not None
        whole, each = weight.numel(), sum(weight.shape)
        if self.ratio is not None:
            rank = int(self.ratio * whole / each)
        else:
            assert self.energy is not None
            kept = spectrum(weight, moment).square().cumsum(0)
            rank = 1 + int((kept < self.energy * kept[-1]).sum())
        return rank if rank * each < whole else 0

    def form(self, model: Recommender) -> dict[str, Any]:
        """The rank of each factorised module."""
        made = (FactoredLinear, FactoredTable)
        return {"ranks": {n: m.rank for n, m in model.named_modules() if isinstance(m, made)}}

    def shaped(self, model: Recommender, form: Mapping[str, Any]) -> Recommender:
        """Factors in place of what is not yet factorised."""
        for name, rank in form["ranks"].items():
            module = model.get_submodule(name)
            if not isinstance(module, FactoredLinear | FactoredTable):
                model.set_submodule(name, shaped(module, rank))
        return model


def _moments(model: Recommender, data: Data, modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """(K, K) the sum of the second moments of what each linear map reads; none of tables."""
    sums: dict[str, Tensor] = {}

    def add(name: str, given: Tensor) -> None:
        rows = given.flatten(0, -2).double()
        sums[name] = sums.get(name, 0) + rows.T @ rows

    maps = {name: each for name, each in modules.items() if not isinstance(each, nn.Embedding)}
    observe(model, data, maps, add)
    return sums


@hookimpl
def xrec_compressors() -> dict[str, type]:
    """Offer low-rank factorisation."""
    return {"low_rank": LowRank}
