"""Where the clients are: in this process, in others of this machine, or connected to it."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from torch import Tensor

from xrec import plugins
from xrec.data.module import Data
from xrec.models.recommender import Recommender
from xrec_plugins.privacy.federation import in_process
from xrec_plugins.privacy.federation.client import Participant, client_app
from xrec_plugins.privacy.federation.shards import deal

_grid: ContextVar[Grid | None] = ContextVar("grid", default=None)


@contextmanager
def connected(grid: Grid) -> Iterator[None]:
    """Within, clients are those that Flower's grid reaches, and not made here."""
    token = _grid.set(grid)
    try:
        yield
    finally:
        _grid.reset(token)


def conduct(
    main: Callable[[Grid, Context], None],
    module: Recommender,
    data: Data,
    clients: int,
    processes: int,
) -> None:
    """Carry out what a server does, with clients that are connected or made of the data's users.

    Raises XrecError where there are fewer users than clients, or Ray is needed and lacking, and
    what `main` raises.
    """
    server = ServerApp()
    server.main()(main)
    grid = _grid.get()
    if grid is not None:
        server(grid, in_process.context(0, {}))
        return
    participant = functools.partial(dealt, copy.deepcopy(module), data, deal(data, clients))
    with _quiet():
        if not processes:
            in_process.conduct(server, client_app(participant), clients)
            return
        try:
            from xrec_plugins.privacy.federation import simulation
        except ModuleNotFoundError as error:
            who = "mechanism 'federated' with processes"
            raise plugins.lacking(who, error, extra="flwr") from error
        simulation.conduct(server, participant, clients, processes)


def dealt(module: Recommender, data: Data, shares: list[Tensor], context: Context) -> Participant:
    """The client of a context's `partition-id`, that has the users of this share alone."""
    number = int(context.node_config["partition-id"])
    return Participant(number, module, data, shares[number])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Flower's log, which tells errors of clients in full, to itself."""
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
