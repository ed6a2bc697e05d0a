"""The views of an item, text, identity and attributes, fused into its vector by learned weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xrec.data.module import Data
from xrec.errors import XrecError

VIEWS = ("text", "identity", "attributes")


class Views(nn.Module):
    """V slots of one width for each item, which add up to its vector.

    The slots are, of the views that are chosen, the item's text, as the encoder reads it,
    projected; its identity, a vector of its own; and a vector for each of its K attribute values.
    Each is multiplied with its weight: the softmax, over the views that the item has, of what a
    learned gate makes of each, times their number, so that every weight begins as 1.
    """

    attributes: Tensor

    def __init__(self, chosen: Sequence[str], data: Data, text_width: int, width: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.register_buffer("attributes", data.attributes.values, persistent=False)
        if "text" in chosen:
            self.text = nn.Linear(text_width, width, bias=False)
            nn.init.normal_(self.text.weight, std=width**-0.5)  # texts have length 1
        if "identity" in chosen:
            self.identity = nn.Embedding(len(data.items), width, padding_idx=0)
        if "attributes" in chosen:
            self.attribute = nn.Embedding(len(data.attributes.names), width, padding_idx=0)
        for table in ("identity", "attribute"):
            if hasattr(self, table):
                nn.init.normal_(getattr(self, table).weight, std=width**-0.5)
                nn.init.zeros_(getattr(self, table).weight[0])
        self.gate = nn.Linear(width, 1, bias=False)
        self.kind = nn.Parameter(torch.zeros(len(chosen)))  # the gate's bias of each view
        nn.init.zeros_(self.gate.weight)
        self.names = ("text", "identity", *data.attributes.names[1:])

    @property
    def _wide(self) -> list[int]:
        """The number of slots of each view."""
        return [self.attributes.shape[1] if v == "attributes" else 1 for v in self.chosen]

    @property
    def slots(self) -> int:
        """V, the number of slots."""
        return sum(self._wide)

    def forward(self, texts: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted vectors (…, V, D) and presence (…, V) of items (…); texts (N + 1, E)."""
        vectors, present = self._plain(texts, items)
        count = present.sum(-1, keepdim=True)
        return vectors * (self._shares(vectors, present) * count)[..., None], present

    def shares(self, texts: Tensor, items: Tensor) -> dict[str, Tensor]:
        """(…,) the share of each view, all its slots together, in items (…); they sum to 1."""
        each = self._shares(*self._plain(texts, items)).split(self._wide, dim=-1)
        return dict(zip(self.chosen, (share.sum(-1) for share in each), strict=True))

    def by_text(self, texts: Tensor, items: Tensor, text: Tensor) -> Tensor:
        """(…, D) what another vector of its text (…, E) makes of the slot of each item's text.

        By the weight that the item's own text has. Raises XrecError: texts are not among the views.
        """
        if "text" not in self.chosen:
            raise XrecError(
                "model.views has no 'text': the words of an event are none of what the model reads"
            )
        vectors, present = self._plain(texts, items)
        weight = self._shares(vectors, present) * present.sum(-1, keepdim=True)
        at = self.chosen.index("text")  # attributes, which take several slots, come last
        told: Tensor = weight[..., at, None] * self.text(text)
        return told

    def keys(self, items: Tensor) -> Tensor:
        """(…, V) int64 indices into `names` of the slots of items (…)."""
        fixed = [VIEWS.index(view) for view in self.chosen if view != "attributes"]
        keys = torch.tensor(fixed, device=items.device).expand(*items.shape, -1)
        if "attributes" not in self.chosen:
            return keys
        values = self.attributes[items]
        return torch.cat([keys, torch.where(values > 0, values + 1, 0)], dim=-1)

    def _plain(self, texts: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        vectors, present = [], []
        real = (items > 0)[..., None]
        for view in self.chosen:
            if view == "attributes":
                values = self.attributes[items]
                vectors.append(self.attribute(values))
                present.append(values > 0)
            else:
                one = self.text(texts[items]) if view == "text" else self.identity(items)
                vectors.append(one[..., None, :])
                present.append(real)
        return torch.cat(vectors, dim=-2), torch.cat(present, dim=-1)

    def _shares(self, vectors: Tensor, present: Tensor) -> Tensor:
        bias = self.kind.repeat_interleave(torch.tensor(self._wide, device=vectors.device))
        pull = self.gate(vectors)[..., 0] + bias
        shares = pull.masked_fill(~present, -torch.inf).softmax(-1)
        return torch.where(present, shares, 0)  # of an item without views, NaN
