# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which outlines are polygons."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_server.core.polygon import Point, is_simple

STAR = st.lists(st.tuples(st.integers(0, 359), st.integers(10, 50)), min_size=5, max_size=40, unique_by=lambda p: p[0])


def _star(arms: list[tuple[int, int]]) -> list[Point]:
    return [
        (0.5 + length / 100 * math.cos(math.radians(angle)), 0.5 + length / 100 * math.sin(math.radians(angle)))
        for angle, length in sorted(arms)
    ]


def _surrounds_the_centre(arms: list[tuple[int, int]]) -> bool:
    angles = sorted(angle for angle, _ in arms)
    gaps = [after - before for before, after in zip(angles, [*angles[1:], angles[0] + 360], strict=True)]
    return max(gaps) < 180


@settings(deadline=None)
@given(STAR.filter(_surrounds_the_centre), st.integers(0, 40))
def test_an_outline_around_a_point_is_simple_wherever_it_begins_and_whichever_way_it_goes(
    arms: list[tuple[int, int]], begin: int
) -> None:
    points = _star(arms)
    turned = points[begin:] + points[:begin]
    assert is_simple(turned)
    assert is_simple(turned[::-1])


@settings(deadline=None)
@given(STAR.filter(_surrounds_the_centre), st.data())
def test_an_outline_that_comes_by_the_same_point_twice_is_not(arms: list[tuple[int, int]], data: st.DataObject) -> None:
    points = _star(arms)
    points.insert(data.draw(st.integers(0, len(points))), data.draw(st.sampled_from(points)))
    assert not is_simple(points)


@pytest.mark.parametrize(
    ("points", "simple"),
    [
        ([(0, 0), (1, 0), (1, 1), (0, 1)], True),
        ([(0, 0), (0.5, 0), (1, 0), (1, 1)], True),
        ([(0, 0), (1, 1), (1, 0), (0, 1)], False),
        ([(0, 0), (1, 0), (0.5, 0)], False),
        ([(0, 0), (0.2, 0), (0.6, 0), (0.4, 0), (0.5, 1)], False),
        ([(0, 0), (0.5, 0.5), (1, 0), (1, 1), (0.5, 0.5), (0, 1)], False),
        ([(0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)], False),
        ([(0.1, 0.1), (0.1, 0.1), (0.1, 0.1)], False),
    ],
)
def test_outlines(points: list[Point], simple: bool) -> None:
    assert is_simple(points) is simple
