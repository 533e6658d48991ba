# SPDX-License-Identifier: AGPL-3.0-or-later
"""The broker's contract: messages wait durably for a stage and are delivered at least once."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.message import Failure, Message, StageName, Work
from inference_server.core.status import QueueStatus


class BrokerDownError(OSError):
    """The messages cannot be delivered now: wait, and try again. None is lost."""


class Transaction(Protocol):
    """A stage's results, its next messages and the end of its own ones, committed together or not at all."""

    @property
    def connection(self) -> AsyncConnection:
        """Where the results are written."""
        ...

    async def publish(self, work: Sequence[Work]) -> None:
        """Add messages; work that waits already gets the new time instead of a second message."""
        ...

    async def wish(self, work: Sequence[Work]) -> None:
        """Add messages; work that waits or is being done already stays as it is, and at most becomes more urgent."""
        ...

    async def complete(self, messages: Sequence[Message]) -> None:
        """End messages whose work is done. Raises MessageTakenError if another worker has taken one over."""
        ...


class Broker(Protocol):
    """Holds messages between stages. Delivery is at least once; `Transaction.complete` makes the effect happen once."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Give a transaction; after its commit, whoever waits for what it published is woken."""
        ...

    async def claim(self, stage: StageName, limit: int) -> list[Message]:
        """Take available messages, the most urgent first and the cameras in rotation. They come back if they are not
        completed before their lease ends, which `run` prolongs as long as this process lives."""
        ...

    async def wait(self, stage: StageName) -> None:
        """Return when a message of the stage may be available."""
        ...

    async def release(self, messages: Sequence[Message]) -> None:
        """Give messages back that were not worked on, as if they had not been delivered."""
        ...

    async def forget(self, messages: Sequence[Message]) -> None:
        """Note that messages turned out to be done, or another worker's."""
        ...

    def abandon(self, messages: Sequence[Message]) -> None:
        """Note that nobody works on these messages any more: they come back when their lease is over."""
        ...

    async def retry(self, message: Message, error: str, delay: timedelta) -> None:
        """Give a message back, to be delivered again after a delay."""
        ...

    async def bury(self, message: Message, failure: Failure) -> None:
        """Make a message a dead letter."""
        ...

    async def replay(self, letter_ids: Sequence[int]) -> int:
        """Send dead letters back to their stages. Return how many there were."""
        ...

    async def recover(self) -> int:
        """Take back what this worker has claimed: at its start, after a crash, and at its end. Return how many."""
        ...

    async def run(self) -> None:
        """Keep this worker's leases, and do what else has to be done now and then, until cancelled."""
        ...

    async def close(self) -> None:
        """Give its own connections up."""
        ...

    async def frames_wait(self, connection: AsyncConnection, camera_id: str) -> bool:
        """Return whether live frames of a camera wait for a stage or are in one."""
        ...

    async def status(self) -> QueueStatus:
        """Return how much waits and how much is dead."""
        ...
