"""Where a model may begin: at what is like a user's last events, by what the texts say.

Of the vectors' places the first is for how often an item was had, and the others are for the
texts' principal components. The query asks for the first; the last layer adds the mean of the
events to it. So the untrained state is what everybody likes, and what is like the last events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from xrec_plugins.models.sequential import Layer
    from xrec_plugins.models.views import Views

LENGTH = 9.0  # of the mean text, so that likeness has its say beside how often items were had


@torch.no_grad()
def read_texts(views: Views, texts: Tensor) -> None:
    """Let an item's vector be its text's components; texts (N + 1, E), row 0 padding."""
    found = components(texts[1:], len(views.text.weight) - 1)
    nn.init.zeros_(views.text.weight)
    views.text.weight[1 : 1 + len(found)] = found * LENGTH
    if "identity" in views.chosen:
        nn.init.zeros_(views.identity.weight)


@torch.no_grad()
def recall_events(query: Tensor, layers: Sequence[Layer]) -> None:
    """Let the query (D,) ask for the first place, and the last layer add the events' mean to it.

    An event d events ago weighs 1 / d, whatever it is; profile values, and the query itself, weigh
    as little as the oldest event that can be seen. The layers before change nothing.
    """
    width = len(query)
    query.copy_(functional.one_hot(torch.tensor(0), width))
    for layer in layers:
        for parameter in (*layer.out.parameters(), *layer.feed[-1].parameters()):
            nn.init.zeros_(parameter)
    last = layers[-1]
    for asking in (last.qkv.weight[:width], last.qkv.bias[:width]):
        nn.init.zeros_(asking)  # so that only the distance counts
    rest = torch.diag((torch.arange(width) > 0).float())
    last.qkv.weight[-width:] = last.out.weight[:] = rest
    back = torch.arange(1, last.furthest + 1).log()[:, None]
    last.distance.weight[1:-1] = -back
    last.distance.weight[[0, -1]] = -back[-1]


@torch.no_grad()
def count(views: Views, counts: Tensor) -> None:
    """Put the logarithms of counts (N + 1,), above 0, in the first place of items' identities."""
    told = counts[1:].log()
    views.identity.weight[1:, 0] = told - told.mean()


def components(texts: Tensor, most: int) -> Tensor:
    """(C, E) principal components of texts (N, E), but for what all have in common, their mean.

    Scaled so that what they make of a text has length 1 on average.
    """
    mean = functional.normalize(texts.mean(0), dim=0)
    apart = texts - (texts @ mean)[:, None] * mean
    found = torch.linalg.svd(apart, full_matrices=False).Vh[:most]
    return found / (texts @ found.T).norm(dim=1).mean()
