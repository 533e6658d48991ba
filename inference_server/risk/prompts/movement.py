# SPDX-License-Identifier: AGPL-3.0-or-later
"""A track's path in words: where in the picture somebody came from and went."""

from collections.abc import Sequence
from itertools import pairwise

from inference_server.core.detection import PathPoint

STAYS = 0.08
"""Shares of the picture; who moves less stays where they are."""
TO_AND_FRO = 3
"""Turns to the other side that make somebody walk to and fro."""


def in_words(path: Sequence[PathPoint]) -> str:
    """Return how a foot point moved; "" where that is not known.

    Lower in the picture is nearer: a camera looks down at ground that is about level.
    """
    if len(path) < 2:
        return ""
    first, last = path[0], path[-1]
    begin, end = _side(first.x), _side(last.x)
    extent = max(_spread([point.x for point in path]), _spread([point.y for point in path]))
    if extent < STAYS:
        return f"stays at the {begin} of the picture"
    if _turns([point.x for point in path]) >= TO_AND_FRO:
        return "goes to and fro"
    away = last.y - first.y
    depth = "" if abs(away) < STAYS else ", towards the camera" if away > 0 else ", away from the camera"
    if max(abs(last.x - first.x), abs(away)) < STAYS:
        return f"goes about and comes back to the {end}"
    return f"moves from {begin} to {end}{depth}" if begin != end else f"moves at the {begin}{depth}"


def _side(x: float) -> str:
    return "left" if x < 1 / 3 else "middle" if x < 2 / 3 else "right"


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values)


def _turns(values: Sequence[float]) -> int:
    """Return how often the way turned to the other side; steps shorter than STAYS are no turn."""
    kept = [values[0]]
    for value in values:
        if abs(value - kept[-1]) >= STAYS:
            kept.append(value)
    ways = [after > before for before, after in pairwise(kept)]
    return sum(1 for before, after in pairwise(ways) if before is not after)
