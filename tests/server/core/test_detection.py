# SPDX-License-Identifier: AGPL-3.0-or-later
"""Boxes and labels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.detection import Box, Category, Label

PLACES = st.floats(-1e4, 1e4)
SIDES = st.floats(1e-2, 1e4)
BOXES = st.builds(Box, PLACES, PLACES, SIDES, SIDES)


@given(BOXES, BOXES)
def test_overlap_is_symmetric_and_a_share(one: Box, other: Box) -> None:
    overlap = one.overlap(other)
    assert 0 <= overlap <= 1 + 1e-9
    assert overlap == pytest.approx(other.overlap(one))


@given(BOXES)
def test_a_box_covers_itself(box: Box) -> None:
    assert box.overlap(box) == pytest.approx(1, rel=1e-3)


@given(BOXES)
def test_boxes_that_only_touch_do_not_overlap(box: Box) -> None:
    beside = Box(box.x + box.width + 1e-6, box.y, box.width, box.height)
    assert box.overlap(beside) == pytest.approx(0, abs=1e-3)


def test_half_a_box_shared_is_a_third_of_the_union() -> None:
    assert Box(0, 0, 10, 10).overlap(Box(5, 0, 10, 10)) == pytest.approx(1 / 3)


def test_boxes_without_area_overlap_nothing() -> None:
    assert Box(0, 0, 0, 0).overlap(Box(0, 0, 0, 0)) == 0


def test_every_label_belongs_to_a_category() -> None:
    people = {label for label in Label if label.category is Category.PERSON}
    animals = {label for label in Label if label.category is Category.ANIMAL}
    vehicles = {label for label in Label if label.category is Category.VEHICLE}
    assert people == {Label.PERSON}
    assert animals == {Label.BIRD, Label.CAT, Label.DOG}
    assert vehicles == set(Label) - people - animals
