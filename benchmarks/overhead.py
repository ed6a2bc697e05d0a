"""What does xrec cost a training step? xrec's Recommender against a bare LightningModule.

Both have the same network with the same first weights, batches, loss, optimiser and trainer; no
plugin steps in. The bare module's step is the call of the loss and the log of it. Both must learn
the same, to the bit, or the benchmark fails.

The two are trained at once, each by a `trainer.fit` in a thread of its own, but only ever one of
them runs: they take turns, a step each, in the order A B B A A B B A …. So the two steps of a pair
are of the same batch and some milliseconds apart, and a machine that is slower for a while is
slower for both. A step is timed from the moment the trainer gets a batch to that at which it wants
the next: forward, backward, optimiser, log and Lightning's loop.

    python benchmarks/overhead.py [--full]

Ends with JSON: step_ratio, xrec's time a step over the bare module's, median over pairs of steps.
"""

from __future__ import annotations

import gc
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from time import perf_counter, process_time
from typing import Any

import torch
from lightning import Callback, LightningModule
from machine import arguments, compare, finish, header, row, tell_times
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from xrec.data.batches import Batch
from xrec.data.module import Data
from xrec.models.recommender import Recommender
from xrec.options import DataOptions, TrainOptions
from xrec.runs.training import new_trainer
from xrec.testing.world import SmallEncoder
from xrec_plugins.datasets.planted import PlantedWorld
from xrec_plugins.models.sequential import Sequential

SEED = 0
TEXT_SIZE = 384  # of the random vectors that stand in for those of the items' texts
WARM_UP = 20  # first steps, not counted
PATIENCE = 120  # seconds that a side waits for its turn before it gives up
PACKAGES = ("xrec", "torch", "lightning", "pluggy", "numpy")


@dataclass(frozen=True)
class Size:
    """What is trained, and the number of counted steps of each side."""

    world: PlantedWorld
    model: Sequential
    data: DataOptions
    train: TrainOptions
    steps: int


SHORT = Size(
    PlantedWorld(users=300, items=100, seed=SEED),
    Sequential(width=32),
    DataOptions(history=20),
    TrainOptions(batch=16, negatives=32),
    steps=1000,
)
FULL = Size(  # as the quickstart recipe has it
    PlantedWorld(users=2000, seed=SEED),
    Sequential(width=64),
    DataOptions(history=30),
    TrainOptions(),
    steps=1500,
)


class Bare(LightningModule):
    """The network, trained as one would without xrec."""

    def __init__(self, network: Recommender, options: TrainOptions) -> None:
        super().__init__()
        self.network, self.options = network, options

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss of one batch."""
        loss = self.network.loss(batch)["click"]
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        options = self.options
        return torch.optim.AdamW(
            self.parameters(), lr=options.lr, weight_decay=options.weight_decay
        )


class Turns:
    """Whose step is next: nobody's, until every side waits for its first."""

    def __init__(self, order: Sequence[str]) -> None:
        self.order, self.starting = iter(order), set(order)
        self.next: str | None = None
        self.changed = Condition()

    def wait(self, side: str) -> None:
        """Return when it is the turn of `side`."""
        with self.changed:
            if side in self.starting:
                self.starting.remove(side)
                if not self.starting:
                    self._pass_on()
            if not self.changed.wait_for(lambda: self.next == side, timeout=PATIENCE):
                raise TimeoutError(f"the turn of {side} does not come: has the other side failed?")

    def done(self) -> None:
        """The turn is over."""
        with self.changed:
            self._pass_on()

    def _pass_on(self) -> None:
        self.next = next(self.order, None)
        self.changed.notify_all()


class Side(Dataset, Callback):
    """One side: gives its trainer a batch when it is its turn, and times what is made of it."""

    def __init__(self, name: str, module: LightningModule, batches: Sequence[Batch]) -> None:
        self.name, self.module, self.batches = name, module, batches
        self.began: tuple[float, float] | None = None
        self.times: list[tuple[float, float]] = []  # of each step, by the wall and the processor
        self.losses: list[Tensor] = []

    def train(self, turns: Turns, steps: int) -> None:
        """Train for `steps` steps. Not all that the last of them takes is that step's."""
        self.turns, self.steps = turns, steps
        with tempfile.TemporaryDirectory() as folder:
            trainer = new_trainer(
                [],
                Path(folder),
                accelerator="cpu",
                max_epochs=1,
                gradient_clip_val=TrainOptions().clip,
                callbacks=[self],
            )
            trainer.fit(self.module, DataLoader(self, batch_size=None))
        self._end_step()
        self.losses.append(trainer.callback_metrics["train_loss"])

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> Batch:
        """The batch of a step, in its turn; what the step draws follows from its index."""
        self._end_step()
        self.turns.wait(self.name)
        torch.manual_seed(index)
        self.began = perf_counter(), process_time()
        return self.batches[index % len(self.batches)]

    def _end_step(self) -> None:
        if self.began:
            wall, cpu = self.began
            self.times.append((perf_counter() - wall, process_time() - cpu))
            self.began = None
            self.turns.done()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss of a step."""
        self.losses.append(outputs["loss"])


def both(size: Size) -> tuple[Side, Side]:
    """xrec's side and the bare one, of networks that are alike."""
    data = Data(size.world.load(), size.data, size.train, SEED)
    batches = [batch for batch in data.train_dataloader() if len(batch) == size.train.batch]
    texts = torch.randn(len(data.items), TEXT_SIZE, generator=torch.Generator().manual_seed(SEED))
    torch.manual_seed(SEED)
    encoder = SmallEncoder()
    ours, theirs = (size.model.build(data, texts, encoder) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    return Side("xrec", ours, batches), Side("bare", Bare(theirs, size.train), batches)


def check(ours: Side, theirs: Side) -> None:
    """Fail unless both sides did the same work, to the bit, and learned."""
    assert torch.equal(torch.stack(ours.losses), torch.stack(theirs.losses)), "the losses differ"
    pairs = zip(ours.module.named_parameters(), theirs.module.parameters(), strict=True)
    for (name, value), other in pairs:
        assert torch.equal(value, other), f"{name} was learned differently"
    assert ours.losses[-2] < ours.losses[0], "nothing was learned"


def main() -> None:
    """Train both sides in turn, check that they did the same, and tell how long it took."""
    given = arguments("What does xrec cost a training step?")
    size = FULL if given.full else SHORT
    settings = {
        "form": f"{'full' if given.full else 'short'}: {size}",
        "seed": SEED,
        "threads": given.threads,
        "warm-up": f"the first {WARM_UP} steps",
        "repeats": f"{size.steps} pairs of steps",
    }
    header(PACKAGES, settings)
    warnings.filterwarnings("ignore", message=".*no `val_dataloader`.*")
    ours, theirs = both(size)
    steps = WARM_UP + size.steps + 1  # the last is not counted either: it ends with the fit
    turns = Turns([name for step in range(steps) for name in order(step)])
    gc.collect()
    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(side.train, turns, steps) for side in (ours, theirs)]
    for each in running:
        each.result()
    check(ours, theirs)
    counted = range(WARM_UP, steps - 1)
    rows = [
        row(at - WARM_UP, {side.name: side.times[at] for side in (ours, theirs)}) for at in counted
    ]
    tell_times(rows, ("xrec", "bare"))
    ratio = compare(rows, "xrec", "bare")
    finish(given.out / "overhead.csv", rows, {"step_ratio": round(ratio, 4)})


def order(step: int) -> tuple[str, str]:
    """Which side goes first at a step, and which second."""
    return ("bare", "xrec") if step % 2 else ("xrec", "bare")


if __name__ == "__main__":
    main()
