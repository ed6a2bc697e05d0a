"""What a client does: it trains the model on its own users, and tells the server the weights."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from flwr.app import Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from torch import Tensor

from xrec.data.module import Data
from xrec.models.recommender import Recommender
from xrec.runs import precision
from xrec.runs.finite import finite
from xrec.runs.training import fit_or_stop, new_trainer
from xrec_plugins.privacy.federation import masking
from xrec_plugins.privacy.federation.exchange import (
    CONFIG,
    METRICS,
    NAME,
    WINDOWS,
    Schema,
    clipped,
    flat,
    learned,
    packed,
    put,
    telling,
    told,
    unpacked,
)
from xrec_plugins.privacy.federation.proximal import Proximal
from xrec_plugins.privacy.federation.shards import Shard

FAILED = 2  # Flower's code of an error within a client's app
Answer = Callable[[Message, Context], RecordDict]


@dataclass(frozen=True)
class Participant:
    """A client: its number, the model that it trains in place, its data, and its users (U,)."""

    number: int
    module: Recommender
    data: Data
    users: Tensor


@dataclass(frozen=True)
class Update:
    """The weights after training, by how much they moved (P,), and the windows trained on."""

    weights: dict[str, NDArray[np.float32]]
    moved: NDArray[np.float64]
    windows: int


def client_app(participant: Callable[[Context], Participant]) -> ClientApp:
    """Flower's client app of the participant that a context is of.

    It answers `query.schema` with its number and schema and `train` with its weights, or where
    aggregation is secure `train.setup`, `train.share`, `train.mask` and `train.unmask`.
    """
    app = ClientApp()

    def schema(message: Message, context: Context) -> RecordDict:
        who = participant(context)
        return telling(CONFIG, number=who.number, schema=Schema.of(who.module).text())

    def train(message: Message, context: Context) -> RecordDict:
        update = trained(participant(context), message.content)
        metrics = MetricRecord({WINDOWS: update.windows})
        return RecordDict({NAME: packed(update.weights), METRICS: metrics})

    def mask(message: Message, context: Context) -> RecordDict:
        update = trained(participant(context), message.content)
        clip, weight = told(message.content, CONFIG)["clip"], update.windows
        step = update.moved
        if clip:
            step, weight = clipped(step, clip), 1
        return masking.mask(message, context, step, weight)

    app.query("schema")(discreet(schema))
    app.train()(discreet(train))
    app.train("setup")(discreet(masking.setup))
    app.train("share")(discreet(masking.share))
    app.train("mask")(discreet(mask))
    app.train("unmask")(discreet(masking.unmask))
    return app


def discreet(answer: Answer) -> Callable[[Message, Context], Message]:
    """Let an answer that fails tell the kind of the error alone: its words may be about users."""

    @functools.wraps(answer)
    def answered(message: Message, context: Context) -> Message:
        try:
            return Message(answer(message, context), reply_to=message)
        except Exception as error:
            return Message(Error(FAILED, type(error).__name__), reply_to=message)

    return answered


def trained(who: Participant, content: RecordDict) -> Update:
    """Train as the server asks: its weights, config's `server-round`, `local-epochs` and mu.

    Raises ValueError where the weights are not finite afterwards, and what training raises.
    """
    config = told(content, CONFIG)
    sent, number = unpacked(content.array_records[NAME]), config["server-round"]
    put(who.module, sent)
    shard = Shard(who.data, who.users, number)
    epochs, mu = config["local-epochs"], config["proximal-mu"]
    with torch.random.fork_rng():
        torch.manual_seed(_seed(who.data.seed, number, who.number))
        _train(who.module, shard, epochs, mu)
    if not finite(who.module):
        raise ValueError("the weights are not finite after training")
    weights = learned(who.module)
    return Update(weights, flat(weights) - flat(sent), len(shard.windows()))


def _train(module: Recommender, shard: Shard, epochs: int, mu: float) -> None:
    whole, module.data_module = module.data_module, shard
    try:
        with TemporaryDirectory() as folder:
            trainer = new_trainer(
                [],
                Path(folder),
                max_epochs=epochs,
                gradient_clip_val=module.options.clip,
                reload_dataloaders_every_n_epochs=1,
                num_sanity_val_steps=0,
                limit_val_batches=0,
                callbacks=[Proximal(mu)] if mu else [],
                plugins=[precision.plugin(module.options.precision)],
            )
            fit_or_stop(trainer, module, datamodule=shard)
    finally:
        module.data_module = whole


def _seed(*parts: int) -> int:
    """A seed of what a client draws in a round, as dropout does."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")
