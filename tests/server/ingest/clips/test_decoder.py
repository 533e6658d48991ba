# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clips are decoded in a process of their own: real videos of every kind, and files that mean harm."""

import asyncio
import contextlib
import os
import signal
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import av
import numpy as np
import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from inference_server.core.camera import Mask
from inference_server.core.clip import VIDEO_HEAD_BYTES, VideoKind, video_kind
from inference_server.core.frame import RefusalReason
from inference_server.ingest.clips import decoder as clip_decoder
from inference_server.ingest.clips.decoder import ClipDecoder, clips_problem
from inference_server.ingest.clips.job import MASKED, SOURCE, ClipJob, ClipRefusedError, ClipReport
from inference_server.ingest.clips.masks import copy
from inference_server.ingest.clips.sampler import sample
from inference_server.ingest.clips.source import Deadline
from inference_server.ingest.picture import RefusedError
from inference_server.settings import ClipSettings, IngestSettings
from tests.support.videos import (
    SIZE,
    box,
    moving,
    plain,
    repeated,
    sound,
    turned,
    video,
    with_data_reference,
    with_text_stream,
    without_key_frame,
)

ENOUGH = ClipSettings(decode_seconds=20)
LEFT_HALF = Mask(((0, 0), (0.5, 0), (0.5, 1), (0, 1)))


async def sampled(
    folder: Path,
    content: bytes,
    limits: ClipSettings = ENOUGH,
    *,
    kind: VideoKind | None = None,
    masks: Sequence[Mask] = (),
    pictures: IngestSettings | None = None,
    grace_seconds: float = 10,
) -> ClipReport:
    """Return what is found in a file's content."""
    (folder / SOURCE).write_bytes(content)
    kind = kind or video_kind(content[:VIDEO_HEAD_BYTES])
    assert kind is not None
    decoder = ClipDecoder(limits, pictures or IngestSettings(), grace_seconds=grace_seconds)
    return await decoder.sample(folder, kind, masks)


async def refused(folder: Path, content: bytes, limits: ClipSettings = ENOUGH, **more: object) -> RefusedError:
    """Return the refusal of a file's content."""
    with pytest.raises(RefusedError) as caught:
        await sampled(folder, content, limits, **more)  # type: ignore[arg-type]
    return caught.value


def job(kind: str, masks: tuple[Mask, ...] = ()) -> ClipJob:
    """Return a job with ordinary bounds."""
    return ClipJob(
        kind=kind,
        interval=1,
        max_frames=30,
        max_seconds=600,
        max_pixels=50_000_000,
        max_bytes=1 << 20,
        decode_seconds=60,
        memory=1 << 30,
        masks=masks,
    )


def offsets(report: ClipReport) -> list[float]:
    return [round(frame.offset, 2) for frame in report.frames]


def image(folder: Path, report: ClipReport, number: int = 0) -> Image.Image:
    """Return a sampled picture."""
    with Image.open(folder / report.frames[number].name) as opened:
        return opened.convert("RGB")


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("mp4", "libx264"),
        ("mp4", "libx265"),
        ("mov", "mpeg4"),
        ("mkv", "libx264"),
        ("mkv", "libx265"),
        ("mkv", "mjpeg"),
        ("webm", "libvpx-vp9"),
        ("avi", "mpeg4"),
        ("avi", "mjpeg"),
        ("avi", "libx264"),
    ],
)
async def test_every_container_and_codec(tmp_path: Path, kind: str, codec: str) -> None:
    report = await sampled(tmp_path, video(kind, codec, seconds=3))
    assert offsets(report) == pytest.approx([0, 1, 2], abs=0.11)  # an AVI shows pictures late that wait for others
    assert report.duration == pytest.approx(3, abs=0.2)
    assert (report.width, report.height) == SIZE
    for number in range(3):
        shown = np.asarray(image(tmp_path, report, number), int)
        assert np.abs(shown - moving()(number * 10)).mean() < 12


async def test_pictures_come_by_interval_and_at_once_when_the_scene_changes(tmp_path: Path) -> None:
    scene = plain(*[40] * 13, *[200] * 4, 40)
    report = await sampled(tmp_path, video(seconds=3, scene=scene), ClipSettings(interval_seconds=2))
    assert offsets(report) == [0, 1.3, 1.7]
    assert [round(np.asarray(image(tmp_path, report, number)).mean(), -1) for number in range(3)] == [40, 200, 40]


async def test_no_more_than_the_wanted_number_spread_over_the_whole_clip(tmp_path: Path) -> None:
    limits = ClipSettings(interval_seconds=0.1, max_frames=4)
    report = await sampled(tmp_path, video(seconds=12), limits)
    assert len(report.frames) == 4
    assert offsets(report)[0] == 0
    assert offsets(report)[-1] == 11.9
    assert {path.name for path in tmp_path.glob("*.jpg")} == {frame.name for frame in report.frames}


async def test_one_picture_is_a_clip_too(tmp_path: Path) -> None:
    report = await sampled(tmp_path, video(seconds=0.1))
    assert offsets(report) == [0]


async def test_pictures_at_uneven_times(tmp_path: Path) -> None:
    report = await sampled(tmp_path, video("mkv", times=[0, 0.04, 0.5, 3, 3.1, 9.9]))
    assert offsets(report) == [0, 3, 9.9]
    assert report.duration == pytest.approx(10, abs=0.2)


async def test_times_that_begin_before_zero_or_late(tmp_path: Path) -> None:
    for start in (-0.5, 5000.0):
        report = await sampled(tmp_path, video("mkv", times=[start + number / 10 for number in range(15)]))
        assert (offsets(report)[0], len(report.frames)) == (0, 2)


async def test_b_frames_and_edit_lists_start_at_zero(tmp_path: Path) -> None:
    content = video(seconds=3, options={"preset": "fast", "bf": "3"}, max_b_frames=3)
    assert b"elst" in content
    assert offsets(await sampled(tmp_path, content)) == [0, 1, 2]


async def test_times_that_are_missing_are_counted(tmp_path: Path) -> None:
    content = video("avi", "mpeg4", seconds=3, options={"bf": "2"}, max_b_frames=2)
    assert offsets(await sampled(tmp_path, content)) == pytest.approx([0, 1, 2], abs=0.11)


@pytest.mark.parametrize(("quarters", "corner"), [(0, (0, 0)), (1, (63, 0)), (2, (95, 63)), (3, (0, 95))])
async def test_pictures_are_turned_as_they_are_to_be_seen(
    tmp_path: Path, quarters: int, corner: tuple[int, int]
) -> None:
    def marked(_number: int) -> np.ndarray:
        pixels = np.full((64, 96, 3), 30, np.uint8)
        pixels[:16, :16] = 250
        return pixels

    report = await sampled(tmp_path, turned(video(scene=marked, seconds=0.3), quarters))
    picture = image(tmp_path, report)
    assert picture.size == (report.width, report.height) == ((96, 64) if quarters % 2 == 0 else (64, 96))
    shown = np.asarray(picture.convert("L"))
    assert shown[corner[1], corner[0]] > 200
    assert (shown > 150).mean() < 0.1


@pytest.mark.parametrize("size", [(97, 65), (50, 33)])
async def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    report = await sampled(tmp_path, video("mkv", "mjpeg", size=size, seconds=0.3))
    assert image(tmp_path, report).size == (report.width, report.height) == size


async def test_the_start_that_the_container_knows_is_told(tmp_path: Path) -> None:
    report = await sampled(tmp_path, video(created="2026-11-20T08:00:00Z", seconds=0.3))
    assert report.created is not None
    assert report.created.startswith("2026-11-20T08:00:00")


async def test_a_long_clip_is_looked_at_up_to_the_bound(tmp_path: Path) -> None:
    report = await sampled(tmp_path, video(seconds=30, rate=2), ClipSettings(max_seconds=10))
    assert offsets(report) == list(range(11))
    assert report.duration == pytest.approx(30, abs=0.6)
    assert report.remark == "only its first 10 s were looked at"


@pytest.mark.parametrize(("spent", "least", "most"), [(0.01, 20, 20), (0.9, 8, 14), (1.0, 1, 1)])
def test_what_would_take_too_long_is_skimmed_and_then_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spent: float, least: int, most: int
) -> None:
    monkeypatch.setattr(Deadline, "spent", spent)
    (tmp_path / SOURCE).write_bytes(video("mkv", seconds=20, gop_size=20))
    report = sample(tmp_path, job("mkv"))
    assert least <= len(report.frames) <= most
    assert (report.remark is not None) is (spent == 1)


async def test_privacy_masks_are_burnt_into_every_picture(tmp_path: Path) -> None:
    bright = video(scene=plain(220), seconds=1.5)
    report = await sampled(tmp_path, bright, masks=[LEFT_HALF])
    for number in range(2):
        shown = np.asarray(image(tmp_path, report, number))
        assert shown[:, : SIZE[0] // 2 - 8].max() < 16
        assert shown[:, SIZE[0] // 2 + 8 :].min() > 200


@pytest.mark.parametrize(("quarters", "size"), [(0, (96, 64)), (1, (64, 96))])
async def test_a_masked_copy_shows_everything_but_what_is_masked(
    tmp_path: Path, quarters: int, size: tuple[int, int]
) -> None:
    (tmp_path / SOURCE).write_bytes(turned(video(scene=plain(220), seconds=2), quarters))
    await ClipDecoder(ENOUGH, IngestSettings()).copy(tmp_path, VideoKind.MP4, [LEFT_HALF])
    with av.open(str(tmp_path / MASKED)) as container:
        frames = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert [at for at, _ in frames] == pytest.approx([number / 10 for number in range(20)], abs=0.01)
    for _, shown in frames:
        assert (shown.shape[1], shown.shape[0]) == size
        assert shown[:, : size[0] // 2 - 4].max() < 16
        assert shown[:, size[0] // 2 + 4 :].min() > 190


def test_a_masked_copy_that_cannot_be_finished_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deadline, "spent", 1.0)
    (tmp_path / SOURCE).write_bytes(video())
    with pytest.raises(ClipRefusedError) as caught:
        copy(tmp_path, job("mp4", masks=(LEFT_HALF,)))
    assert caught.value.reason == RefusalReason.TOO_COSTLY


async def test_sound_alone_is_refused(tmp_path: Path) -> None:
    error = await refused(tmp_path, sound())
    assert error.reason is RefusalReason.NO_VIDEO


async def test_a_codec_that_no_camera_has_is_refused(tmp_path: Path) -> None:
    error = await refused(tmp_path, video("mkv", "ffv1", seconds=0.3))
    assert (error.reason, "codec" in error.detail) == (RefusalReason.CORRUPT, True)


@pytest.mark.parametrize("name", ["moov", "stbl", "mdat"])
async def test_an_mp4_that_ends_before_its_index_is_refused(tmp_path: Path, name: str) -> None:
    content = video(seconds=2)
    error = await refused(tmp_path, content[: content.index(name.encode())])
    assert error.reason is RefusalReason.CORRUPT


@pytest.mark.parametrize(("kind", "codec"), [("mkv", "libx264"), ("avi", "mjpeg")])
async def test_what_is_there_of_a_truncated_clip_counts(tmp_path: Path, kind: str, codec: str) -> None:
    content = video(kind, codec, seconds=6)
    report = await sampled(tmp_path, content[: len(content) // 2])
    assert 1 < len(report.frames) < 6
    assert report.duration < 5


async def test_a_clip_without_a_key_frame_never_shows_garbage(tmp_path: Path) -> None:
    error = await refused(tmp_path, without_key_frame(video("mkv", seconds=3, gop_size=1000)))
    assert error.reason is RefusalReason.CORRUPT


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:10.0,\n{url}\n#EXT-X-ENDLIST\n", VideoKind.MP4),
        (b"ffconcat version 1.0\nfile '{file}'\n", VideoKind.MKV),
        (b"<?xml version='1.0'?><MPD><BaseURL>{url}</BaseURL></MPD>", VideoKind.AVI),
        (box(b"ftyp", b"isom") + b"#EXTM3U\n#EXTINF:1,\n{url}\n", VideoKind.MP4),
    ],
)
async def test_playlists_are_no_videos_whatever_they_are_called(
    tmp_path: Path, content: bytes, kind: VideoKind
) -> None:
    async with _Witness() as witness:
        content = content.replace(b"{url}", witness.url.encode()).replace(b"{file}", b"/etc/passwd")
        error = await refused(tmp_path, content, kind=kind)
        assert error.reason in {RefusalReason.CORRUPT, RefusalReason.NO_VIDEO}
        assert witness.asked == []


@pytest.mark.parametrize("reference", ["{url}", "file:{file}", "{file}"])
async def test_what_a_container_refers_to_is_never_opened(tmp_path: Path, reference: str) -> None:
    """An mp4 may say that its pictures lie elsewhere (data reference); ours then has none of its own."""
    elsewhere = tmp_path / "elsewhere.mp4"
    elsewhere.write_bytes(video(seconds=1, scene=plain(250)))
    async with _Witness() as witness:
        target = reference.replace("{url}", witness.url).replace("{file}", str(elsewhere)).encode() + b"\0"
        report = await sampled(tmp_path, with_data_reference(video(seconds=1, scene=plain(10)), target))
        assert np.asarray(image(tmp_path, report)).max() < 60
        assert witness.asked == []


async def test_subtitles_in_an_avi_lead_nowhere(tmp_path: Path) -> None:
    """An AVI may hold subtitles of any kind (GAB2), a playlist too: FFmpeg once followed those."""
    async with _Witness() as witness:
        playlist = f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1.0,\n{witness.url}\n#EXT-X-ENDLIST\n".encode()
        gab2 = b"GAB2\0" + struct.pack("<HI", 2, 0) + struct.pack("<HI", 4, len(playlist)) + playlist
        report = await sampled(tmp_path, with_text_stream(video("avi", "mpeg4", seconds=1), gab2))
        assert offsets(report) == [0]
        assert witness.asked == []


async def test_a_header_of_a_huge_picture_is_refused(tmp_path: Path) -> None:
    content = video("mkv", "mjpeg", seconds=0.5)
    error = await refused(tmp_path, content, pictures=IngestSettings(max_pixels=5000))
    assert error.reason is RefusalReason.TOO_MANY_PIXELS
    lying = bytearray(video("avi", "mjpeg", seconds=0.5))
    for start in _all(bytes(lying), b"\xff\xc0"):
        lying[start + 5 : start + 9] = struct.pack(">HH", 60000, 60000)
    error = await refused(tmp_path, bytes(lying))
    assert error.reason in {RefusalReason.CORRUPT, RefusalReason.TOO_MANY_PIXELS, RefusalReason.TOO_COSTLY}


async def test_more_memory_than_allowed_is_refused(tmp_path: Path) -> None:
    content = video("mkv", "mjpeg", seconds=0.2, size=(7000, 7000), scene=plain(90, size=(7000, 7000)))
    assert len(content) < 3 << 20
    started = time.monotonic()
    error = await refused(tmp_path, content, ClipSettings(memory_bytes=256 << 20))
    assert error.reason is RefusalReason.TOO_COSTLY
    assert "HSI_CLIPS__MEMORY_BYTES" in error.detail
    assert time.monotonic() - started < 20


async def test_a_hundred_thousand_pictures(tmp_path: Path) -> None:
    content = repeated(video("mkv", "mjpeg", seconds=0.1, size=(32, 32), scene=plain(90, size=(32, 32))), 100_000)
    report = await sampled(tmp_path, content)
    assert report.duration == pytest.approx(10_000, abs=1)
    assert len(report.frames) == 30
    assert offsets(report)[-1] == 600


async def test_a_declared_duration_without_end_is_not_believed(tmp_path: Path) -> None:
    content = video("mkv", seconds=2)
    start = content.index(b"\x44\x89\x88") + 3
    content = content[:start] + struct.pack(">d", 1e15) + content[start + 8 :]
    report = await sampled(tmp_path, content)
    assert report.duration == pytest.approx(2, abs=0.2)
    assert offsets(report) == [0, 1]


async def test_a_process_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_decoder, "WORKER", "tests.support.sleeper")
    started = time.monotonic()
    error = await refused(tmp_path, video(seconds=0.3), ClipSettings(decode_seconds=1), grace_seconds=0.2)
    assert error.reason is RefusalReason.TOO_COSTLY
    assert time.monotonic() - started < 5
    assert _workers(tmp_path) == []


async def test_a_process_that_is_killed_is_tried_once_more(tmp_path: Path) -> None:
    task = asyncio.create_task(sampled(tmp_path, video(seconds=2)))
    await _kill_worker(tmp_path)
    assert offsets(await task) == [0, 1]


async def test_a_process_that_is_killed_again_is_given_up(tmp_path: Path) -> None:
    task = asyncio.create_task(refused(tmp_path, video(seconds=2)))
    await _kill_worker(tmp_path)
    await _kill_worker(tmp_path)
    assert (await task).reason is RefusalReason.CORRUPT


async def test_a_server_that_stops_takes_the_process_along(tmp_path: Path) -> None:
    task = asyncio.create_task(sampled(tmp_path, video(seconds=2)))
    await _worker(tmp_path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _workers(tmp_path) == []


async def test_the_process_gets_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERVISOR_TOKEN", "secret")
    task = asyncio.create_task(sampled(tmp_path, video(seconds=1)))
    assert "SUPERVISOR_TOKEN" not in (await _worker(tmp_path)).environ()
    await task


HEALTHY = [video(kind, codec, seconds=1) for kind, codec in (("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4"))]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(HEALTHY),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=6),
    st.floats(0.05, 1),
)
async def test_a_damaged_clip_ends_in_pictures_or_a_refusal(
    tmp_path: Path, content: bytes, damages: list[tuple[float, bytes]], length: float
) -> None:
    kind = video_kind(content)
    for place, damage in damages:
        start = int(place * len(content))
        content = content[:start] + damage + content[start + len(damage) :]
    with contextlib.suppress(RefusedError):
        assert (await sampled(tmp_path, content[: int(length * len(content))], kind=kind)).frames


def test_without_the_extra_the_remedy_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clips_problem(ClipSettings()) is None
    assert "HSI_CLIPS__ENABLED" in (clips_problem(ClipSettings(enabled=False)) or "")
    monkeypatch.setitem(sys.modules, "av", None)
    assert "install the extra clips" in (clips_problem(ClipSettings()) or "")


class _Witness:
    """A web server that nobody may ask for anything."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        application = web.Application()
        application.router.add_get("/{path:.*}", self._answer)
        self._server = TestServer(application)

    @property
    def url(self) -> str:
        return str(self._server.make_url("/1.ts"))

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        return web.Response(body=b"G")

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._server.close()


def _all(content: bytes, wanted: bytes) -> list[int]:
    places, start = [], content.find(wanted)
    while start >= 0:
        places.append(start)
        start = content.find(wanted, start + 1)
    return places


def _workers(folder: Path) -> list[psutil.Process]:
    children = psutil.Process(os.getpid()).children()
    return [child for child in children if child.is_running() and str(folder) in _command(child)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def _worker(folder: Path) -> psutil.Process:
    async with asyncio.timeout(10):
        while not (found := _workers(folder)):  # noqa: ASYNC110 - nothing tells that a process has started
            await asyncio.sleep(0.005)
    return found[0]


async def _kill_worker(folder: Path) -> None:
    worker = await _worker(folder)
    worker.send_signal(signal.SIGKILL)
    async with asyncio.timeout(10):
        while worker.pid in {one.pid for one in _workers(folder)}:  # noqa: ASYNC110 - nor that it has ended
            await asyncio.sleep(0.005)
