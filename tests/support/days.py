# SPDX-License-Identifier: AGPL-3.0-or-later
"""A day of an ordinary camera, made of one real picture: sun, shade, rain, dusk, infrared light, and what passes by."""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

MIDNIGHT = datetime(2026, 6, 1, 0, 0, tzinfo=UTC)
SIZE = (480, 270)
SUNRISE, SUNSET = 5.5, 20.5
"""Hours; the camera switches to infrared light half an hour after the one and back half an hour before the other."""

type Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Day:
    """Pictures that a camera takes in a view."""

    view: Image.Image
    """Of SIZE."""
    passers: tuple[Image.Image, ...]
    """Whatever comes near."""
    seed: int = 1

    def pictures(self, seconds: float, hours: tuple[float, float] = (0, 24)) -> Iterator[tuple[datetime, bytes]]:
        """Yield a JPEG every so many seconds, with the time at which it is taken."""
        steps = range(round(hours[0] * 3600 / seconds), round(hours[1] * 3600 / seconds))
        for step in steps:
            at = MIDNIGHT + timedelta(seconds=step * seconds)
            yield at, self.picture(at)

    def picture(self, at: datetime) -> bytes:
        """Return the JPEG of a time."""
        return encode(self.image(at), at, self._random(at))

    def image(self, at: datetime) -> Image.Image:
        """Return what the camera sees, without its clock."""
        hour, random = (at - MIDNIGHT).total_seconds() / 3600 % 24, self._random(at)
        view = np.asarray(self.view, np.float32)
        height, width, _ = view.shape
        colour = SUNRISE - 0.5 <= hour <= SUNSET + 0.5
        lit = self._by_day(view, hour) if colour else self._by_infrared(view, random)
        noise = 9 if hour < SUNRISE or hour > SUNSET else 3
        lit += random.normal(0, noise, (height, width, 1)).astype(np.float32)
        image = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
        if 13 <= hour < 16:
            self._rain(image, random)
        if random.random() < 0.15:
            self._pass_by(image, random)
        return image if colour else image.convert("L").convert("RGB")

    def _by_day(self, view: Pixels, hour: float) -> Pixels:
        height, width, _ = view.shape
        sun = math.sin(math.pi * (hour - SUNRISE) / (SUNSET - SUNRISE))
        level = 0.35 + 0.75 * max(0.0, sun + 0.1) ** 0.6
        cloud = 0.85 + 0.15 * math.sin(hour * 9.7)
        across = np.linspace(-1, 1, width, dtype=np.float32)
        down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
        edge = (hour - 13) / 4 + 0.6 * (down - 0.5)  # the shadow of a house wanders over the view
        shade = np.where(across[None] < edge, 0.55, 1.0).astype(np.float32)[..., None]
        warm = np.array([1.0, 1.0 - 0.12 * (1 - max(0.0, sun)), 1.0 - 0.3 * (1 - max(0.0, sun))], np.float32)
        return np.asarray(view * level * cloud * shade * warm, np.float32)

    def _by_infrared(self, view: Pixels, random: np.random.Generator) -> Pixels:
        height, width, _ = view.shape
        grey = view @ np.array([0.5, 0.35, 0.15], np.float32)
        x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
        lit = 0.25 + 0.75 * np.exp(-(x**2 + y**2) * 1.3)
        night = grey * lit * 0.75 + 8
        if random.random() < 0.1:  # headlights
            at_x, at_y = random.uniform(-1, 1), random.uniform(-0.2, 0.8)
            night += 230 * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) * 12)
        return np.repeat(night[..., None], 3, axis=2).astype(np.float32)

    def _rain(self, image: Image.Image, random: np.random.Generator) -> None:
        draw = ImageDraw.Draw(image)
        for _ in range(150):
            x, y = random.uniform(0, image.width), random.uniform(0, image.height)
            draw.line((x, y, x + 2, y + 14), fill=(190, 190, 195))

    def _pass_by(self, image: Image.Image, random: np.random.Generator) -> None:
        passer = self.passers[int(random.integers(len(self.passers)))]
        height = round(image.height * random.uniform(0.35, 0.95))
        width = min(round(image.width * 0.9), max(1, round(passer.width * height / passer.height)))
        small = passer.resize((width, height))
        image.paste(small, (int(random.integers(-width // 3, image.width)), image.height - height))

    def _random(self, at: datetime) -> np.random.Generator:
        return np.random.default_rng([self.seed, round((at - MIDNIGHT).total_seconds())])


def encode(image: Image.Image, at: datetime, random: np.random.Generator | None = None) -> bytes:
    """Return a JPEG with the camera's clock, of a quality that changes as with a bit rate that is kept."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    draw.text((6, 4), f"{at:%Y-%m-%d %H:%M:%S}", fill="white", font=ImageFont.load_default(size=14))
    target = io.BytesIO()
    image.save(target, "JPEG", quality=int(random.integers(55, 95)) if random else 85)
    return target.getvalue()


def covered(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """A cloth over the lens: out of focus, lit from behind, with some texture."""
    weave = random.normal(0, 25, (image.height, image.width, 1)) + np.array([110, 90, 70])
    x = np.linspace(-1, 1, image.width)[None, :, None]
    cloth = Image.fromarray(np.clip(weave + 25 * x, 0, 255).astype(np.uint8))
    return cloth.filter(ImageFilter.GaussianBlur(4))


def sprayed(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Paint over most of the lens; the rest of the view shows at the left."""
    mask = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(mask)
    for _ in range(60):
        x, y, r = random.uniform(0.12, 1) * image.width, random.uniform(0, 1) * image.height, image.height * 0.22
        draw.ellipse((x - r, y - r, x + r, y + r), fill=245)
    return Image.composite(
        Image.new("RGB", image.size, (150, 30, 35)), image, mask.filter(ImageFilter.GaussianBlur(12))
    )


def shifted(image: Image.Image, share: float = 0.25) -> Image.Image:
    """The camera was turned: what was in the middle is at the side, and the rest is new (mirrored) ground."""
    pixels = np.asarray(image)
    offset = round(image.width * share)
    wide = np.concatenate([pixels, pixels[:, ::-1]], axis=1)
    return Image.fromarray(np.ascontiguousarray(wide[:, offset : offset + image.width]))


def rotated(image: Image.Image, degrees: float = 20) -> Image.Image:
    """The camera hangs askew."""
    turned = image.resize((image.width * 3 // 2, image.height * 3 // 2)).rotate(degrees, Image.Resampling.BILINEAR)
    left, top = (turned.width - image.width) // 2, (turned.height - image.height) // 2
    return turned.crop((left, top, left + image.width, top + image.height))


def defocused(image: Image.Image, radius: float = 4) -> Image.Image:
    """The lens is out of focus; the noise of the sensor is not."""
    return image.filter(ImageFilter.GaussianBlur(radius))
