# SPDX-License-Identifier: AGPL-3.0-or-later
"""The broker's contract: messages wait durably for a stage and are delivered at least once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.status import QueueStatus


class StageName(StrEnum):
    """The stages, in the order in which a picture passes them."""

    DETECT = "detect"
    """Subject: a frame. Finds its objects."""
    GATHER = "gather"
    """Subject: a frame. Makes it part of its camera's event and judges that."""
    CLOSE = "close"
    """Subject: an event. Ends it when its time is up."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage is to do: its subject is the id of a frame or an event. One stage does one subject once."""

    stage: StageName
    subject_id: int
    camera_id: str
    available_at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """Work that was claimed. `attempts` counts this delivery too."""

    id: int
    work: Work
    attempts: int
    enqueued_at: datetime


class Broker(Protocol):
    """Holds messages between stages.

    Whatever takes a connection happens in the caller's transaction: a stage's results, its next messages and the end
    of its own message are committed together, so that the effect of a message happens once.
    """

    async def publish(self, connection: AsyncConnection, work: Sequence[Work]) -> None:
        """Add messages; work that waits already gets the new time instead of a second message."""
        ...

    async def complete(self, connection: AsyncConnection, messages: Sequence[Message]) -> None:
        """Remove messages whose work is done."""
        ...

    async def claim(self, stage: StageName, limit: int) -> list[Message]:
        """Take available messages, oldest first; they come back if they are not completed within the lease."""
        ...

    async def release(self, messages: Sequence[Message]) -> None:
        """Give messages back that were not worked on, as if they had not been delivered."""
        ...

    async def retry(self, message: Message, error: str, delay: timedelta) -> None:
        """Give a message back, to be delivered again after a delay."""
        ...

    async def bury(self, message: Message, reason: str) -> None:
        """Make a message a dead letter."""
        ...

    async def recover(self) -> int:
        """Take back what a crashed process had claimed. Return how many messages that were."""
        ...

    async def wait(self, stage: StageName) -> None:
        """Return when a message of the stage may be available."""
        ...

    def notify(self) -> None:
        """Wake whoever waits: call it after the commit of a transaction that published."""
        ...

    async def frames_wait(self, connection: AsyncConnection, camera_id: str) -> bool:
        """Return whether frames of a camera wait for a stage or are in one."""
        ...

    async def status(self) -> QueueStatus:
        """Return how much waits and how much is dead."""
        ...
