# SPDX-License-Identifier: AGPL-3.0-or-later
"""The calibration pictures, and the bar that a quantised form has to reach."""

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference_server.core.detection import Box, Detection, Label
from inference_server.detection.detector import Picture
from inference_server.detection.preprocess import decode_picture, empty_batch, place
from inference_server.detection.quantisation import LEAST_PICTURES, TooFewPictures, compare, write_calibration
from inference_server.models.quantised import Check
from inference_server.settings import Backend

SIZE = 64
PICTURES = [Picture(np.zeros((4, 4, 3), np.uint8), 400, 400)] * 10


def person(x: float = 10, score: float = 0.9, label: Label = Label.PERSON) -> Detection:
    """Return somebody at a place."""
    return Detection(label, score, Box(x, 10, 100, 100))


class Sees:
    """A detector that sees the same on each picture, and takes its time."""

    name, provider, input_size, parallel = "sees", "nothing", SIZE, 1

    def __init__(self, clock: list[float], seconds: float, *found: Detection) -> None:
        self._clock = clock
        self._seconds = seconds
        self._found = found

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        self._clock[0] += self._seconds
        return [self._found for _ in pictures]


def compared(
    expected: Sequence[Detection], found: Sequence[Detection], *, form_takes: float = 0.5, slower: bool = False
) -> Check:
    """Compare a model that takes a second with a form."""
    clock = [0.0]
    return compare(
        Backend.ONNX,
        Sees(clock, 1.0, *expected),
        Sees(clock, form_takes, *found),
        PICTURES,
        even_if_slower=slower,
        clock=lambda: clock[0],
    )


def test_a_form_that_sees_the_same_is_accepted() -> None:
    check = compared([person(), person(200)], [person(12, 0.85), person(200)])
    assert check.refused is None
    assert (check.objects, check.found, check.more) == (20, 20, 0)
    assert check.score_error == pytest.approx(0.025)
    assert check.overlap == pytest.approx((1 + 98 / 102) / 2)
    assert (check.model_ms, check.form_ms) == (1000, 500)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([person()], "it finds 10 of 20 objects, and 95% are needed"),
        ([person(), person(200, label=Label.DOG)], "it finds 10 of 20 objects"),
        ([person(), person(200), person(300)], "it is sure of 10 more"),
        ([person(), person(200), person(12)], "it is sure of 10 more"),
        ([person(score=0.6), person(200, 0.7)], "its scores are 0.250 apart"),
        ([person(score=float("nan")), person(200)], "its scores are nan apart"),
        ([person(25), person(215)], "its boxes overlap by 0.739"),
        ([], "it finds 0 of 20 objects"),
    ],
)
def test_a_form_below_the_bar_is_refused_with_the_numbers(found: list[Detection], reason: str) -> None:
    assert reason in (compared([person(), person(200)], found).refused or "")


def test_what_the_model_is_not_sure_of_is_not_held_against_a_form() -> None:
    assert compared([person(), person(200, 0.4)], [person()]).refused is None
    assert compared([person(), person(200, 0.4)], [person(), person(200, 0.55)]).refused is None


def test_one_that_gains_no_time_is_refused_unless_that_is_wanted() -> None:
    assert "gains nothing" in (compared([person()], [person()], form_takes=1.0).refused or "")
    assert compared([person()], [person()], form_takes=1.0, slower=True).refused is None


def test_pictures_on_which_nothing_is_seen_compare_nothing() -> None:
    with pytest.raises(TooFewPictures, match=r"on the 10 pictures .* sure of 0 objects; at least 10 are needed"):
        compared([person(score=0.4)], [])


def jpeg(number: int) -> bytes:
    """Return a picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (96, 64), (number, 2 * number, 100)).save(buffer, "JPEG")
    return buffer.getvalue()


def reads(contents: Sequence[bytes]) -> list[Callable[[], bytes]]:
    """Return what reads each."""
    return [lambda content=content: content for content in contents]  # type: ignore[misc]


def test_pictures_are_written_as_the_model_sees_them_and_a_fourth_is_held_out(tmp_path: Path) -> None:
    def gone() -> bytes:
        raise FileNotFoundError("deleted meanwhile")

    contents = [jpeg(number) for number in range(40)]
    told: list[float] = []
    target = tmp_path / "pictures.npy"
    calibration = write_calibration([*reads([b"no picture", *contents]), gone], SIZE, target, told.append)
    assert (calibration.written, len(calibration.held_out), calibration.unreadable) == (30, 10, 2)
    values = np.load(target)
    assert (values.shape, values.dtype) == ((30, 3, SIZE, SIZE), np.uint8)
    batch = empty_batch(1, SIZE)
    place(decode_picture(contents[4], SIZE), batch[0])
    assert np.abs(values[3] / 255 - batch[0]).max() <= 0.5 / 255 + 1e-6, "the fourth was held out"
    assert list(tmp_path.iterdir()) == [target]
    assert told == sorted(told)


def test_too_few_pictures_are_refused_with_how_many_could_not_be_read(tmp_path: Path) -> None:
    numbers: Iterator[int] = count()
    contents = [jpeg(next(numbers)) for _ in range(LEAST_PICTURES - 1)]
    with pytest.raises(TooFewPictures, match=r"31 pictures are there, and 2 that cannot be read; at least 32"):
        write_calibration(reads([*contents, b"", b"\xff\xd8\xff"]), SIZE, tmp_path / "p.npy", lambda _done: None)
