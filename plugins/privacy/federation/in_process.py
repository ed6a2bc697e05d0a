"""Clients that train one after the other in this process: Flower's apps without its network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

FAILED = 0  # Flower's code of an error of an unknown kind


class InProcess(Grid):
    """A grid whose node n, from 1, is the client n - 1; it answers as soon as it is asked."""

    def __init__(self, app: ClientApp, clients: int) -> None:
        self.app = app
        self.replies: dict[str, Message] = {}
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1 << 32
        self.contexts = {
            node: context(node, {"partition-id": node - 1, "num-partitions": clients})
            for node in range(1, clients + 1)
        }

    def set_run(self, run: Run) -> None:
        """There is one run alone."""

    @property
    def run(self) -> Run:
        """The one run."""
        return Run.create_empty(run_id=TaskIdentity.run_id)

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """A message, in the way that Flower has given up."""
        return Message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        """The nodes."""
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Have each message answered; the ids to pull the replies by."""
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = str(uuid4())
            ids.append(message.metadata.message_id)
            self.replies[ids[-1]] = self._answer(message)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies to the messages with these ids."""
        return [self.replies.pop(name) for name in message_ids if name in self.replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """The replies to messages: none is late, as each client is waited for."""
        return self.pull_messages(self.push_messages(messages))

    def _answer(self, message: Message) -> Message:
        try:
            return self.app(message, self.contexts[message.metadata.dst_node_id])
        except Exception as error:
            return Message(Error(FAILED, type(error).__name__), reply_to=message)


def context(node: int, config: dict[str, Any]) -> Context:
    """The context of a node that is to know `config`."""
    return Context(1, node, config, RecordDict(), {})


def conduct(server: ServerApp, client: ClientApp, clients: int) -> None:
    """Run a server app with so many clients."""
    server(InProcess(client, clients), context(0, {}))
