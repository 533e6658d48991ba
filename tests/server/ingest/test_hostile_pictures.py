# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hostile pictures through the whole gate: admitted as what everybody can decode, or refused with a reason."""

import io
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inference_server.core.camera import CameraSettings, Mask
from inference_server.core.frame import FrameSource, RefusalReason
from inference_server.detection.preprocess import decode_picture
from inference_server.ingest.admission import AdmittedFile, Arriving, Gate
from inference_server.ingest.known_cameras import KnownCameras
from inference_server.ingest.picture import RefusedError
from inference_server.storage.media import MediaFolder
from tests.support.pictures import TINY_ALLOWED, archive, encoded, jpeg, jpeg_of_size, noise, png, png_bomb, png_chunk

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.timeout(60)]

MASKED, PLAIN = "masked", "plain"
NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
SECONDS = 5.0
"""Far above what any picture of the tests needs."""


def _segments(content: bytes, marker: int, *data: bytes) -> bytes:
    """Return a JPEG with segments before its others."""
    added = b"".join(bytes((0xFF, marker)) + struct.pack(">H", len(item) + 2) + item for item in data)
    return content[:2] + added + content[2:]


def _exif(entries: bytes, count: int, rest: bytes = b"") -> bytes:
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", count) + entries + rest


def _exif_loop() -> bytes:
    """Return EXIF whose sub-folder is itself."""
    return _exif(struct.pack(">HHII", 0x8769, 4, 1, 8), 1, b"\0\0\0\x08")


def _exif_bomb() -> bytes:
    """Return EXIF whose entries all claim the whole of it."""
    return _exif(b"".join(struct.pack(">HHII", number, 7, 60_000, 10) for number in range(5000)), 5000)


def _endless_text() -> bytes:
    return png_chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(1 << 26)))


def _profile(parts: int, told: int) -> bytes:
    """Return a JPEG with a colour profile in many parts, of which it tells another number."""
    return _segments(
        jpeg(), 0xE2, *(b"ICC_PROFILE\0" + bytes((part, told)) + bytes(65_000) for part in range(1, parts + 1))
    )


def _gif(frames: int) -> bytes:
    return encoded(noise(), "GIF", save_all=True, append_images=[noise(seed=seed) for seed in range(2, frames)])


REFUSED = {
    "nothing": b"",
    "text": b"GET / HTTP/1.1\r\n\r\n" * 50,
    "gif": _gif(20),
    "webp": encoded(noise(), "WEBP"),
    "animated webp": encoded(noise(), "WEBP", save_all=True, append_images=[noise(seed=2)]),
    "bmp": encoded(noise(), "BMP"),
    "tiff": encoded(noise(), "TIFF"),
    "zip": archive(),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>' * 20,
    "mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(2000),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n" + b"showpage\n" * 200,
    "jpeg without an end": jpeg()[:-600],
    "jpeg without a picture": jpeg()[:300],
    "jpeg of another size": jpeg_of_size(60_000, 60_000),
    "png of a huge size": png_bomb(60_000, 60_000),
    "png without an end": png()[:-3000],
    "png that unpacks without end": png()[:33]
    + png_chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(1 << 26)))
    + png()[33:],
    "png of no width": png_bomb(0, 48),
    "zip before a jpeg": archive() + jpeg(),
    "jpeg whose profile counts wrongly": _profile(3, 255),
    "gif before a jpeg": b"GIF89a" + jpeg(),
}
ADMITTED = {
    "jpeg before a zip": jpeg() + archive(),
    "jpeg before html": jpeg() + b"<script>alert(1)</script>" * 100,
    "png before a php": png() + b"<?php system($_GET[0]); ?>",
    "jpeg with a script in its comment": encoded(noise(), comment=b"*/=alert(1)/*"),
    "jpeg with an exif loop": _segments(jpeg(), 0xE1, _exif_loop()),
    "jpeg with an exif bomb": _segments(jpeg(), 0xE1, _exif_bomb()),
    "jpeg with an exif bomb in many parts": _segments(jpeg(), 0xE1, _exif_bomb(), *[b"Exif\0\0" + bytes(65_000)] * 60),
    "jpeg with exif of nothing": _segments(jpeg(), 0xE1, b"Exif\0\0"),
    "jpeg with a profile in many parts": _profile(99, 99),
    "jpeg with broken photoshop data": _segments(jpeg(), 0xED, b"Photoshop 3.0\0" + b"8BIM" * 10_000),
    "jpeg with 2000 segments": _segments(jpeg(), 0xEF, *[b"x"] * 2000),
    "animated png": encoded(noise(), "PNG", save_all=True, append_images=[noise(seed=seed) for seed in range(2, 20)]),
    "several pictures in one": encoded(noise(), "MPO", save_all=True, append_images=[noise(seed=2)]),
    "cmyk": encoded(noise(mode="CMYK")),
    "one bit": encoded(noise(mode="1"), "PNG"),
    "16 bit": encoded(Image.new("I;16", (64, 48), 40_000), "PNG"),
    "png with a profile": encoded(noise(), "PNG", icc_profile=bytes(500_000)),
    "png with exif": encoded(noise(), "PNG", exif=_exif_bomb()),
    "turned": encoded(noise(), exif=_exif(struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0), 1)),
    "turned absurdly": encoded(noise(), exif=_exif(struct.pack(">HHIHH", 0x0112, 3, 1, 999, 0), 1)),
}


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    """Give a gate with a camera that has a mask and one that has none."""
    with tempfile.TemporaryDirectory() as folder:
        known = KnownCameras(ZoneInfo("UTC"))
        known.update({MASKED: CameraSettings(masks=(Mask(((0, 0), (1, 0), (1, 0.5), (0, 0.5))),))}, {})
        yield Gate(MediaFolder(Path(folder)), TINY_ALLOWED, known)


def _admit(gate: Gate, camera: str, content: bytes, name: str = "1.jpg") -> AdmittedFile:
    return gate.admit(
        Arriving(
            content=content,
            camera_id=camera,
            folder=camera,
            name=name,
            arrived_at=NOW,
            source=FrameSource.FOLDER,
        )
    )


def _check(admitted: AdmittedFile) -> None:
    """See that everybody who gets the stored picture can decode it, and that it is as large as is said."""
    picture = admitted.picture
    decoded = decode_picture(picture.content, 32)
    assert (decoded.width, decoded.height) == (picture.width, picture.height)
    with Image.open(io.BytesIO(picture.content)) as image:
        image.load()
        assert image.size == (picture.width, picture.height)
    assert admitted.captured_at <= admitted.arrived_at


@pytest.mark.parametrize("camera", [PLAIN, MASKED])
@pytest.mark.parametrize("kind", ADMITTED)
def test_what_is_a_picture_after_all_is_admitted_in_no_time(gate: Gate, kind: str, camera: str) -> None:
    started = time.process_time()
    _check(_admit(gate, camera, ADMITTED[kind]))
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize("camera", [PLAIN, MASKED])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_picture_is_refused_in_no_time(gate: Gate, kind: str, camera: str) -> None:
    started = time.process_time()
    with pytest.raises(RefusedError) as refused:
        _admit(gate, camera, REFUSED[kind])
    assert refused.value.reason in set(RefusalReason)
    assert refused.value.detail
    assert time.process_time() - started < SECONDS


def _mutated(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(sorted([*ADMITTED.values(), *REFUSED.values()], key=len)[:30])))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        match draw(st.sampled_from(["set", "swap", "drop", "repeat", "insert", "join"])):
            case "set":
                content[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "swap":
                content[at : at + 2] = content[at : at + 2][::-1]
            case "drop":
                del content[at : at + draw(st.integers(1, 200))]
            case "repeat":
                content[at:at] = content[at : at + draw(st.integers(1, 200))]
            case "insert":
                content[at:at] = draw(st.binary(min_size=1, max_size=30))
            case "join":
                content[at:] = draw(st.sampled_from([jpeg(), png()]))[at:]
    return bytes(content)


@settings(max_examples=300, deadline=None)
@given(st.composite(_mutated)(), st.sampled_from([PLAIN, MASKED]), st.text(max_size=40))
def test_a_damaged_picture_is_admitted_whole_or_refused(gate: Gate, content: bytes, camera: str, name: str) -> None:
    try:
        admitted = _admit(gate, camera, content, name)
    except RefusedError:
        return
    _check(admitted)


MEMORY_TEST = """
import sys, resource
from tests.server.ingest.test_hostile_pictures import ADMITTED, REFUSED, MASKED, PLAIN, _admit, Gate, KnownCameras
from tests.server.ingest.test_hostile_pictures import RefusedError, MediaFolder, Path, TINY_ALLOWED, ZoneInfo
gate = Gate(MediaFolder(Path(sys.argv[1])), TINY_ALLOWED, KnownCameras(ZoneInfo("UTC")))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for content in [*ADMITTED.values(), *REFUSED.values()]:
    try:
        _admit(gate, PLAIN, content)
    except RefusedError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_no_hostile_picture_takes_much_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", MEMORY_TEST, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    kilobytes = int(done.stdout) if sys.platform == "linux" else int(done.stdout) // 1024
    assert kilobytes < 150_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
