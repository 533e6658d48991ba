# SPDX-License-Identifier: AGPL-3.0-or-later
"""Polygons on a picture: points with coordinates from 0 (left, top) to 1 (right, bottom)."""

from collections.abc import Sequence
from itertools import combinations, pairwise

type Point = tuple[float, float]
type Edge = tuple[Point, Point]


def is_simple(points: Sequence[Point]) -> bool:
    """Return whether a closed outline encloses an area and neither crosses nor touches itself."""
    edges = [*pairwise(points), (points[-1], points[0])]
    if len(set(points)) != len(points):
        return False
    for (first, one), (second, other) in combinations(enumerate(edges), 2):
        neighbours = second - first in {1, len(edges) - 1}
        if _fold_back(one, other) if neighbours else meet(one, other):
            return False
    return True


def area(points: Sequence[Point]) -> float:
    """Return the area of an outline that does not cross itself, 0 to 1 (the shoelace formula)."""
    edges = [*pairwise(points), (points[-1], points[0])]
    return abs(sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in edges)) / 2


def contains(points: Sequence[Point], point: Point) -> bool:
    """Return whether a point lies in an outline or on it (the even-odd rule)."""
    inside, level, start = False, point[1], points[-1]
    for end in points:
        first, second = start[1] > level, end[1] > level
        if first != second or start[1] == level or end[1] == level:
            if _turn(start, end, point) == 0 and _between(start, end, point):
                return True
            if first != second:
                inside ^= point[0] < start[0] + (level - start[1]) * (end[0] - start[0]) / (end[1] - start[1])
        start = end
    return inside


def side(start: Point, end: Point, point: Point) -> int:
    """Return on which side of a line a point lies, looking from its start to its end: 1 right, -1 left, 0 on it."""
    return _turn(start, end, point)


def meet(one: Edge, other: Edge) -> bool:
    """Return whether two edges cross or touch each other."""
    turns = [_turn(*one, end) for end in other] + [_turn(*other, end) for end in one]
    within = [_between(*one, end) for end in other] + [_between(*other, end) for end in one]
    touch = any(turn == 0 and inside for turn, inside in zip(turns, within, strict=True))
    return touch or (turns[0] != turns[1] and turns[2] != turns[3])


def _fold_back(one: Edge, other: Edge) -> bool:
    """Return whether two edges with a common end lie on each other."""
    (shared,) = set(one) & set(other)
    (first,), (second,) = set(one) - {shared}, set(other) - {shared}
    towards = (first[0] - shared[0]) * (second[0] - shared[0]) + (first[1] - shared[1]) * (second[1] - shared[1])
    return _turn(shared, first, second) == 0 and towards > 0


def _turn(start: Point, end: Point, point: Point) -> int:
    """Return on which side of a line a point lies: 1, -1, or 0 on it."""
    area = (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])
    return 0 if abs(area) < _NOTHING else (1 if area > 0 else -1)


_NOTHING = 1e-12
"""Twice the area of a triangle that is none: far below a pixel of any picture."""


def _between(start: Point, end: Point, point: Point) -> bool:
    return all(min(a, b) <= part <= max(a, b) for a, b, part in zip(start, end, point, strict=True))
