"""The course of federated training, as the server conducts it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from flwr.serverapp import Grid
from lightning import Trainer

from xrec.data.module import Data
from xrec.errors import RunError, TrainingError
from xrec.models.recommender import Recommender
from xrec.runs.checkpoint import read, write
from xrec.runs.store import key_of
from xrec.runs.training import BestWeights
from xrec_plugins.privacy.federation.asking import ask, listed
from xrec_plugins.privacy.federation.averaging import Averaging
from xrec_plugins.privacy.federation.exchange import Schema, flat, learned, packed, put, unpacked
from xrec_plugins.privacy.federation.greeting import greet
from xrec_plugins.privacy.federation.masking import LEAST
from xrec_plugins.privacy.federation.noise import Noise
from xrec_plugins.privacy.federation.secure import LostError, SecureSum

if TYPE_CHECKING:
    from xrec_plugins.privacy.federated import Federated

CHECKPOINT = "federation.safetensors"


class Rounds:
    """The rounds of a training: each is an epoch to what watches the trainer.

    After each the model is validated on the run's own validation queries, and where training is
    goes to a file in the trainer's folder, from which a killed one goes on. They end before their
    number where `train.patience` of them brought nothing better.
    """

    def __init__(
        self,
        options: Federated,
        trainer: Trainer,
        module: Recommender,
        data: Data,
        noise: Noise | None,
    ) -> None:
        self.options, self.trainer, self.noise = options, trainer, noise
        self.module, self.data = module, data
        (self.best,) = (each for each in trainer.callbacks if isinstance(each, BestWeights))  # type: ignore[attr-defined]
        self.schema = Schema.of(module)
        self.path = Path(trainer.default_root_dir) / CHECKPOINT
        self.done = self.used = self.stale = 0  # rounds: in all, with an update, since the best
        self.left_out: Counter[str] = Counter()
        self._resume()

    def conduct(self, grid: Grid, context: Context) -> None:
        """Flower's server app: carry out the rounds that are left.

        Raises XrecError where too few clients can take part, or no round gave an update.
        """
        options = self.options
        members = greet(
            grid,
            self.schema,
            options.clients,
            options.secure_aggregation,
            options.timeout,
            self.left_out,
            self.best.tell,
        )
        averaging = Averaging(
            members,
            options.mu,
            options.fraction,
            LEAST if options.secure_aggregation else 1,
            self.data.seed,
            options.far_off,
            self.noise,
        )
        while self.done < options.rounds and self.stale < self.module.options.patience:
            self._carry_out(averaging, grid)
        if not self.used or not self.best.epoch:
            raise TrainingError(
                f"federated: training was of no use: {self.used} of {self.done} rounds gave an "
                f"update, and in none {self.best.monitor} was better than no number at all; left "
                f"out: {listed(self.left_out) or 'none'}"
            )

    def finish(self) -> None:
        """Leave the model with its best weights, and no checkpoint."""
        self.module.load_state_dict(self.best.weights)
        self.path.unlink(missing_ok=True)

    def _carry_out(self, averaging: Averaging, grid: Grid) -> None:
        """One round, from the weights sent to where training is then."""
        self.done += 1
        averaging.left_out = Counter()
        arrays = packed(learned(self.module))
        config = ConfigRecord({"local-epochs": self.options.local_epochs})
        messages = list(averaging.configure_train(self.done, arrays, config, grid))
        gather = _masked if self.options.secure_aggregation else _open
        found = gather(averaging, messages, grid, self.done, self.options)
        if found.weights is not None:
            self.used += 1
            put(self.module, unpacked(found.weights))
        self.left_out += averaging.left_out
        self._validate(found, averaging.left_out)
        write(self._state(), self.path)

    def _validate(self, found: Gathered, left_out: Counter[str]) -> None:
        """Measure the model, remember it if it is the best, and tell how the round went."""
        before = self.best.best
        # The step by which Lightning logs what it validates.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.done
        self.trainer.validate(self.module, datamodule=self.data, verbose=False)
        self.stale += 1
        if self.best.best > before:
            self.best.epoch, self.stale = self.done, 0
        figures = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        counts = {"clients": found.clients, "left_out": sum(left_out.values())}
        self.best.history.append({"epoch": self.done, **figures, **counts})
        monitor = self.best.monitor
        whom = f"; left out: {listed(left_out)}" if left_out.total() else ""
        lost = f"; no update: {found.lost}" if found.lost else ""
        self.best.tell(
            f"  round {self.done}/{self.options.rounds}  {monitor} {figures[monitor]:.4f}  "
            f"{found.clients} clients{whom}{lost}"
        )

    def _state(self) -> dict[str, Any]:
        names = ("done", "used", "stale")
        return {
            "key": self._key(),
            "weights": self.module.state_dict(),
            "best": self.best.state_dict(),
            "left_out": dict(self.left_out),
            **{name: getattr(self, name) for name in names},
        }

    def _key(self) -> str:
        """A digest of what the course depends on."""
        events = self.data.events
        asked = (repr(self.options), asdict(self.module.options), self.data.seed)
        return key_of(*asked, asdict(self.schema), events.item.tolist(), events.start.tolist())

    def _resume(self) -> None:
        """Go on from the checkpoint of an earlier try, if it is of the same course."""
        if not self.path.is_file():
            return
        try:
            state = read(self.path)
        except RunError as error:
            self.best.tell(f"  {error}; training starts again")
            return
        if state.pop("key") != self._key():
            return
        self.module.load_state_dict(state.pop("weights"))
        self.best.load_state_dict(state.pop("best"))
        self.left_out = Counter(state.pop("left_out"))
        vars(self).update(state)
        self.best.tell(f"  going on after round {self.done}")


class Gathered(NamedTuple):
    """What a round gave: the weights after it, of how many clients; or why there are none."""

    weights: ArrayRecord | None
    clients: int
    lost: str = ""


def _open(
    averaging: Averaging, messages: list[Message], grid: Grid, number: int, options: Federated
) -> Gathered:
    """The average of the weights that each client tells."""
    replies = ask(grid, messages, options.timeout, averaging.left_out)
    weights, _ = averaging.aggregate_train(number, replies.values())
    out = sum(averaging.left_out.values())
    lost = "" if weights is not None else "no reply could be used"
    return Gathered(weights, len(messages) - out, lost)


def _masked(
    averaging: Averaging, messages: list[Message], grid: Grid, number: int, options: Federated
) -> Gathered:
    """The average of updates of which the sum alone is known."""
    contents = {message.metadata.dst_node_id: message.content for message in messages}
    size, left_out = flat(averaging.sent).size, averaging.left_out
    secure = SecureSum(grid, contents, size, options.neighbours, options.timeout, left_out)
    try:
        total, weight, clients = secure.total()
    except LostError as lost:
        return Gathered(None, 0, str(lost))
    return Gathered(averaging.released(total, weight), clients)
