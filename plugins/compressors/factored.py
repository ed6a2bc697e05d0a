"""Weights as a product of two smaller ones, by the singular values that matter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers.pytorch_utils import Conv1D

FLOOR = 1e-6  # of the mean second moment: added to each, as data may not reach all directions


class FactoredLinear(nn.Module):
    """A linear map from K to N numbers by way of `rank` of them."""

    def __init__(self, wide: int, rank: int, out: int, bias: bool) -> None:
        super().__init__()
        self.rank = rank
        self.down, self.up = nn.Linear(wide, rank, bias=False), nn.Linear(rank, out, bias=bias)

    def forward(self, given: Tensor) -> Tensor:
        """(…, N) for (…, K)."""
        found: Tensor = self.up(self.down(given))
        return found


class FactoredTable(nn.Embedding):
    """A table of vectors (V, D) as vectors (V, rank) and a linear map of these."""

    def __init__(self, rows: int, rank: int, width: int, padding_idx: int | None) -> None:
        super().__init__(rows, rank, padding_idx)
        self.rank = rank
        self.up = nn.Linear(rank, width, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """(…, D) the vectors of ids (…) int64."""
        vectors: Tensor = self.up(super().forward(input))
        return vectors


Factored = FactoredLinear | FactoredTable


def matrix(module: nn.Module) -> Tensor | None:
    """(N, K) the weight of a linear map, or (V, D) of a table; None of any other module.

    None too of kinds that torch makes of these, whose owners read the weight itself.
    """
    if type(module) in (nn.Linear, nn.Embedding):
        return _weight(module)
    if type(module) is Conv1D:  # GPT-2's: it keeps its weight (K, N)
        return _weight(module).T
    return None


def _weight(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def rounded(module: nn.Module) -> bool:
    """Whether a weight is kept in rounded numbers, which have no singular values of their own."""
    own = module.parameters(recurse=False)
    return any(is_traceable_wrapper_subclass(p) or not p.is_floating_point() for p in own)


def spectrum(weight: Tensor, moment: Tensor | None = None) -> Tensor:
    """Singular values, largest first, of a weight (N, K) as inputs of a second moment see it."""
    return torch.linalg.svdvals(_whitened(weight, moment)[0])


def truncated(weight: Tensor, rank: int, moment: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(N, rank) and (rank, K) whose product is nearest to a weight (N, K), in double precision.

    Without a moment, nearest in the Frobenius norm (Eckart and Young, 1936). With the second moment
    (K, K) of inputs x, it is ‖(W - AB) x‖ that is least on average: the weight is multiplied with a
    square root of the moment, truncated, and divided by it again (SVD-LLM, Wang et al., 2024). The
    singular values are shared evenly between the two, so that both learn at one pace.
    """
    whole, root = _whitened(weight, moment)
    left, values, right = torch.linalg.svd(whole, full_matrices=False)
    even = values[:rank].sqrt()
    down = even[:, None] * right[:rank]
    if root is not None:
        down = torch.linalg.solve_triangular(root, down, upper=False, left=False)
    return left[:, :rank] * even, down


def _whitened(weight: Tensor, moment: Tensor | None) -> tuple[Tensor, Tensor | None]:
    weight = weight.double()
    if moment is None:
        return weight, None
    moment = moment.double()
    floor = FLOOR * moment.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
    root = torch.linalg.cholesky(moment + floor * torch.eye(len(moment), dtype=torch.double))
    return weight @ root, root


def shaped(module: nn.Module, rank: int) -> Factored:
    """The two factors of a module, their weights not filled in."""
    weight = matrix(module)
    assert weight is not None
    if isinstance(module, nn.Embedding):
        made: Factored = FactoredTable(len(weight), rank, weight.shape[1], module.padding_idx)
    else:
        has_bias = getattr(module, "bias", None) is not None
        made = FactoredLinear(weight.shape[1], rank, len(weight), has_bias)
    return made.to(weight).train(module.training)


@torch.no_grad()
def factored(module: nn.Module, rank: int, moment: Tensor | None = None) -> Factored:
    """A module by two factors, as `truncated` finds them. Its bias stays."""
    made, weight = shaped(module, rank), matrix(module)
    assert weight is not None
    left, right = truncated(weight, rank, moment)
    if isinstance(made, FactoredTable):
        made.weight.copy_(left.masked_fill(~weight.any(1, keepdim=True), 0))  # padding stays 0
        made.up.weight.copy_(right.T)
    else:
        made.down.weight.copy_(right)
        made.up.weight.copy_(left)
        if isinstance(module.bias, Tensor):
            made.up.bias.copy_(module.bias)
    return made
