# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a rule says of an event or of one object in it."""

from collections.abc import Callable
from dataclasses import dataclass

from inference_server.risk.evidence import Evidence, Subject
from inference_server.risk.weights import Weights


@dataclass(frozen=True, slots=True)
class Finding:
    """Points for a reason."""

    points: int
    evidence: str


type OfSubject = Callable[[Subject, Evidence, Weights], Finding | None]
type OfEvent = Callable[[Evidence, Weights], Finding | None]
