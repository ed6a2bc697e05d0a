"""The core that every architecture stands on: embed, score, attend, and how they are trained."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import pluggy
import torch
from lightning import LightningModule
from torch import Tensor, nn

from xrec import plugins
from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.errors import XrecError
from xrec.models.attention import Watched
from xrec.models.catalogue import score_each
from xrec.models.encoder import Encoder
from xrec.models.inputs import Inputs
from xrec.models.language import LanguageModel
from xrec.models.losses import Weighting, contrast, regress
from xrec.models.quality import Ranked, ranking_metrics
from xrec.models.rates import groups
from xrec.models.slope import Slope
from xrec.options import TrainOptions


@runtime_checkable
class Settling(Protocol):
    """A part of a model that has a say when all weights are to be the model's own."""

    def settle(self) -> None:
        """Keep them with the model. Raises XrecError where they cannot be changed any more."""


class Recommender(LightningModule):
    """A model of interest: `embed` a batch into named feature vectors, `score` the set of them.

    An architecture gives `embed` and `score`, and `attend` if it attends. It may give a faster
    `catalogue` and a `loss` of its own; the ones here work for any. Where there are several tasks,
    they share all but a head each, and how much each of them weighs in training is learned.
    """

    attends: ClassVar[bool] = False
    #: Groups of slots whose presence leaves all others as they are read: rows of one source that
    #: differ in these alone cost little more than one.
    apart: ClassVar[tuple[int, ...]] = ()

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.data_module = data
        self.options: TrainOptions = data.train
        self.tasks = data.tasks
        self.learned = range(len(self.tasks))  # the tasks that training is for
        self.weighting = Weighting(self.tasks) if len(self.tasks) > 1 else None
        self.hook = plugins.new_manager().hook
        self.slope = Slope()
        self.watching: list[Watched] | None = None  # within `watched`
        self.ranked: Ranked | None = None  # what the last validation or test found
        self.outputs: dict[str, Tensor] = {}  # (U, 2) likewise: what a task says, and its truth
        self._parts: list[Ranked] = []
        self._said: list[Tensor] = []

    def use(self, manager: pluggy.PluginManager) -> None:
        """Call the lifecycle hooks of the plugins on `manager` from now on."""
        self.hook = manager.hook

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy with parameters of its own; data, hooks and trainer are shared with it."""
        memo |= {id(shared): shared for shared in (self.data_module, self.hook, self._trainer)}
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        vars(twin).update(copy.deepcopy(vars(self), memo))
        return twin

    def settle(self) -> None:
        """Let all weights be the model's own, kept with it, for what changes them after training.

        What a language model has learned as adapters is merged into its weights, and those that
        came from its files are in `state_dict` from now on. A part whose weights are fixed may
        raise XrecError.
        """
        for module in self.modules():
            if module is not self and isinstance(module, Settling):
                module.settle()

    def begin_with(self, counts: Tensor) -> None:
        """Begin, before anything is learned, with how often items were had, (N + 1,) above 0.

        Raises XrecError for a model that cannot.
        """
        raise XrecError(f"the model {type(self).__name__} cannot begin with counts of items")

    @abstractmethod
    def embed(self, batch: Batch) -> Inputs:
        """The named feature vectors of each row."""

    @abstractmethod
    def score(self, inputs: Inputs, task: int = 0) -> Tensor:
        """(B,) what a task says: logits, or values where its loss is "mse".

        The first task is what recommendations are made by. Slots that are absent change nothing,
        whatever their values.
        """

    def scores(self, inputs: Inputs, tasks: Sequence[int]) -> list[Tensor]:
        """(B,) what each of some tasks says. A model may find what they share once for all."""
        return [self.score(inputs, at) for at in tasks]

    def attend(self, inputs: Inputs) -> list[Tensor]:
        """Attention of each layer, (B, H, F, F): row f says how slot f looked at the others."""
        raise XrecError(f"the model {type(self).__name__} has no attention to show")

    @contextmanager
    def watched(self) -> Iterator[list[Watched]]:
        """Within, each reading that a score takes adds its attention to the list, with its graph.

        Raises XrecError for a model that does not attend.
        """
        if not self.attends:
            raise XrecError(f"the model {type(self).__name__} has no attention to watch")
        before, self.watching = self.watching, []
        try:
            yield self.watching
        finally:
            self.watching = before

    def exchanged(self, inputs: Inputs, items: Tensor) -> Inputs:
        """The same users' features, present or not, with other items (B,) to be scored.

        Slots of the user stay where they are, with their vectors and gradients; those of the item
        are all there. There may be more or fewer slots than before.
        """
        raise XrecError(f"the model {type(self).__name__} cannot exchange the item of its inputs")

    def padding(self, inputs: Inputs) -> Tensor:
        """(B, F, D) the vectors that these slots would have as padding; zero by default."""
        return torch.zeros_like(inputs.values)

    def choices(self, inputs: Inputs, items: Tensor) -> Tensor:
        """(B, K) what the model says of items (B, K) for the same users' features."""
        each = [self.score(self.exchanged(inputs, column)) for column in items.unbind(1)]
        return torch.stack(each, dim=1)

    def compared(self, inputs: Inputs, items: Tensor) -> Tensor:
        """(B, 1 + K) the score, and what `choices` says of items (B, K).

        A model may read what they share once for all.
        """
        return torch.cat([self.score(inputs)[:, None], self.choices(inputs, items)], dim=1)

    @property
    def layers_read(self) -> Sequence[nn.Module]:
        """The layers that read the slots, first to last, for what looks inside; none by default.

        Each gives states (B, S, D), or a tuple that begins with them, of the S slots from
        `read_from(inputs)` on; the last may give fewer slots, those that the score is made of.
        """
        return ()

    def read_from(self, inputs: Inputs) -> int:
        """The slot that the states of `layers_read` begin with."""
        return 0

    def by_layer(self, inputs: Inputs, items: Tensor) -> list[Tensor]:
        """(B, K) what the model would say of items (B, K) if it ended after each layer.

        The first is what it says before any layer, the last what `choices` says. The state after a
        layer goes through the final norm and head (nostalgebraist, 2020, "the logit lens").

        Raises XrecError for a model without layers to end after.
        """
        raise XrecError(f"the model {type(self).__name__} has no layers to look into")

    def text_part(self, items: Tensor, text: Tensor) -> Tensor:
        """(B, D) what the vectors of their texts (B, E) add to the vectors of items (B,).

        Raises XrecError for a model that does not read texts as vectors.
        """
        raise XrecError(f"the model {type(self).__name__} has no texts within its events")

    def text_vectors(self) -> Tensor:
        """(N + 1, E) the encoder's vector of each item's text, row 0 padding.

        Raises XrecError for a model that keeps none.
        """
        raise XrecError(f"the model {type(self).__name__} keeps no vectors of its items' texts")

    @property
    def reads_with(self) -> LanguageModel | None:
        """The language model that made the texts' vectors, where this model has its own."""
        return None

    @property
    def shortlist(self) -> int:
        """How many other items, at most, a recommendation is compared with."""
        return 500

    def view_shares(self) -> dict[str, Tensor]:
        """(N + 1,) how much each view of an item weighs in it, by name; none if it has no views."""
        return {}

    def notes(self) -> list[str]:
        """Sentences on what people should know of how the model reads the data."""
        return []

    def forward(self, batch: Batch) -> Tensor:
        """(B,) logits of interest; the probability is their sigmoid."""
        return self.score(self.embed(batch))

    def catalogue(self, batch: Batch) -> Tensor:
        """(B, N + 1) logits of every item for each row; column 0 is padding."""
        return score_each(self, batch)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of each task that learns, by its name, for a batch of training windows."""
        return self.pair_losses(batch.pairs(self.tasks))

    def pair_losses(self, pairs: Batch) -> dict[str, Tensor]:
        """The loss of each task that learns, for what `Batch.pairs` gives."""
        assert pairs.label is not None
        every, losses = self.scores(self.embed(pairs), self.learned), {}
        for at, said in zip(self.learned, every, strict=True):
            task, label = self.tasks[at], pairs.label[:, at]
            if task.ranks:
                positive, negative = said.chunk(2)
                losses[task.name] = contrast(task, positive, negative[:, None]).mean()
            else:
                losses[task.name] = regress(task, said, label)
        return losses

    @property
    def mappable(self) -> bool:
        """Whether `mapped_loss` is there to be mapped over."""
        return False

    def mapped_loss(self, batch: Batch) -> dict[str, Tensor]:
        """What `loss` is, of windows as `Data.windows` cuts them, for `torch.func.vmap` to map.

        What is computed does not depend on what a tensor holds. A row of which nothing is `learned`
        counts for nothing, so that batches of several sizes can be mapped over together.
        """
        raise XrecError(f"the loss of the model {type(self).__name__} cannot be mapped over")

    def weighted(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses of tasks as training adds them up."""
        if self.weighting is None or len(losses) < 2:
            return losses
        return self.weighting(losses)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """What the loss of a training step is the sum of, with the terms that plugins add."""
        batch = plugins.chain(self.hook.xrec_batch, batch, module=self, stage="train")
        terms = self.weighted(self.loss(batch))
        for extra in self.hook.xrec_loss(module=self, batch=batch, output=terms):
            terms = {**terms, **extra}
        return terms

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss of one batch, or what a plugin does in its place."""
        taken: Tensor | None = self.hook.xrec_step(module=self, batch=batch)
        if taken is not None:
            return taken
        terms = self.terms(batch)
        total = reduce(add, terms.values())  # of one term, that term: nothing to compute
        self.log("train_loss", total, on_step=False, on_epoch=True, batch_size=len(batch))
        for name in terms if len(terms) > 1 else ():
            self.log(
                f"train_{name}", terms[name], on_step=False, on_epoch=True, batch_size=len(batch)
            )
        return total

    def validation_step(self, batch: Batch, index: int) -> None:
        """Rank the catalogue for each validation user."""
        self._rank(batch, "validate")

    def test_step(self, batch: Batch, index: int) -> None:
        """Rank the catalogue for each test user."""
        self._rank(batch, "test")

    def _rank(self, batch: Batch, stage: str) -> None:
        batch = plugins.chain(self.hook.xrec_batch, batch, module=self, stage=stage)
        scores = self.catalogue(batch)
        seen = self.data_module.left_out(batch.user.cpu(), stage)
        self._parts.append(
            Ranked.of(scores, batch, None if seen is None else seen.to(scores.device))
        )
        if not all(task.ranks for task in self.tasks):
            assert batch.label is not None, "queries have labels"
            said = self.scores(self.embed(batch), range(len(self.tasks)))
            self._said.append(torch.stack([torch.stack(said, dim=1), batch.label], dim=-1))

    def on_validation_epoch_end(self) -> None:
        """Log the ranking metrics of the validation users."""
        self._log_ranks("val")

    def on_test_epoch_end(self) -> None:
        """Log the ranking metrics of the test users."""
        self._log_ranks("test")

    def _log_ranks(self, stage: str) -> None:
        self.ranked = Ranked.joined(self._parts)
        self._parts.clear()
        measured = ranking_metrics(self.ranked.rank)
        self.log_dict({f"{stage}_{name}": value.mean() for name, value in measured.items()})
        said = torch.cat(self._said) if self._said else torch.empty(0, len(self.tasks), 2)
        self._said.clear()
        for at, task in enumerate(self.tasks):
            if not task.ranks:
                self.outputs[task.name] = said[:, at].cpu()
                self.log(f"{stage}_{task.name}_loss", regress(task, *said[:, at].unbind(-1)))

    def configure_optimizers(self) -> Any:
        """AdamW or SGD over the parameters that learn, or what a plugin makes of it."""
        options, decay = self.options, self.options.weight_decay
        learning = groups(self.named_parameters(), options.lr, options.rates)
        optimizer: torch.optim.Optimizer
        if options.optimizer == "adamw":
            optimizer = torch.optim.AdamW(learning, lr=options.lr, weight_decay=decay)
        else:
            optimizer = torch.optim.SGD(
                learning, lr=options.lr, weight_decay=decay, momentum=options.momentum
            )
        changed = self.hook.xrec_optimizer(module=self, optimizer=optimizer, data=self.data_module)
        return changed or optimizer


class Architecture(Protocol):
    """The contract of a model plugin; its fields are its options in the recipe's `model:`."""

    def build(self, data: Data, texts: Tensor, encoder: Encoder) -> Recommender:
        """A fresh model. texts (N + 1, E): the vector of each item, row 0 padding, by `encoder`.

        Raises XrecError where the model cannot work with that encoder.
        """
