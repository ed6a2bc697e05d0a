"""The data of a run as the model sees them: vocabularies, training windows, ranking queries."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from xrec.data.batches import Batch
from xrec.data.features import Attributes, Vocabulary
from xrec.data.split import HELD_OUT, Events
from xrec.data.tables import Tables
from xrec.data.tasks import CLICK, Task
from xrec.data.truths import truths
from xrec.errors import DataError
from xrec.options import DataOptions, TrainOptions

QUERY_BATCH = 256  # users ranked at once


class Data(LightningDataModule):
    """Clean tables, indexed and split by leave-last-out, in the order of time or in a random one.

    users, items, actions: vocabularies. profile, attributes: what is known of users and items.
    events: everything that happened, by user and time. tasks: what is predicted of an event;
    truth (E, T) float: the truth of each of them.

    Raises DataError where a user has too few events to split, or one without a time to split by,
    or where a task has no truth.
    """

    def __init__(
        self,
        tables: Tables,
        options: DataOptions,
        train: TrainOptions,
        seed: int = 0,
        tasks: Sequence[Task] = (CLICK,),
    ) -> None:
        super().__init__()
        short = tables.interactions.filter(pl.len().over("user") <= HELD_OUT["train"])["user"]
        if len(short):
            raise DataError(
                f"user '{short[0]}' has fewer than {HELD_OUT['train'] + 1} events, and to train, "
                "validate and test needs one each: leave data.clean at default"
            )
        in_time = options.split == "leave_last_out"
        if in_time and (untimed := tables.interactions["time"].null_count()):
            raise DataError(
                f"{untimed:,} of {len(tables.interactions):,} events have no time, and "
                "leave_last_out splits by it: set data.split to leave_random_out"
            )
        self.tables, self.options, self.train, self.seed = tables, options, train, seed
        self.tasks = tuple(tasks)
        self.users = Vocabulary(sorted(tables.interactions["user"].unique()), "user")
        self.items = Vocabulary(tables.items["item"], "item")
        self.actions = Vocabulary(
            sorted(tables.interactions["action"].drop_nulls().unique()), "action"
        )
        self.profile = Attributes.of(tables.users, self.users, "user", ["user"])
        self.attributes = Attributes.of(tables.items, self.items, "item", ["item", "title", "text"])
        order = None if in_time else seed
        self.events = Events.of(tables.interactions, self.users, self.items, self.actions, order)
        self.truth = truths(self.tasks, self.events, self.actions)

    def among(self, users: Tensor) -> Data:
        """The data of some users (B,), in ascending order, as if nobody else had done anything.

        Items, actions and attribute values are still called by the same indices, so that a model
        of the one can be asked about queries of the other; users are counted anew.
        """
        twin = copy.copy(self)
        twin.users = Vocabulary([self.users.ids[user] for user in users.tolist()], "user")
        events = self.tables.interactions.filter(pl.col("user").is_in(twin.users.ids[1:]))
        twin.tables = self.tables.replace(interactions=events)
        rows = torch.cat([torch.zeros(1, dtype=torch.long), users])
        twin.profile = replace(self.profile, values=self.profile.values[rows])
        twin.events, kept = self.events.among(users)
        twin.truth = self.truth[kept]
        return twin

    def known(self, task: int) -> Tensor:
        """(M,) the truths of a task, by its place among `tasks`, of the training events."""
        truth = self.truth[self._training, task]
        return truth[~truth.isnan()]

    @property
    def counts(self) -> Tensor:
        """(N + 1,) how often each item was had in training."""
        return torch.bincount(self.events.item[self._training], minlength=len(self.items))

    @property
    def _training(self) -> Tensor:
        """(E,) bool: the events that are not held out."""
        train = torch.ones(len(self.events.item), dtype=torch.bool)
        for held_out in range(1, HELD_OUT["train"] + 1):
            train[self.events.start[2:] - held_out] = False
        return train

    @property
    def titles(self) -> list[str]:
        """What a person calls each item; titles[0] is padding."""
        return ["", *self.tables.items["title"]]

    @property
    def texts(self) -> list[str]:
        """What the encoder reads of each item; texts[0] is padding."""
        return ["", *self.tables.items["text"]]

    def queries(self, stage: str, users: Tensor | None = None) -> Batch:
        """One ranking query a user: the history before the held-out event, and that event's item.

        stage is "validate" or "test", or "train", where it is the last event that is trained on;
        users (B,) int64, all by default. The label is what the tasks know of that event.
        """
        users = torch.arange(1, len(self.users)) if users is None else users
        ends = self.events.start[users + 1] - HELD_OUT[stage] - 1
        batch = self._window(users, self.events.start[users], ends, self.events.item[ends])
        return replace(batch, label=self.truth[ends])

    def latest(self, users: Tensor, candidate: Tensor) -> Batch:
        """Queries with everything that users (B,) have done as their history, to look ahead."""
        return self._window(
            users, self.events.start[users], self.events.start[users + 1], candidate
        )

    def _window(self, users: Tensor, starts: Tensor, ends: Tensor, candidate: Tensor) -> Batch:
        """Batch with the last `history` events before `ends`, padded on the left."""
        at, real = self._places(starts, ends)
        history, time, action = (
            torch.where(real, column[at], 0)
            for column in (self.events.item, self.events.time, self.events.action)
        )
        return Batch(users, history, time, action, self.profile.values[users], candidate)

    def _places(self, starts: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B, L) of the last `history` events before `ends`, and which are there."""
        length = self.options.history
        at = ends[:, None] - length + torch.arange(length)
        return at.clamp(min=0), at >= starts[:, None]

    def seen(self, users: Tensor, stage: str) -> Tensor:
        """(B, N + 1) bool: items that each user has had before the stage's held-out event."""
        marks = torch.zeros(len(users), len(self.items), dtype=torch.bool)
        hidden = HELD_OUT[stage] + (stage != "train")
        for row, user in enumerate(users.tolist()):
            begin, end = self.events.span(user)
            marks[row, self.events.item[begin : end - hidden]] = True
        return marks

    def left_out(self, users: Tensor, stage: str) -> Tensor | None:
        """What is not ranked for users at a stage: what they have `seen`, if that is excluded."""
        return self.seen(users, stage) if self.options.exclude_seen else None

    def windows(self, users: Tensor | None = None) -> Batch:
        """The training windows of users (U,) int64, all by default.

        A long history is cut into windows that overlap by half.

        `learned` marks each event in just one window, that in which the most comes before it. The
        first window of a history is half a window, so that all learn from their later half alone.
        """
        length = self.options.history
        step = max(1, length // 2)
        whose = range(1, len(self.users)) if users is None else users.tolist()
        owners, ends, fresh = [], [], []
        for user in whose:
            begin, end = self.events.span(user)
            end -= HELD_OUT["train"]
            stop, done = min(begin + step, end), begin
            while done < end:
                owners.append(user)
                ends.append(stop)
                fresh.append(stop - done)
                done, stop = stop, min(stop + step, end)
        index, stops = torch.tensor(owners), torch.tensor(ends)
        begins = self.events.start[index]
        batch = self._window(index, begins, stops, self.events.item[stops - 1])
        at, real = self._places(begins, stops)
        truth = torch.where(real[..., None], self.truth[at], 0)
        first_new = length - torch.tensor(fresh)
        learned = torch.arange(length)[None, :] >= first_new[:, None]
        return replace(batch, learned=learned, truth=truth)

    def negatives(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """(B, N) items drawn uniformly from those that users (B,) do not have in training."""
        weight = (~self.seen(users, "train")).float()
        weight[:, 0] = 0
        weight[weight.sum(1) == 0, 1:] = 1  # a user who has had everything
        count = self.train.negatives
        return torch.multinomial(weight, count, replacement=True, generator=generator)

    def train_dataloader(self) -> Iterable[Batch]:
        """Training windows in a new order, with new negatives, for the trainer's present epoch.

        Or what a plugin gives in their place.
        """
        epoch = self.trainer.current_epoch if self.trainer else 0
        module = getattr(self.trainer, "lightning_module", None)
        given: Iterable[Batch] | None = module and module.hook.xrec_batches(
            module=module, data=self, epoch=epoch
        )
        return _Windows(self, epoch) if given is None else given

    def val_dataloader(self) -> DataLoader:
        """Validation queries: of `train.validate` users, the same in every epoch, or of all."""
        generator = torch.Generator().manual_seed(self.seed)
        users = 1 + torch.randperm(len(self.users) - 1, generator=generator)
        some = users[: self.train.validate or None].sort().values
        return DataLoader(_Queries(self, "validate", some), batch_size=None)

    def test_dataloader(self) -> DataLoader:
        """Test queries."""
        return DataLoader(_Queries(self, "test", torch.arange(1, len(self.users))), batch_size=None)


class _Windows:
    """One epoch of training batches: order and negatives follow from the seed and the epoch.

    Its state, by Lightning's protocol for loaders, says how many batches were served, so that the
    rest of an epoch can be served by another process. It has a length, as without one Lightning
    fetches a batch ahead; and it is no DataLoader, as one draws from the global generator each time
    that it is begun.
    """

    def __init__(self, data: Data, epoch: int) -> None:
        self.data = data
        self.windows = data.windows()
        self.seed = data.seed * 1_000_003 + epoch
        self.generator = torch.Generator()
        self.served = 0
        self._before: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return math.ceil(len(self.windows) / self.data.train.batch)

    def __iter__(self) -> Iterator[Batch]:
        # Seeded here, as Lightning may begin to iterate more than once an epoch.
        self.generator.manual_seed(self.seed)
        order = torch.randperm(len(self.windows), generator=self.generator)
        self.served = 0
        if self._before:
            self.served = self._before["served"]
            self.generator.set_state(self._before["generator"])
            self._before = None
        for index in order.split(self.data.train.batch)[self.served :]:
            batch = self.windows.rows(index)
            negatives = self.data.negatives(batch.user, self.generator)
            self.served += 1
            yield replace(batch, negatives=negatives)

    def state_dict(self) -> dict[str, Any]:
        """Where the epoch is: batches served, and the generator's state after the last of them."""
        return {"served": self.served, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Serve, the next time only, the batches after those of `state`."""
        self._before = state


class _Queries(IterableDataset):
    """The queries of users at a stage, in order."""

    def __init__(self, data: Data, stage: str, users: Tensor) -> None:
        self.data, self.stage, self.users = data, stage, users

    def __iter__(self) -> Iterator[Batch]:
        for users in self.users.split(QUERY_BATCH):
            yield self.data.queries(self.stage, users)
