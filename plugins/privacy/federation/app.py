"""Server and clients as apps that Flower runs on machines of their own, each from a recipe there.

The server's run configuration has `recipe`, a recipe with the mechanism `federated`, and `out`, the
folder of runs; a client's node configuration has its own `recipe` and `out`. A client trains on
all users of its data, or where it has `partition-id` and `num-partitions` on one share of them.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from flwr.app import Context, UserConfig
from flwr.serverapp import Grid, ServerApp
from lightning import seed_everything

from xrec.data.module import Data
from xrec.errors import RunError
from xrec.models.recommender import Recommender
from xrec.recipe import Recipe
from xrec.runs.pipeline import prepare, run
from xrec.runs.run import Run
from xrec_plugins.privacy.federation.client import Participant, client_app
from xrec_plugins.privacy.federation.conducting import connected
from xrec_plugins.privacy.federation.shards import deal

server = ServerApp()


@server.main()
def serve(grid: Grid, context: Context) -> None:
    """Carry out the server's recipe, whose training is that of the clients which are connected."""
    recipe, out = _given(context.run_config)
    with connected(grid):
        made = run(Recipe.load(recipe), out, lambda text: print(text, flush=True))
    print(f"the run is in {made.folder}", flush=True)


def participant(context: Context) -> Participant:
    """The client of a node's configuration; its data and model are made once by each process."""
    config = context.node_config
    module, data = _prepared(*_given(config))
    number, count = int(config.get("partition-id", 0)), int(config.get("num-partitions", 1))
    users = deal(data, count)[number] if count > 1 else torch.arange(1, len(data.users))
    return Participant(number, module, data, users)


@functools.cache
def _prepared(path: str, out: str) -> tuple[Recommender, Data]:
    """The model and data of a recipe. Its clean data and encoded texts are kept under `out`."""
    recipe = Recipe.load(path)
    work = Run(recipe, Path(out) / recipe.name / recipe.digest()[:10])
    with work.store.alone():
        work.store.begin(recipe.resolved)
        prepare(work)
    seed_everything(recipe.seed, verbose=False)
    return work.fresh_model(), work.data


def _given(config: UserConfig) -> tuple[str, str]:
    """The recipe and folder that a configuration names. Raises RunError where it does not."""
    for key in ("recipe", "out"):
        if not config.get(key):
            raise RunError(f"federated: the configuration of this app lacks '{key}'")
    return str(config["recipe"]), str(config["out"])


client = client_app(participant)
