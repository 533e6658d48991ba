# SPDX-License-Identifier: AGPL-3.0-or-later
"""Videos of many kinds, good and bad, made with PyAV."""

import io
import struct
from collections.abc import Callable, Sequence

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.rational import AVRational
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

SIZE = (96, 64)
"""Width and height of a small video."""
FORMATS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm", "avi": "avi"}

type Scene = Callable[[int], NDArray[np.uint8]]
"""Returns the picture [height, width, 3] of a number."""


def moving(size: tuple[int, int] = SIZE, *, seed: int = 0) -> Scene:
    """Return a scene in which a bright square crosses a background of its own."""
    width, height = size
    noise = np.random.default_rng(seed).integers(40, 90, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    background = np.kron(noise, np.ones((8, 8, 1), np.uint8))[:height, :width]

    def picture(number: int) -> NDArray[np.uint8]:
        pixels = background.copy()
        left = number * 2 % max(1, width - 10)
        pixels[height // 3 : height // 3 + 10, left : left + 10] = 240
        return pixels

    return picture


def plain(*levels: int, size: tuple[int, int] = SIZE) -> Scene:
    """Return a scene whose pictures are of one grey each, the last of these going on."""
    width, height = size
    return lambda number: np.full((height, width, 3), levels[min(number, len(levels) - 1)], np.uint8)


def video(
    kind: str = "mp4",
    codec: str = "libx264",
    *,
    seconds: float = 2,
    rate: int = 10,
    size: tuple[int, int] = SIZE,
    scene: Scene | None = None,
    created: str | None = None,
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    **settings: int,
) -> bytes:
    """Return a video as a file's content; `times` are the seconds of its pictures where these do not come evenly."""
    scene = scene or moving(size)
    times = times if times is not None else [number / rate for number in range(round(seconds * rate))]
    target = io.BytesIO()
    with av.open(target, "w", format=FORMATS[kind]) as container:
        if created:
            container.metadata["creation_time"] = created
        stream = container.add_stream(codec, rate=rate, options=options or _quick(codec))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        if kind != "avi":
            stream.codec_context.time_base = AVRational(1, 1000)
        for number, at in enumerate(times):
            frame = VideoFrame.from_ndarray(scene(number), format="rgb24")
            frame.pts = number if kind == "avi" else round(at * 1000)
            frame.time_base = AVRational(1, rate) if kind == "avi" else AVRational(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def _quick(codec: str) -> dict[str, str]:
    if codec == "libx265":
        return {"preset": "ultrafast", "x265-params": "log-level=none"}
    return {"preset": "ultrafast"} if codec == "libx264" else {}


def sound(seconds: float = 1) -> bytes:
    """Return an mp4 without pictures."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        for start in range(0, round(8000 * seconds), 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def turned(content: bytes, quarters: int) -> bytes:
    """Return an mp4 or mov whose pictures are to be turned to the right by quarters, as a phone marks them."""
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters % 4]
    one = 1 << 16
    matrix = struct.pack(">9i", cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30)
    start = content.index(b"tkhd") + 4 + 40
    return content[:start] + matrix + content[start + 36 :]


def box(name: bytes, *parts: bytes) -> bytes:
    """Return a box of an mp4."""
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body


def with_data_reference(content: bytes, target: bytes) -> bytes:
    """Return an mp4 that says that its pictures lie at another place (a URL that ends with a zero byte)."""
    start = content.index(b"url \0\0\0\1") - 4
    content = content[:start] + box(b"url ", b"\0\0\0\0", target) + content[start + 12 :]
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        place = content.index(name) - 4
        size = struct.unpack(">I", content[place : place + 4])[0] + len(target)
        content = content[:place] + struct.pack(">I", size) + content[place + 4 :]
    return content


def with_text_stream(avi: bytes, text: bytes) -> bytes:
    """Return an AVI with a second stream, of text, whose only chunk is this."""
    text += b"\0" * (len(text) % 2)
    head = b"strh" + struct.pack("<I", 56) + b"txts" + b"\0" * 16 + struct.pack("<II", 1, 1) + b"\0" * 28
    stream = head + b"strf" + struct.pack("<I", 4) + b"\0" * 4
    stream = b"LIST" + struct.pack("<I", 4 + len(stream)) + b"strl" + stream
    (size,) = struct.unpack("<I", avi[16:20])
    pictures = avi.index(b"movi") + 4
    avih = avi.index(b"avih") + 8
    header = bytearray(avi[: 20 + size])
    header[avih + 24 : avih + 28] = struct.pack("<I", 2)
    body = header[:16] + struct.pack("<I", size + len(stream)) + header[20:] + stream
    body += avi[20 + size : pictures] + b"01tx" + struct.pack("<I", len(text)) + text + avi[pictures:]
    return bytes(body[:4] + struct.pack("<I", len(body) - 8) + body[8:])


def repeated(content: bytes, count: int) -> bytes:
    """Return an mkv in which the first picture of a video stands this many times, ten a second."""
    with av.open(io.BytesIO(content), "r") as source:
        first = next(packet for packet in source.demux(video=0) if packet.size)
        return _muxed(source, [first] * count)


def without_key_frame(content: bytes) -> bytes:
    """Return an mkv that lacks a video's first picture."""
    with av.open(io.BytesIO(content), "r") as source:
        return _muxed(source, [packet for packet in source.demux(video=0) if packet.size][1:])


def _muxed(source: InputContainer, packets: Sequence[Packet]) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="matroska") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packets):
            copied = Packet(bytes(packet))
            copied.stream, copied.time_base = stream, AVRational(1, 1000)
            copied.pts = copied.dts = number * 100
            copied.is_keyframe = packet.is_keyframe
            container.mux(copied)
    return target.getvalue()
