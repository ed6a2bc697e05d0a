"""Small federations, and clients that misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from lightning import seed_everything

from xrec.models.recommender import Recommender
from xrec.plugins import factory, new_manager
from xrec.runs.training import fit
from xrec.testing import small_data
from xrec_plugins.privacy.federated import Federated
from xrec_plugins.privacy.federation import masking
from xrec_plugins.privacy.federation.client import discreet
from xrec_plugins.privacy.federation.in_process import InProcess


def small_model(users: int = 30, seed: int = 3, **train: Any) -> Recommender:
    """An untrained model without dropout, the same for the same seed."""
    seed_everything(seed, verbose=False)
    data = small_data(users=users)
    defaults = {"epochs": 1, "batch": 4, "lr": 0.01, "patience": 9, "checkpoint": 0}
    data.train = replace(data.train, **{**defaults, **train})
    encoder = factory("encoder", "hashed")(size=8)
    build = factory("model", "sequential")(width=8, dropout=0.0).build
    return build(data, encoder.encode(data.texts), encoder)


def fitted(
    model: Recommender, folder: Path, *hooks: object, said: list[str] | None = None
) -> list[dict[str, Any]]:
    """Train a model in place as the train stage does, by the hooks' way; each epoch's figures."""
    model.use(new_manager(hooks))
    tell = (said if said is not None else []).append
    return fit(model, model.data_module, [], folder, folder / "checkpoint.safetensors", tell)


def plain(**options: Any) -> Federated:
    """Federated training in which the server sees the updates."""
    return Federated(**{"secure_aggregation": False, "rounds": 1, **options})


Tamper = Callable[[Message, Message], Message | None]


class Tampered(InProcess):
    """A grid whose replies go through `tamper(asked, reply)`; None is a reply that never comes."""

    def __init__(self, app: ClientApp, clients: int, tamper: Tamper) -> None:
        super().__init__(app, clients)
        self.tamper = tamper
        self.sent: list[tuple[Message, Message]] = []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        replies = []
        for message in messages:
            (reply,) = super().send_and_receive([message], timeout=timeout)
            self.sent.append((message, reply))
            changed = self.tamper(message, reply)
            if changed is not None:
                replies.append(changed)
        return replies


def secure_app(updates: dict[int, tuple[np.ndarray, int]]) -> ClientApp:
    """A client app that masks the update and weight of each node."""
    app = ClientApp()

    def mask(message: Message, context: Context) -> RecordDict:
        update, weight = updates[context.node_id]
        return masking.mask(message, context, update, weight)

    app.train("setup")(discreet(masking.setup))
    app.train("share")(discreet(masking.share))
    app.train("mask")(discreet(mask))
    app.train("unmask")(discreet(masking.unmask))
    return app


def with_arrays(reply: Message, change: Callable[[dict[str, np.ndarray]], None]) -> Message:
    """A reply to `train` whose arrays are changed."""
    arrays = {name: value.numpy().copy() for name, value in reply.content["arrays"].items()}
    change(arrays)
    reply.content["arrays"] = ArrayRecord({name: Array(value) for name, value in arrays.items()})
    return reply
