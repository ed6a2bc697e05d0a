"""Clients in processes of their own on this machine: Flower's simulation runtime, by Ray."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import ray
from flwr.app import Context
from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation
from flwr.supercore import telemetry

from xrec.errors import XrecError
from xrec_plugins.privacy.federation.client import Participant, client_app

LOOPBACK = "127.0.0.1"


def conduct(
    server: ServerApp, participant: Callable[[Context], Participant], clients: int, processes: int
) -> None:
    """Run a server app with so many clients, of which `processes` train at once.

    participant: what makes the client of a context; it is sent to each process.

    Raises XrecError where Flower or Ray was imported before it could be told to keep to itself, and
    what the server app raises.
    """
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ray.init(
            include_dashboard=False,
            num_cpus=processes,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            _temp_dir=folder,
        )
        try:
            _check_silence()
            client = client_app(functools.partial(_fetched, [ray.put(participant)]))
            resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
            run_simulation(server, client, clients, backend_config=resources)  # type: ignore[arg-type]
        finally:
            ray.shutdown()


def _check_silence() -> None:
    if telemetry.FLWR_TELEMETRY_ENABLED == "1" or ray.util.get_node_ip_address() != LOOPBACK:
        raise XrecError(
            "federated: Flower or Ray was imported before xrec's plugin, and would speak to other "
            "machines: set FLWR_TELEMETRY_ENABLED=0 and RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 in the "
            "environment, or processes to 0"
        )


_here: dict[Any, Callable[[Context], Participant]] = {}  # what was sent to this process


def _fetched(sent: list[Any], context: Context) -> Participant:
    """The client of a context; what all clients have in common is fetched once by each process."""
    (reference,) = sent
    if reference not in _here:
        _here.clear()
        _here[reference] = ray.get(reference)
    return _here[reference](context)
