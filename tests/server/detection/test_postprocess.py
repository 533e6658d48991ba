# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a model's output to detections."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.detection import Box, Detection, Label
from inference_server.detection.detector import Picture
from inference_server.detection.errors import DetectorUnusable
from inference_server.detection.geometry import corners, overlaps, suppress
from inference_server.detection.postprocess import Contract, read_layout
from inference_server.detection.preprocess import Letterbox
from tests.server.detection.graphs import COCO_METADATA, candidates, end_to_end

PERSON, CAR, MOTORCYCLE, TRUCK, CAT, DOG, KITE = 0, 2, 3, 7, 15, 16, 33
FRAME = Picture(np.zeros((1, 1, 3), np.uint8), 128, 64)
LETTERBOX = Letterbox.fit(128, 64, 64)
"""The frame lies 64 x 32 in the input, 16 pixels from its top: boxes double, y after 16 is taken off."""

boxes = st.builds(Box, st.floats(0, 500), st.floats(0, 500), st.floats(1, 300), st.floats(1, 300))
scored = st.lists(st.tuples(boxes, st.floats(0, 1, width=32)), max_size=30)
type Answer = Callable[..., np.ndarray]
answers = pytest.mark.parametrize("answer", [end_to_end, candidates])


def read(output: np.ndarray, threshold: float = 0.3) -> tuple[Detection, ...]:
    layout = read_layout((1, *output.shape), COCO_METADATA)
    return layout.read(output, LETTERBOX, FRAME, lambda _label: threshold)


def labels(output: np.ndarray) -> list[Label]:
    return [detection.label for detection in read(output)]


@answers
def test_boxes_come_back_in_pixels_of_the_frame(answer: Answer) -> None:
    (found,) = read(answer((10, 20, 30, 40, 0.9, PERSON)))
    assert found.label is Label.PERSON
    assert found.confidence == pytest.approx(0.9)
    assert (found.box.x, found.box.y, found.box.width, found.box.height) == pytest.approx((20, 8, 40, 40), abs=1e-3)


@answers
def test_boxes_are_clipped_to_the_frame(answer: Answer) -> None:
    (found,) = read(answer((-20, 0, 90, 70, 0.9, PERSON)))
    assert (found.box.x, found.box.y, found.box.width, found.box.height) == pytest.approx((0, 0, 128, 64))


@answers
def test_what_has_no_area_or_is_not_finite_is_dropped(answer: Answer) -> None:
    flat = (10, 20, 10, 40, 0.9, PERSON)
    in_the_bar = (10, 0, 20, 10, 0.9, PERSON)
    endless = (10, 20, float("inf"), 40, 0.9, PERSON)
    nothing = (10, 20, 30, 40, float("nan"), PERSON)
    assert read(answer(flat, in_the_bar, endless, nothing)) == ()


@answers
def test_other_classes_and_weak_ones_are_dropped(answer: Answer) -> None:
    rows = (10, 20, 30, 40, 0.9, KITE), (10, 20, 30, 40, 0.29, PERSON), (40, 20, 60, 40, 0.31, CAT)
    assert labels(answer(*rows)) == [Label.CAT]


def test_each_label_has_its_threshold() -> None:
    rows = (10, 20, 30, 40, 0.5, PERSON), (40, 20, 60, 40, 0.5, CAT)
    layout = read_layout((1, 300, 6), COCO_METADATA)
    found = layout.read(end_to_end(*rows), LETTERBOX, FRAME, lambda label: 0.6 if label is Label.CAT else 0.4)
    assert [detection.label for detection in found] == [Label.PERSON]


def test_candidates_of_one_object_become_one() -> None:
    rows = [(10 + shift, 20, 30 + shift, 40, 0.9 - shift / 10, PERSON) for shift in (0, 1, 2)]
    (found,) = read(candidates(*rows))
    assert found.confidence == pytest.approx(0.9)


def test_neighbours_stay_apart() -> None:
    assert labels(candidates((10, 20, 30, 40, 0.9, PERSON), (25, 20, 45, 40, 0.8, PERSON))) == [Label.PERSON] * 2


@answers
def test_one_vehicle_with_two_names_is_one(answer: Answer) -> None:
    assert labels(answer((10, 20, 30, 40, 0.5, CAR), (10, 20, 30, 41, 0.6, TRUCK))) == [Label.TRUCK]
    assert labels(answer((10, 20, 30, 40, 0.5, CAT), (10, 20, 30, 40, 0.4, DOG))) == [Label.CAT]


@answers
def test_rider_and_motorcycle_are_two(answer: Answer) -> None:
    assert labels(answer((10, 20, 30, 40, 0.6, PERSON), (10, 20, 30, 40, 0.5, MOTORCYCLE))) == [
        Label.PERSON,
        Label.MOTORCYCLE,
    ]


def test_a_flood_of_candidates_is_capped() -> None:
    rows = [(x, 16 + y, x + 1, 17 + y, 0.5, PERSON) for x in range(64) for y in range(32)]
    assert len(read(candidates(*rows, count=2048))) == 300


def test_own_class_names_are_used() -> None:
    layout = read_layout((1, 6, 100), {"names": "['Dog', 'postman']"})
    assert layout.contract is Contract.CANDIDATES
    assert layout.labels == {0: Label.DOG}


@pytest.mark.parametrize(
    ("shape", "metadata", "contract"),
    [
        ((1, 300, 6), COCO_METADATA, Contract.END_TO_END),
        ((1, 300, 6), {}, Contract.END_TO_END),
        ((1, 84, 8400), COCO_METADATA, Contract.CANDIDATES),
        ((1, 84, 8400), {}, Contract.CANDIDATES),
        ((1, 84, 6), COCO_METADATA | {"end2end": "True"}, Contract.END_TO_END),
        ((1, 6, 300), {"names": "{0: 'person', 1: 'car'}", "end2end": "False"}, Contract.CANDIDATES),
    ],
)
def test_contracts_are_told_apart(shape: tuple[int, ...], metadata: dict[str, str], contract: Contract) -> None:
    assert read_layout(shape, metadata).contract is contract


@pytest.mark.parametrize(
    ("shape", "metadata", "message"),
    [
        (
            (1, 8400, 84),
            COCO_METADATA,
            r"\[N, 300, 6\] or \[N, 84, M\] for its 80 classes was expected; found \[1, 8400, 84\]",
        ),
        ((1, 25200, 85), {}, r"found \[1, 25200, 85\]"),
        ((1, 1000), {}, r"found \[1, 1000\]"),
        (
            (1, 300, 6),
            {"names": "['spoon', 'fork']"},
            "one of the classes person, .* was expected; the model knows spoon, fork",
        ),
        ((1, 300, 6), {"names": "open('/etc/passwd')"}, "is not a list of classes"),
    ],
)
def test_other_outputs_are_refused(shape: tuple[int, ...], metadata: dict[str, str], message: str) -> None:
    with pytest.raises(DetectorUnusable, match=message):
        read_layout(shape, metadata)


@given(scored)
def test_overlaps_agree_with_the_core(items: list[tuple[Box, float]]) -> None:
    array = corners([box for box, _ in items])
    found = overlaps(array, array)
    assert found.shape == (len(items), len(items))
    for row, (first, _) in zip(found, items, strict=True):
        assert row == pytest.approx([first.overlap(second) for second, _ in items], abs=1e-3)


@given(scored, st.floats(0.1, 0.9))
def test_suppression_keeps_the_best_and_covers_the_rest(items: list[tuple[Box, float]], limit: float) -> None:
    array, scores = corners([box for box, _ in items]), np.array([score for _, score in items], np.float32)
    kept = suppress(array, scores, limit)
    matrix = overlaps(array, array)
    assert [scores[index] for index in kept] == sorted((scores[index] for index in kept), reverse=True)
    for first in kept:
        assert all(matrix[first, second] <= limit for second in kept if second != first)
    for lost in set(range(len(items))) - set(kept):
        assert any(matrix[index, lost] > limit and scores[index] >= scores[lost] for index in kept)
