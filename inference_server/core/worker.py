# SPDX-License-Identifier: AGPL-3.0-or-later
"""Workers: the processes that work on one database."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from inference_server.core.status import DetectorState


class Role(StrEnum):
    """Which parts a process runs."""

    ALL = "all"
    """Everything: one per database."""
    PIPELINE = "pipeline"
    """The stages alone: any number more."""
    DETECTOR = "detector"
    """The detector alone, for servers elsewhere: it works on no database."""
    ANALYST = "analyst"
    """The language model alone, likewise."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A process, as it was last heard of."""

    name: str
    role: Role
    started_at: datetime
    seen_at: datetime
    detector: DetectorState
