# SPDX-License-Identifier: AGPL-3.0-or-later
"""Records what Ultralytics' own predictor answers, for `test_parity.py`; run by hand, where ultralytics is.

    python -m venv V && V/bin/pip install ultralytics==8.4.190 onnx     (torch 2.13 was used)
    V/bin/python tests/server/detection/parity/record.py [CHECKPOINT.pt]

With a path it writes the network itself there, and nothing else.

A network of YOLO26 with a 16th of the smallest one's channels gets random weights, calibrated on the pictures so that
its scores and boxes vary with what it sees: fresh weights give the same score everywhere, and parity on these says
nothing. It is exported with each of its heads, and its predictor (PyTorch, letterbox by OpenCV, suppression included)
answers for each picture.

PyPI's torchvision does not work with a torch for processors alone. Ultralytics' own suppression, which it uses where
there is no torchvision, stands in for it there.
"""

import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
SIZE = 320
PICTURES = {"square": (320, 320), "wide": (320, 181), "tall": (200, 320), "twice": (640, 360)}
"""Width and height; the first three need no resize, as their longer side is the network's."""
NAMES = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "cat", "dog")
CONFIDENCE = 0.25
OVERLAP = 0.45


def scene(width: int, height: int, seed: int) -> Any:
    """Return an RGB picture, uint8, of soft patches, edges and noise: the same one on every machine."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    picture = np.zeros((height, width, 3))
    for _ in range(24):
        x, y, radius = random.uniform(0, width), random.uniform(0, height), random.uniform(8, width / 3)
        colour = random.uniform(0, 255, 3)
        inside = (
            (columns - x) ** 2 + (rows - y) ** 2 < radius**2
            if random.random() < 0.5
            else ((abs(columns - x) < radius) & (abs(rows - y) < radius / 2))
        )
        picture[inside] = 0.3 * picture[inside] + 0.7 * colour
    return (picture + random.normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8)


def scenes() -> dict[str, Any]:
    """Return every picture by its name."""
    return {name: scene(width, height, seed) for seed, (name, (width, height)) in enumerate(PICTURES.items(), 30)}


def main() -> None:
    """Write the networks and the answers beside this file."""
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
    os.environ.update(ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS="1")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["YOLO_CONFIG_DIR"] = folder
        _suppress_without_torchvision()
        checkpoint = _make(Path(folder))
        if len(sys.argv) > 1:
            checkpoint.replace(sys.argv[1])
            return
        answers = {head: _record(checkpoint, head) for head in ("end_to_end", "candidates")}
    (FOLDER / "answers.json").write_text(json.dumps(answers, indent=0), encoding="utf-8")


def _suppress_without_torchvision() -> None:
    import torch

    try:
        import_module("torchvision")
    except RuntimeError:
        from ultralytics.utils.nms import TorchNMS

        stand_in: Any = ModuleType("torchvision")
        stand_in.__version__, stand_in.ops = "0", SimpleNamespace(nms=TorchNMS.nms)
        sys.modules["torchvision"] = stand_in
    torch.set_num_threads(1)


def _make(folder: Path) -> Path:
    import torch
    import ultralytics
    import yaml
    from torch import nn
    from ultralytics import YOLO

    config = yaml.safe_load((Path(ultralytics.__file__).parent / "cfg/models/26/yolo26.yaml").read_text())
    config |= {"scales": {"n": [0.33, 0.0625, 256]}, "nc": len(NAMES)}
    (folder / "yolo26n-tiny.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(1)
    model = YOLO(str(folder / "yolo26n-tiny.yaml"))
    network = model.model
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.3
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.1)
    network.train()
    given = np.stack([scene(SIZE, SIZE, seed) for seed in range(8)]).transpose(0, 3, 1, 2)
    pictures = torch.from_numpy(given.copy()).float() / 255
    with torch.no_grad():
        for _ in range(15):
            network(pictures)
        head = network.model[-1]
        for scores in (*head.cv3, *head.one2one_cv3):
            scores[-1].weight.mul_(0.45)
            scores[-1].bias.fill_(-2.6)
        for boxes in (*head.cv2, *head.one2one_cv2):
            boxes[-1].weight.mul_(0.3)
            boxes[-1].bias.fill_(3.0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.03
    network.eval()
    network.names = dict(enumerate(NAMES))
    path = folder / "tiny.pt"
    model.save(str(path))
    return path


def _record(checkpoint: Path, head: str) -> dict[str, Any]:
    from ultralytics import YOLO

    nms = False if head == "end_to_end" else None
    written = YOLO(str(checkpoint)).export(
        format="onnx", imgsz=SIZE, nms=nms, dynamic=head == "end_to_end", simplify=False, device="cpu"
    )
    (FOLDER / f"{head}.onnx").write_bytes(Path(written).read_bytes())
    model = YOLO(str(checkpoint))
    answers = {}
    for name, picture in scenes().items():
        (result,) = model.predict(
            picture[..., ::-1],
            imgsz=SIZE,
            conf=CONFIDENCE,
            iou=OVERLAP,
            nms=nms,
            rect=False,
            device="cpu",
            verbose=False,
        )
        answers[name] = [[round(float(value), 5) for value in row] for row in result.boxes.data.tolist()]
        sys.stderr.write(f"{head} {name}: {len(answers[name])} boxes\n")
    return answers


if __name__ == "__main__":
    main()
