# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a camera's JPEG to the model's input, against plain Pillow: decode, convert, resize, divide.

    python -m benchmarks.decode [--rounds 40] [--size 640]

Both sides write the same letterboxed float32 batch, on one thread, in turns; the ratio is that of the medians. Beside
it stands what the watch over the view adds.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.pictures import different_jpegs
from inference_server.detection.preprocess import PAD, Letterbox, decode_picture, empty_batch, place
from inference_server.detection.scene import sign

SIZES = {"1080p": (1920, 1080), "4K": (3840, 2160)}


def fast(jpeg: bytes, size: int) -> NDArray[np.float32]:
    """Return the batch of one picture as the server makes it."""
    batch = empty_batch(1, size)
    place(decode_picture(jpeg, size), batch[0])
    return batch


def plain(jpeg: bytes, size: int) -> NDArray[np.float32]:
    """Return the same batch as anybody would make it with Pillow."""
    with Image.open(io.BytesIO(jpeg)) as image:
        where = Letterbox.fit(*image.size, size)
        resized = image.convert("RGB").resize((where.width, where.height), Image.Resampling.BILINEAR)
    batch = np.full((1, 3, size, size), PAD / 255, np.float32)
    rows, columns = slice(where.top, where.top + where.height), slice(where.left, where.left + where.width)
    batch[0, :, rows, columns] = np.asarray(resized).transpose(2, 0, 1).astype(np.float32) / 255
    return batch


def milliseconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--size", type=int, default=640, help="width and height of the model's input")
    options = parser.parse_args()
    size: int = options.size
    for name, pixels in SIZES.items():
        (jpeg,) = different_jpegs(1, pixels)
        worst = float(np.abs(fast(jpeg, size) - plain(jpeg, size)).mean())
        times = [
            (milliseconds(lambda: fast(jpeg, size)), milliseconds(lambda: plain(jpeg, size)))  # noqa: B023
            for _ in range(options.rounds)
        ]
        ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
        seen = decode_picture(jpeg, size).pixels
        watch = statistics.median(milliseconds(lambda: sign(seen)) for _ in range(options.rounds))  # noqa: B023
        print(
            f"{name:6} {len(jpeg) / 1000:6.0f} kB   server {ours:6.1f} ms   Pillow {theirs:6.1f} ms   "
            f"{theirs / ours:4.1f} times as fast   mean difference {worst * 255:.2f} of 255   view {watch:.1f} ms"
        )


if __name__ == "__main__":
    main()
