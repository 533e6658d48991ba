# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a model's output to detections in pixels of the frame.

One object is one detection. Boxes of the same label are suppressed at an overlap of 0.45, unless the model has done
that itself. Boxes of different labels of the same category that lie on each other almost exactly (0.8: car and truck,
cat and dog) are one object that the model could not name, and the better label stays. Different categories are never
suppressed: the rider and the motorcycle are two.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from inference_server.core.detection import Box, Category, Detection, Label
from inference_server.detection.detector import Picture
from inference_server.detection.errors import DetectorUnusable
from inference_server.detection.geometry import corners, suppress
from inference_server.detection.preprocess import Letterbox
from inference_server.models.coco import COCO_NAMES

MAX_DETECTIONS = 300
MAX_CANDIDATES = 1000
"""Per label; suppression takes time and memory by the square."""
SAME_LABEL_OVERLAP = 0.45
SAME_OBJECT_OVERLAP = 0.8

type Floats = NDArray[np.float32]
type Threshold = Callable[[Label], float]
"""The lowest confidence at which a label counts."""


class Contract(Enum):
    """The two forms of output that are understood; the value is its shape for people."""

    END_TO_END = "[N, 300, 6]"
    """Rows of x1, y1, x2, y2 (pixels of the input), score, class; duplicates already suppressed."""
    CANDIDATES = "[N, 4 + classes, M]"
    """Columns of centre x, centre y, width, height (pixels of the input) and one score per class."""


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """How to read a model's output. `labels` maps class numbers to the labels that are kept."""

    contract: Contract
    labels: Mapping[int, Label]

    def read(
        self, output: Floats, letterbox: Letterbox, picture: Picture, threshold: Threshold
    ) -> tuple[Detection, ...]:
        """Return the detections of one picture from its part of the output ([300, 6] or [4 + classes, M]).

        Best first, at most 300. Boxes are clipped to the frame; those that are not finite or have no area are left
        out.
        """
        end_to_end = self.contract is Contract.END_TO_END
        lowest = min(map(threshold, self.labels.values()))
        candidates = _end_to_end(output) if end_to_end else _strongest(output, self.labels, lowest)
        there = set(candidates.classes.tolist())
        detections: list[Detection] = []
        for number, label in self.labels.items():
            if number not in there:
                continue
            wanted = candidates.of(number, threshold(label))
            # Before they are cut at the frame's edges, where different boxes may become one.
            chosen = wanted if end_to_end else wanted.suppressed()
            boxes, scores = _in_frame(chosen, letterbox, picture)
            detections += [_detection(label, float(score), box) for score, box in zip(scores, boxes, strict=True)]
        detections.sort(key=lambda detection: -detection.confidence)
        return tuple(_one_label_each(detections)[:MAX_DETECTIONS])


def read_layout(shape: Sequence[int], metadata: Mapping[str, str]) -> OutputLayout:
    """Tell a model's contract by the shape of an output and the metadata that exporters write.

    Raises DetectorUnusable, saying what was expected and found.
    """
    names = _class_names(metadata)
    labels = _kept_labels(names)
    if not labels:
        known = ", ".join([*list(names.values())[:5], "..."])
        raise DetectorUnusable(f"one of the classes {', '.join(Label)} was expected; the model knows {known}")
    says_end_to_end = metadata.get("end2end", "").lower() == "true"
    if len(shape) == 3 and shape[1] == 4 + len(names) and not says_end_to_end:
        return OutputLayout(Contract.CANDIDATES, labels)
    if len(shape) == 3 and shape[2] == 6:
        return OutputLayout(Contract.END_TO_END, labels)
    expected = f"{Contract.END_TO_END.value} or [N, {4 + len(names)}, M] for its {len(names)} classes"
    raise DetectorUnusable(f"an output {expected} was expected; found {list(shape)}")


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Boxes [n, 4] as corners in pixels of the input, with class numbers and scores [n]."""

    boxes: Floats
    scores: Floats
    classes: NDArray[np.int64]

    def of(self, number: int, threshold: float) -> "_Candidates":
        chosen = np.flatnonzero((self.classes == number) & (self.scores >= threshold))
        if len(chosen) > MAX_CANDIDATES:
            chosen = chosen[np.argsort(-self.scores[chosen], kind="stable")[:MAX_CANDIDATES]]
        return self._only(chosen)

    def suppressed(self) -> "_Candidates":
        return self._only(np.array(suppress(self.boxes, self.scores, SAME_LABEL_OVERLAP), np.intp))

    def _only(self, chosen: NDArray[np.intp]) -> "_Candidates":
        return _Candidates(self.boxes[chosen], self.scores[chosen], self.classes[chosen])


def _end_to_end(output: Floats) -> _Candidates:
    rows = output[np.isfinite(output).all(axis=1)]
    return _Candidates(rows[:, :4], rows[:, 4], rows[:, 5].round().astype(np.int64))


def _strongest(output: Floats, labels: Mapping[int, Label], lowest: float) -> _Candidates:
    """Return the candidates whose strongest class is kept and that score at least `lowest`, under that class."""
    hopeful = output[[4 + number for number in labels]].max(axis=0) >= lowest
    columns = output[:, hopeful]
    columns = columns[:, np.isfinite(columns).all(axis=0)]
    classes = columns[4:].argmax(axis=0)
    kept = np.isin(classes, list(labels))
    columns = columns[:, kept]
    centre, half = columns[:2], columns[2:4] / 2
    boxes = np.concatenate([centre - half, centre + half]).T
    return _Candidates(boxes, columns[4:].max(axis=0, initial=0), classes[kept])


def _in_frame(candidates: _Candidates, letterbox: Letterbox, picture: Picture) -> tuple[Floats, Floats]:
    boxes = letterbox.to_frame(candidates.boxes, picture.width, picture.height)
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, picture.width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, picture.height)
    solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[solid], candidates.scores[solid].clip(0, 1)


def _detection(label: Label, confidence: float, corner: Floats) -> Detection:
    left, top, right, bottom = (float(value) for value in corner)
    return Detection(label, confidence, Box(left, top, right - left, bottom - top))


def _one_label_each(detections: Sequence[Detection]) -> list[Detection]:
    """Drop the weaker names of objects that have several; `detections` come best first."""
    kept: set[int] = set()
    for category in Category:
        members = [index for index, detection in enumerate(detections) if detection.label.category is category]
        if len(members) < 2:
            kept.update(members)
            continue
        boxes = corners([detections[index].box for index in members])
        scores = np.array([detections[index].confidence for index in members], np.float32)
        kept |= {members[index] for index in suppress(boxes, scores, SAME_OBJECT_OVERLAP)}
    return [detection for index, detection in enumerate(detections) if index in kept]


def _class_names(metadata: Mapping[str, str]) -> dict[int, str]:
    """Return the class names an exporter wrote (a Python dict or list as text), else those of COCO."""
    if "names" not in metadata:
        return dict(enumerate(COCO_NAMES))
    try:
        names = ast.literal_eval(metadata["names"])
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(number): str(name).lower() for number, name in pairs}
    except (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise DetectorUnusable(
            f"the model's metadata `names` is not a list of classes: {metadata['names'][:200]!r}"
        ) from error


def _kept_labels(names: Mapping[int, str]) -> dict[int, Label]:
    return {number: Label(name) for number, name in names.items() if name in Label}
