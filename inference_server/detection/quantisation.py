# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures to calibrate a quantised form with, and whether what it sees is what the model sees.

The bar is what a household would notice. Of the objects that the model is sure of (0.5) the form has to find 95 of 100
at the default confidence (0.35), and must not be sure of more than 5 of 100 others; scores may differ by 0.1 in the
mean, and boxes have to overlap by 0.85.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

import numpy as np

from inference_server.core.detection import Detection
from inference_server.detection.detector import Detector, Picture
from inference_server.detection.errors import PictureUnreadable
from inference_server.detection.geometry import corners, overlaps
from inference_server.detection.preprocess import decode_picture, empty_batch, place
from inference_server.models.quantise_tool import SCALE
from inference_server.models.quantised import Check
from inference_server.settings import Backend

LEAST_PICTURES = 32
MOST_PICTURES = 1000
HELD_OUT = 4
"""Each fourth picture is kept for the comparison."""
LEAST_OBJECTS = 10
"""Sure objects on the pictures that were held out; with fewer a comparison says nothing."""
LOWEST = 0.35
SURE = 0.5
LEAST_FOUND = 0.95
MOST_MORE = 0.05
MOST_SCORE_ERROR = 0.1
LEAST_OVERLAP = 0.85
SAME_OBJECT = 0.5
"""Overlap from which on two boxes of a label are one object."""


class TooFewPictures(Exception):
    """The pictures do not suffice. The message says what is there and what is needed."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How many pictures were written, those that were held out, and how many could not be read."""

    written: int
    held_out: tuple[Picture, ...]
    unreadable: int


def write_calibration(
    contents: Sequence[Callable[[], bytes]], size: int, target: Path, progress: Callable[[float], None]
) -> Calibration:
    """Write pictures as the model sees them, uint8 [n, 3, size, size], into a .npy file.

    Each fourth that can be read is held out. Blocks. Raises TooFewPictures;
    OSError of the target.
    """
    values = np.memmap(target.with_suffix(".room"), np.uint8, "w+", shape=(len(contents), 3, size, size))
    written, unreadable = 0, 0
    held_out: list[Picture] = []
    for number, read in enumerate(contents):
        try:
            picture = decode_picture(read(), size)
        except (PictureUnreadable, OSError):
            unreadable += 1
            continue
        if (written + len(held_out)) % HELD_OUT == HELD_OUT - 1:
            held_out.append(picture)
        else:
            batch = empty_batch(1, size)
            place(picture, batch[0])
            np.rint(batch[0] * SCALE, out=batch[0])
            values[written] = batch[0]
            written += 1
        progress((number + 1) / len(contents))
    if written + len(held_out) < LEAST_PICTURES:
        broken = f", and {unreadable} that cannot be read" if unreadable else ""
        raise TooFewPictures(
            f"{written + len(held_out)} pictures are there{broken}; at least {LEAST_PICTURES} are needed, better 100 "
            "to 500 of all cameras, by day and by night"
        )
    np.save(target, values[:written])
    target.with_suffix(".room").unlink()
    return Calibration(written, tuple(held_out), unreadable)


def compare(
    runtime: Backend,
    model: Detector,
    form: Detector,
    pictures: Sequence[Picture],
    *,
    even_if_slower: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> Check:
    """Have a model and its quantised form judge the same pictures, in turns, and decide. Both keep scores from LOWEST.

    Blocks. Raises TooFewPictures where the model is sure of too little.
    """
    by_model: list[tuple[Detection, ...]] = []
    by_form: list[tuple[Detection, ...]] = []
    seconds: dict[str, list[float]] = {"model": [], "form": []}
    for picture in pictures:
        for name, detector, found in (("model", model, by_model), ("form", form, by_form)):
            begun = clock()
            found.extend(detector.detect([picture]))
            seconds[name].append(clock() - begun)
    check = _compared(runtime, by_model, by_form)
    if check.objects < LEAST_OBJECTS:
        raise TooFewPictures(
            f"on the {len(pictures)} pictures that were held out the model is sure of {check.objects} objects; at "
            f"least {LEAST_OBJECTS} are needed: take more pictures, on which there are people and vehicles"
        )
    times = {name: median(values) * 1000 for name, values in seconds.items()}
    check = replace(check, model_ms=times["model"], form_ms=times["form"])
    return replace(check, refused=_refusal(check, even_if_slower))


def _compared(
    runtime: Backend, by_model: Sequence[Sequence[Detection]], by_form: Sequence[Sequence[Detection]]
) -> Check:
    objects = more = 0
    pairs: list[tuple[Detection, Detection, float]] = []
    for expected, found in zip(by_model, by_form, strict=True):
        sure = [detection for detection in expected if detection.confidence >= SURE]
        objects += len(sure)
        pairs += _pairs(sure, found)
        surely_found = [detection for detection in found if detection.confidence >= SURE]
        more += len(surely_found) - len(_pairs(surely_found, expected))
    return Check(
        runtime=runtime,
        objects=objects,
        found=len(pairs),
        more=more,
        score_error=fmean(abs(one.confidence - other.confidence) for one, other, _ in pairs) if pairs else 1.0,
        overlap=fmean(overlap for _, _, overlap in pairs) if pairs else 0.0,
        model_ms=0.0,
        form_ms=0.0,
    )


def _pairs(wanted: Sequence[Detection], found: Sequence[Detection]) -> list[tuple[Detection, Detection, float]]:
    """Pair detections of one picture with others of their label, best first, each once: the one that overlaps most."""
    if not wanted or not found:
        return []
    shares = overlaps(corners([each.box for each in wanted]), corners([each.box for each in found]))
    left = set(range(len(found)))
    pairs = []
    for row, detection in enumerate(wanted):
        same = [column for column in left if found[column].label is detection.label]
        best = max(same, key=lambda column: shares[row, column], default=None)
        if best is not None and shares[row, best] >= SAME_OBJECT:
            left.remove(best)
            pairs.append((detection, found[best], float(shares[row, best])))
    return pairs


def _refusal(check: Check, even_if_slower: bool) -> str | None:
    """Return what is below the bar, with the numbers; None where all is well. What is no number is below it too."""
    below = []
    if not check.found >= math.ceil(check.objects * LEAST_FOUND):
        below.append(f"it finds {check.found} of {check.objects} objects, and {LEAST_FOUND:.0%} are needed")
    if not check.more <= math.floor(check.objects * MOST_MORE):
        below.append(f"it is sure of {check.more} more, and {MOST_MORE:.0%} of {check.objects} are allowed")
    if not check.score_error <= MOST_SCORE_ERROR:
        below.append(f"its scores are {check.score_error:.3f} apart, and {MOST_SCORE_ERROR} is allowed")
    if not check.overlap >= LEAST_OVERLAP:
        below.append(f"its boxes overlap by {check.overlap:.3f}, and {LEAST_OVERLAP} is needed")
    if not (check.form_ms < check.model_ms or even_if_slower):
        below.append(f"it takes {check.form_ms:.1f} ms instead of {check.model_ms:.1f}, which gains nothing")
    return "; ".join(below) or None
