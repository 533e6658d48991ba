# SPDX-License-Identifier: AGPL-3.0-or-later
"""Zones: what is one, what is in one, and which way a line is crossed."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from inference_server.core.detection import Box, Detection, Direction, Label, PathPoint, ZoneType
from inference_server.core.polygon import Point, area, contains
from inference_server.core.zone import Line, Zone, ZoneShape, crossings, ranked, rectangle, zone_of

SQUARE = rectangle(0.25, 0.25, 0.75, 0.75)
SHARES = st.floats(0, 1)
SIZES = st.sampled_from([(64, 48), (640, 480), (1920, 1080), (1080, 1920), (3840, 2160)])


def _shape(**changes: Any) -> ZoneShape:
    return ZoneShape(**{"name": "Porch", "type": ZoneType.ENTRY, "points": SQUARE, **changes})


def _with_foot(x: float, y: float, width: int, height: int, share: float = 0.1) -> Detection:
    """Somebody whose foot point is there, in a frame of that size."""
    return Detection(
        Label.PERSON,
        0.9,
        Box((x - share / 2) * width, (y - share) * height, share * width, share * height),
    )


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": ""}, "1 to 50 characters"),
        ({"name": "x" * 51}, "1 to 50 characters"),
        ({"name": "a\nb"}, "can be shown"),
        ({"name": " Porch"}, "can be shown"),
        ({"points": SQUARE[:2]}, "3 to 64 points"),
        ({"points": SQUARE * 17}, "3 to 64 points"),
        ({"points": ((0, 0), (1.01, 0), (1, 1))}, "between 0"),
        ({"points": ((0, 0), (math.nan, 0), (1, 1))}, "between 0"),
        ({"points": ((0, 0), (math.inf, 0), (1, 1))}, "between 0"),
        ({"points": ((0, 0), (1, 1), (1, 0), (0, 1))}, "neither crosses nor touches itself"),
        ({"points": ((0, 0), (0.01, 0), (0.01, 0.01))}, "at least 0.0005"),
        ({"labels": (Label.CAR, Label.CAR)}, "once"),
        ({"min_size": -0.1}, "from 0 to 1"),
        ({"min_size": math.nan}, "from 0 to 1"),
        ({"inertia": 0}, "from 1 to 50"),
        ({"loitering_seconds": 1e308}, "between 0 and 3600"),
        ({"loitering_seconds": math.nan}, "between 0 and 3600"),
        ({"priority": 101}, "-100 and 100"),
        ({"colour": "red"}, "#4aa8ff"),
        ({"colour": "#4aa8ff\n"}, "#4aa8ff"),
    ],
)
def test_what_is_no_zone(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        _shape(**wrong)


@pytest.mark.parametrize(
    ("start", "end"), [((0, 0), (0, 0)), ((0, 0), (0.005, 0)), ((0, 0), (1.1, 0)), ((math.nan, 0), (1, 1))]
)
def test_what_is_no_line(start: Point, end: Point) -> None:
    with pytest.raises(ValueError, match="a line's ends"):
        Line(start, end)


@pytest.mark.parametrize("sides", [(0.5, 0, 0.5, 1), (0.6, 0, 0.5, 1), (0, math.nan, 1, 1)])
def test_what_is_no_rectangle(sides: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="left < right"):
        rectangle(*sides)


def test_the_area_of_an_outline() -> None:
    assert area(SQUARE) == 0.25
    assert area(tuple(reversed(SQUARE))) == 0.25
    assert area(((0, 0), (1, 0), (0, 1))) == 0.5


@given(SHARES, SHARES)
def test_a_point_in_a_rectangle(x: float, y: float) -> None:
    inside = 0.25 <= x <= 0.75 and 0.25 <= y <= 0.75
    assert contains(SQUARE, (x, y)) is inside or min(abs(x - 0.25), abs(x - 0.75), abs(y - 0.25), abs(y - 0.75)) < 1e-9


@given(st.lists(st.tuples(SHARES, SHARES), min_size=3, max_size=3), SHARES, SHARES, st.integers(0, 2), st.booleans())
def test_it_does_not_matter_where_an_outline_begins_nor_which_way_it_goes(
    points: list[Point], x: float, y: float, first: int, back: bool
) -> None:
    assume(area(points) > 0.01)
    turned = [*points[first:], *points[:first]]
    assert contains(points, (x, y)) is contains(turned[::-1] if back else turned, (x, y))


@given(SHARES, SHARES, SIZES, SIZES)
def test_the_same_place_is_in_the_same_zone_at_any_resolution(
    x: float, y: float, size: tuple[int, int], other: tuple[int, int]
) -> None:
    assume(all(abs(part - edge) > 1e-6 for part in (x, y) for edge in (0.25, 0.75)))
    first, second = (_shape().objection(_with_foot(x, y, *each), *each) for each in (size, other))
    assert first == second
    assert (first is None) is (0.25 < x < 0.75 and 0.25 < y < 0.75)


def test_a_zone_says_why_something_is_not_in_it() -> None:
    found = _with_foot(0.5, 0.5, 640, 480)
    assert _shape().objection(found, 640, 480) is None
    assert _shape().objection(_with_foot(0.5, 0.9, 640, 480), 640, 480) == "its foot point lies outside"
    assert _shape(labels=(Label.CAR,)).objection(found, 640, 480) == "a person does not count here"
    too_small = "it covers 0.0100 of the picture, less than 0.02"
    assert _shape(min_size=0.02).objection(found, 640, 480) == too_small


@given(st.permutations(range(4)))
def test_the_highest_priority_wins_and_of_equal_ones_the_oldest(order: list[int]) -> None:
    zones = [
        Zone(1, "yard", _shape(priority=0)),
        Zone(2, "yard", _shape(priority=5)),
        Zone(3, "yard", _shape(priority=5)),
        Zone(4, "yard", _shape(priority=9, enabled=False)),
    ]
    found = zone_of(_with_foot(0.5, 0.5, 640, 480), 640, 480, ranked(zones[place] for place in order))
    assert found == zones[1]


def test_what_one_zone_does_not_take_the_next_one_may() -> None:
    zones = [Zone(1, "yard", _shape(priority=9, labels=(Label.CAR,))), Zone(2, "yard", _shape())]
    assert zone_of(_with_foot(0.5, 0.5, 640, 480), 640, 480, ranked(zones)) == zones[1]


UP = Line((0.5, 0.9), (0.5, 0.1))
"""Looking up the picture, right is right."""


def _path(*points: Point) -> list[PathPoint]:
    return [PathPoint(float(number), *point) for number, point in enumerate(points)]


def _directions(*points: Point, line: Line = UP) -> list[Direction]:
    return [direction for _, direction in crossings(_path(*points), line)]


def test_to_the_right_is_in_and_to_the_left_is_out() -> None:
    assert _directions((0.2, 0.5), (0.8, 0.5)) == [Direction.IN]
    assert _directions((0.8, 0.5), (0.2, 0.5)) == [Direction.OUT]
    assert _directions((0.2, 0.5), (0.8, 0.5), (0.3, 0.6), (0.7, 0.4)) == [Direction.IN, Direction.OUT, Direction.IN]


def test_beyond_its_ends_a_line_is_not_crossed() -> None:
    assert _directions((0.2, 0.95), (0.8, 0.95)) == []
    assert _directions((0.2, 0.05), (0.8, 0.05)) == []


def test_to_touch_it_and_turn_back_is_no_crossing_and_to_stop_on_it_and_go_on_is_one() -> None:
    assert _directions((0.2, 0.5), (0.5, 0.5), (0.2, 0.4)) == []
    assert _directions((0.2, 0.5), (0.5, 0.5), (0.8, 0.5)) == [Direction.IN]


def test_the_way_over_a_line_counts_with_the_points_that_lie_on_it() -> None:
    assert _directions((0.2, 0.95), (0.5, 0.5), (0.8, 0.95)) == [Direction.IN], "between its ends, not below them"
    assert _directions((0.2, 0.5), (0.5, 0.95), (0.8, 0.5)) == [], "around its end"
    assert _directions((0.2, 0.5), (0.5, 0.3), (0.5, 0.4), (0.8, 0.5)) == [Direction.IN], "along it for a while"
    assert _directions((0.2, 0.95), (0.5, 0.95), (0.5, 0.05), (0.8, 0.05)) == [Direction.IN], "along all of it"
    assert _directions((0.5, 0.5), (0.8, 0.5)) == [], "who appears on it has not come over it"


@pytest.mark.parametrize("y", [0.1, 0.9])
def test_its_very_ends_belong_to_a_line(y: float) -> None:
    assert _directions((0.2, y), (0.8, y)) == [Direction.IN]
    assert _directions((0.2, y), (0.5, y), (0.8, y)) == [Direction.IN]
    assert _directions((0.2, y - 0.1), (0.8, y + 0.1)) == [Direction.IN]


def test_boxes_that_tremble_on_a_line_do_not_cross_it() -> None:
    trembling = _path(*((0.5 + (0.004 if number % 2 else -0.004), 0.5) for number in range(20)))
    assert len(crossings(trembling, UP)) == 19
    assert crossings(trembling, UP, inertia=2) == []
    gone_over = [*trembling, *_path((0.6, 0.5), (0.7, 0.5))]
    assert [direction for _, direction in crossings(gone_over, UP, inertia=3)] == [Direction.IN]
    back_and_forth = _path((0.2, 0.5), (0.8, 0.5), (0.8, 0.5), (0.3, 0.5), (0.8, 0.5))
    assert [(point.seconds, way) for point, way in crossings(back_and_forth, UP, inertia=2)] == [(1, Direction.IN)]


PATHS = st.lists(st.tuples(SHARES, SHARES), min_size=2, max_size=8)
LINES = st.tuples(st.tuples(SHARES, SHARES), st.tuples(SHARES, SHARES))


@given(PATHS, LINES)
def test_the_way_back_and_the_line_turned_round_swap_in_and_out(path: list[Point], ends: tuple[Point, Point]) -> None:
    assume(math.dist(*ends) > 0.05)
    line, turned = Line(*ends), Line(*reversed(ends))
    there = _directions(*path, line=line)
    swapped = [Direction.OUT if direction is Direction.IN else Direction.IN for direction in there]
    assert _directions(*path, line=turned) == swapped
    assert _directions(*reversed(path), line=line) == swapped[::-1]


@given(PATHS)
def test_in_and_out_take_turns_at_a_line_across_the_whole_picture(path: list[Point]) -> None:
    across = _directions(*path, line=Line((0.5, 1), (0.5, 0)))
    assert all(before != after for before, after in pairwise(across))
    ends = [x for x, _ in path if abs(x - 0.5) > 1e-9]
    if ends and all(0 < y < 1 for _, y in path):
        assert len(across) % 2 == ((ends[0] < 0.5) != (ends[-1] < 0.5))
