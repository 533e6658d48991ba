# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the server itself is doing."""

from dataclasses import dataclass
from enum import StrEnum


class DetectorState(StrEnum):
    """Whether pictures are being judged."""

    STARTING = "starting"
    OK = "ok"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class DetectorStatus:
    """The detector in use. `message` says in plain words why it is not the wanted one, and what to do.

    `wanted_provider` is what it should run on, where that is not what it runs on.
    """

    state: DetectorState
    model: str | None = None
    name: str | None = None
    fallback: bool = False
    provider: str | None = None
    message: str | None = None
    wanted_provider: str | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether these are the wanted weights on the wanted device."""
        return not self.fallback and self.wanted_provider is None

    @property
    def judges(self) -> bool:
        """Whether a camera without an open event may be called quiet."""
        return self.state is DetectorState.OK


class AnalystState(StrEnum):
    """Whether a language model explains events."""

    OFF = "off"
    """Nobody wants one."""
    STARTING = "starting"
    OK = "ok"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class AnalystStatus:
    """The language model in use. `message` says what is wrong and what to do."""

    state: AnalystState
    model: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Messages that wait for a stage, those of live pictures among them, and messages that failed for good.

    Neither the timers of open events are among them nor what waits for the analyst: that judged events be explained.
    """

    depth: int
    dead_letters: int
    live: int = 0
