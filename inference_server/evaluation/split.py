# SPDX-License-Identifier: AGPL-3.0-or-later
"""The held-out fifth: scenarios that nobody looks at while the weights are tuned."""

from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256

from inference_server.evaluation.scenario import Scenario

PARTS = 5


class Split(StrEnum):
    """Which scenarios."""

    TRAINING = "training"
    HELD_OUT = "held-out"


def held_out(scenarios: Iterable[Scenario]) -> frozenset[str]:
    """Return the ids of the held-out fifth: of the threats and of ordinary life each, by the digests of their ids."""
    ids: dict[bool, list[str]] = {True: [], False: []}
    for scenario in scenarios:
        ids[scenario.is_threat].append(scenario.id)
    chosen: list[str] = []
    for stratum in ids.values():
        chosen += sorted(stratum, key=_digest)[: -(-len(stratum) // PARTS)]
    return frozenset(chosen)


def _digest(name: str) -> str:
    return sha256(name.encode()).hexdigest()
