# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a detector service and its callers say to each other."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from inference_server.core.detection import Box, Detection, Label
from inference_server.detection.postprocess import MAX_DETECTIONS

PROTOCOL = 1
"""The version of these objects; it changes when an older caller could not understand them."""
PATH = "/detect"
BATCH_PATH = "/detect/batch"
REQUEST_ID = "X-Request-ID"

Pixels = Annotated[float, Field(allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1)]


class DetectorMessage(BaseModel):
    """An object as it is sent. A reader passes over fields that it does not know."""

    model_config = ConfigDict(frozen=True)


class BoxMessage(DetectorMessage):
    """A rectangle in pixels of the picture; x and y are its top left corner."""

    x: Pixels
    y: Pixels
    width: Pixels
    height: Pixels


class DetectionMessage(DetectorMessage):
    """One object in a picture."""

    label: Label
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    box: BoxMessage


class StepTimes(DetectorMessage):
    """How long the steps took, in milliseconds; `inference` is that of the whole batch in which the picture was."""

    decode: Milliseconds
    waiting: Milliseconds
    inference: Milliseconds


class PictureMessage(DetectorMessage):
    """What is in a picture of this size in pixels, best first."""

    width: Side
    height: Side
    detections: Annotated[tuple[DetectionMessage, ...], Field(max_length=MAX_DETECTIONS)]
    milliseconds: StepTimes


class ModelMessage(DetectorMessage):
    """Which model has judged and on what, and which version of these objects follows.

    `fallback` tells whether the model stands in for the one that the service's settings want.
    """

    protocol: int
    version: str
    model: str
    fallback: bool
    provider: str
    input_size: Side


class DetectMessage(PictureMessage, ModelMessage):
    """The answer about one picture."""


def detection_message(detection: Detection) -> DetectionMessage:
    """Return a detection as it is sent."""
    box = detection.box
    return DetectionMessage(
        label=detection.label,
        confidence=detection.confidence,
        box=BoxMessage(x=box.x, y=box.y, width=box.width, height=box.height),
    )


def detection_of(message: DetectionMessage) -> Detection:
    """Return a detection as it was received."""
    box = message.box
    return Detection(message.label, message.confidence, Box(box.x, box.y, box.width, box.height))
