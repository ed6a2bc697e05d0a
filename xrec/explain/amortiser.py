"""A network that predicts, for each recommendation, a game that is like the model's."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from lightning import LightningModule
from torch import Tensor, nn

from xrec.data.features import GROUPS
from xrec.explain.surrogate import ProductGame
from xrec.models.inputs import Inputs

HEADS = 2
PLACES = 64  # told apart, from the last slot of a group on
UNSEEN = -1e9  # added to how much a slot that is absent is looked at
USUAL = 12  # players for which the factors begin as they are


class Slots(NamedTuple):
    """What the network sees of B rows: vectors (B, F, D), and by slot group, presence, players."""

    values: Tensor
    group: Tensor
    present: Tensor
    players: Tensor

    @classmethod
    def of(cls, inputs: Inputs) -> Slots:
        """What inputs tell."""
        return cls(inputs.values, inputs.features.group, inputs.present, inputs.players)


class Predictor(nn.Module):
    """Slots to a `ProductGame`: one layer of attention among the slots that are present.

    Slots are told apart by vector, group, and place in the group, counted from its last. What comes
    out is in units of `unit`, the size of the differences that were learned from; `scale` is that
    of the vectors.
    """

    scale: Tensor
    unit: Tensor

    def __init__(self, size: int, width: int, rank: int) -> None:
        super().__init__()
        self.enter = nn.Linear(size, width)
        self.group = nn.Embedding(len(GROUPS), width)
        self.place = nn.Embedding(PLACES, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.read, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )
        self.weight, self.share = nn.Linear(width, rank), nn.Linear(width, rank)
        nn.init.normal_(self.weight.weight, std=0.3 * width**-0.5)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("unit", torch.ones(()))

    def forward(self, slots: Slots) -> ProductGame:
        """The game of each row."""
        present, players = slots.present, slots.players
        hidden = torch.where(present[..., None], slots.values, 0) / self.scale
        hidden = self.enter(hidden) + self.group(slots.group)
        hidden = hidden + self.place(_places(slots.group, present))
        size = (*hidden.shape[:2], HEADS, -1)
        query, key, value = (
            part.view(size).transpose(1, 2)
            for part in self.read(self.norms[0](hidden)).chunk(3, dim=-1)
        )
        # By hand: of so few slots it is faster than torch's own with a mask.
        unseen = torch.where(present, 0.0, UNSEEN)[:, None, None]
        looks = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + unseen
        hidden = hidden + self.out((looks.softmax(-1) @ value).transpose(1, 2).flatten(2))
        hidden = self.norms[2](hidden + self.feed(self.norms[1](hidden)))
        count = players.sum(1).clamp(min=1)[:, None]
        pooled = (hidden * players[..., None]).sum(1) / count
        # As many factors as there are players: each is nearer to 1 where they are many.
        weight = self.weight(hidden) * (USUAL / count.clamp(min=USUAL)).sqrt()[..., None]
        return ProductGame(weight * players[..., None], self.share(pooled) * self.unit)


def _places(group: Tensor, present: Tensor) -> Tensor:
    """(B, F) how many present slots of the same group come after each."""
    alike = (group[:, :, None] == group[:, None, :]) & present[:, None, :]
    return alike.triu(1).sum(2).clamp(max=PLACES - 1)


class Lesson(LightningModule):
    """Teaches a predictor the differences between coalitions and their complements.

    A batch is of slots, coalitions (B, C, F), that of all the last, and differences (B, C). Only a
    game's odd part matters to Shapley values, so that nothing else is learned. Coalitions of every
    size are as likely, and weigh alike, as in the values. A step takes `some` of the coalitions,
    others in each epoch.
    """

    def __init__(self, predictor: Predictor, steps: int, rate: float, some: int) -> None:
        super().__init__()
        self.predictor, self.steps, self.rate, self.some = predictor, steps, rate, some

    def training_step(self, batch: tuple[Slots, Tensor, Tensor], index: int) -> Tensor:
        """The mean squared error, in squared units."""
        slots, coalitions, differences = batch
        drawn = torch.randperm(coalitions.shape[1] - 1)[: self.some]
        column = torch.cat([drawn, torch.tensor([coalitions.shape[1] - 1])])
        game = self.predictor(slots)
        error = game.differences(coalitions[:, column]) - differences[:, column]
        return (error / self.predictor.unit).square().mean()

    def configure_optimizers(self) -> Any:
        """AdamW whose rate rises and falls once."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.rate, weight_decay=1e-4)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.rate, total_steps=self.steps, pct_start=0.1
        )
        return [optimizer], [{"scheduler": cycle, "interval": "step"}]
