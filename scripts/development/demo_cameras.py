# SPDX-License-Identifier: AGPL-3.0-or-later
"""Three cameras that see somebody every now and then and write pictures as real cameras do."""

import asyncio
import io
import itertools
import random
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from . import samples

SCENES: dict[str, tuple[samples.Sample, ...]] = {
    "front_door": (samples.TWO_PEOPLE, samples.PORTRAIT),
    "driveway": (samples.BUS, samples.MOTORCYCLE),
    "garden": (samples.CAT, samples.PORTRAIT, samples.CAT),
}
SIZE = (1280, 720)
PICTURES_PER_VISIT = 4
SECONDS_BETWEEN_PICTURES = 2.0
SECONDS_BETWEEN_VISITS = 40.0
SECONDS_BETWEEN_CAMERAS = 3.0
PICTURES_KEPT = 100


async def run(root: Path) -> None:
    """Let the cameras see somebody again and again until cancelled."""
    async with asyncio.TaskGroup() as cameras:
        for number, (camera, scene) in enumerate(SCENES.items()):
            cameras.create_task(_run_camera(root / camera, scene, number * SECONDS_BETWEEN_CAMERAS))


async def _run_camera(folder: Path, scene: tuple[samples.Sample, ...], delay: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    await asyncio.sleep(delay)
    for sample in itertools.cycle(scene):
        for _ in range(PICTURES_PER_VISIT):
            await _write(folder, await asyncio.to_thread(take_picture, sample, folder.name))
            await asyncio.sleep(SECONDS_BETWEEN_PICTURES)
        await asyncio.to_thread(_overwrite_oldest, folder)
        await asyncio.sleep(SECONDS_BETWEEN_VISITS)


def take_picture(sample: samples.Sample, camera: str) -> bytes:
    """A JPEG of the scene, some metres away, that differs from every other one: place, light and the clock."""
    with Image.open(sample.path) as original:
        subject = original.convert("RGB")
    picture = ImageOps.fit(subject, SIZE).filter(ImageFilter.GaussianBlur(30))
    subject = ImageOps.contain(subject, (SIZE[0], int(SIZE[1] * random.uniform(0.45, 0.6))))  # noqa: S311
    place = (SIZE[0] - subject.width) * random.uniform(0.45, 0.55)  # noqa: S311
    picture.paste(subject, (int(place), SIZE[1] - subject.height))
    picture = ImageEnhance.Brightness(picture).enhance(random.uniform(0.85, 1.1))  # noqa: S311
    stamp = f"{camera}  {datetime.now().astimezone():%Y-%m-%d %H:%M:%S.%f}"
    ImageDraw.Draw(picture).text((8, 8), stamp, fill="white", stroke_width=2, stroke_fill="black", font_size=18)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


async def _write(folder: Path, content: bytes) -> None:
    """Half of the cameras upload under another name and rename; the others write slowly in place."""
    path = folder / f"{datetime.now().astimezone():%Y%m%d_%H%M%S}.jpg"
    if random.random() < 0.5:  # noqa: S311
        partial = path.with_suffix(".part")
        await _write_slowly(partial, content)
        partial.replace(path)
    else:
        await _write_slowly(path, content)


async def _write_slowly(path: Path, content: bytes) -> None:
    file: BinaryIO
    with await asyncio.to_thread(path.open, "wb") as file:
        for start in range(0, len(content), 32_768):
            file.write(content[start : start + 32_768])
            file.flush()
            await asyncio.sleep(0.05)


def _overwrite_oldest(folder: Path) -> None:
    for path in sorted(folder.glob("*.jpg"))[:-PICTURES_KEPT]:
        path.unlink()
