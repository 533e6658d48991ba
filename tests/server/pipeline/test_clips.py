# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a video in a camera's folder to an event that shows it: on real files, videos and tables."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, override
from zoneinfo import ZoneInfo

import av
import pytest
from sqlalchemy import Table, select

from inference_server.core.camera import CameraSettings, Mask
from inference_server.core.clip import EventClip, VideoKind
from inference_server.core.detection import Detection
from inference_server.core.event import Event
from inference_server.core.frame import FrameSource, RefusalReason
from inference_server.ingest.admission import Admission, AdmittedClip, FoundClip, Outcome, RefusedFile, RepeatedClip
from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.clips import admission as clip_admission
from inference_server.ingest.clips.admission import ClipAdmission
from inference_server.ingest.clips.decoder import ClipDecoder
from inference_server.ingest.clips.job import ClipReport
from inference_server.ingest.clips.reading import ClipReader, UnfinishedError
from inference_server.ingest.known_cameras import KnownCameras
from inference_server.ingest.picture import RefusedError
from inference_server.observability.health import ComponentHealth, HealthState
from inference_server.settings import ClipSettings
from inference_server.storage import announcements, arrivals, cameras, clips, events, frames
from inference_server.storage.events import EventFilter
from inference_server.storage.tables import arrivals as arrivals_table
from inference_server.storage.tables import clips as clips_table
from inference_server.storage.tables import frames as frames_table
from tests.support.bench import Bench, a_person, bench
from tests.support.pictures import TINY_ALLOWED, jpeg
from tests.support.recording_intake import RecordingIntake
from tests.support.videos import plain, video

MADE = "2026-11-23T07:59:30Z"
STARTED = datetime(2026, 11, 23, 7, 59, 30, tzinfo=UTC)
LEFT_HALF = Mask(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))


class _Everywhere(dict[int, Sequence[Detection] | Exception]):
    """A script in which every picture shows a person."""

    @override
    def get(self, _number: int, _default: object = None) -> Any:
        return (a_person(),)


@dataclass
class _Intake(RecordingIntake):
    """Remembers what the pipeline's own intake took."""

    bench: Bench | None = None

    @override
    async def take(self, outcomes: Sequence[Outcome]) -> Mapping[tuple[str, str], int]:
        assert self.bench is not None
        new = {} if self.failures else await self.bench.intake.take(outcomes)
        await super().take(outcomes)
        return new


@dataclass
class Filming:
    """A watch root whose videos pass the gate into a pipeline."""

    bench: Bench
    root: Path
    settings: ClipSettings = field(default_factory=ClipSettings)
    decoder: ClipDecoder | None = None
    intake: RecordingIntake = field(default_factory=RecordingIntake)
    backpressure: Backpressure = field(default_factory=Backpressure)
    cameras: KnownCameras = field(default_factory=lambda: KnownCameras(ZoneInfo("UTC")))

    def __post_init__(self) -> None:
        """Take what is found into the bench's pipeline."""
        self.intake = _Intake(bench=self.bench)

    def write(self, name: str, content: bytes) -> Path:
        """Write a file that was finished a minute ago."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        finished = path.stat().st_mtime - 60
        os.utime(path, (finished, finished))
        return path

    def found(self, path: Path) -> FoundClip:
        """Return what the gate says of a video."""
        outcome = self.gate(path)
        assert isinstance(outcome, FoundClip)
        return outcome

    def gate(self, path: Path, source: FrameSource = FrameSource.FOLDER) -> Outcome | None:
        """Return what the gate says of a file."""
        return Admission(self.root, self.bench.media, TINY_ALLOWED, self.bench.clock, self.cameras).admit(path, source)

    def reader(self) -> ClipReader:
        """Return what decodes clips."""
        return ClipReader(
            self.settings,
            TINY_ALLOWED,
            decoder=self.decoder or ClipDecoder(self.settings, TINY_ALLOWED),
            cameras=self.cameras,
            database=self.bench.database,
            media=self.bench.media,
            clock=self.bench.clock,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ClipAdmission]:
        """Admit clips during the block."""
        admission = ClipAdmission(
            self.settings,
            reader=self.reader(),
            intake=self.intake,
            database=self.bench.database,
            media=self.bench.media,
            backpressure=self.backpressure,
            health=self.bench.health,
            clock=self.bench.clock,
        )
        task = asyncio.create_task(admission.run())
        try:
            yield admission
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def admit(self, name: str, content: bytes) -> Outcome:
        """Bring a video to its end of the gate and return what became of it."""
        path = self.write(name, content)
        async with self.running() as admission:
            await admission.take([self.found(path)])
            await self.intake.until_taken(name)
        return self.intake.taken[-1]

    async def rows(self, table: Table) -> list[Any]:
        """Return what a table holds."""
        async with self.bench.database.reading() as connection:
            return list(await connection.execute(select(table).order_by(table.c.id)))

    async def event(self) -> Event:
        """Return the only event, as it is read."""
        async with self.bench.database.reading() as connection:
            (event,) = (await events.find(connection, EventFilter(), limit=5, cursor=None)).items
            assert await events.get(connection, event.id) == event
        return event

    def health(self) -> ComponentHealth:
        """Return what health says about clips."""
        return next(component for component in self.bench.health.components if component.name == "clips")


@pytest.fixture
async def filming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Filming]:
    """Give a watch root; what cannot be stored is tried again at once."""
    monkeypatch.setattr(clip_admission, "RETRY_SECONDS", 0.01)
    async with bench(tmp_path) as made:
        made.detector.script = _Everywhere()
        yield Filming(made, tmp_path / "cameras")


@pytest.fixture
def filming_anywhere(a_bench: Bench, tmp_path: Path) -> Filming:
    """Give a watch root before a pipeline on each database."""
    a_bench.detector.script = _Everywhere()
    return Filming(a_bench, tmp_path / "cameras")


async def test_a_video_becomes_frames_of_an_event_that_shows_it(filming_anywhere: Filming) -> None:
    filming = filming_anywhere
    content = video(seconds=3, created=MADE)
    outcome = await filming.admit("Front Door/2026/clip.MP4", content)
    assert isinstance(outcome, AdmittedClip)

    (clip,) = await filming.rows(clips_table)
    assert (clip.camera_id, clip.captured_at, clip.width, clip.height) == ("front_door", STARTED, 96, 64)
    assert (clip.size_bytes, clip.duration_seconds) == (len(content), pytest.approx(3, abs=0.1))
    assert filming.bench.media.read(clip.media_path) == content
    stored = await filming.rows(frames_table)
    assert [frame.clip_offset_seconds for frame in stored] == [0, 1, 2]
    for frame in stored:
        assert frame.captured_at == STARTED + timedelta(seconds=frame.clip_offset_seconds)
        assert (frame.source, frame.time_source, frame.clip_id) == ("clip", "container", clip.id)
        assert frame.size_bytes == len(filming.bench.media.read(frame.media_path))
    (arrival,) = await filming.rows(arrivals_table)
    assert (arrival.clip_id, arrival.frame_id, arrival.refusal_reason) == (clip.id, None, None)

    await filming.bench.work()
    event = await filming.event()
    assert (event.frame_count, event.started_at) == (3, STARTED)
    assert event.clips == (EventClip(clip.id, 0.0),)
    told = [item.event for item in await filming.bench.told() if item.event]
    assert told[-1].clips == event.clips


async def test_a_name_tells_when_a_clip_began(filming: Filming) -> None:
    filming.cameras.update({"front": CameraSettings(time_zone="Europe/Berlin")}, {})
    await filming.admit("front/2026-11-23/Front_00_20261123085930.mp4", video(seconds=2))
    (clip,) = await filming.rows(clips_table)
    assert clip.captured_at == STARTED
    assert {frame.time_source for frame in await filming.rows(frames_table)} == {"file_name"}


async def test_an_old_clip_is_history(filming: Filming) -> None:
    path = filming.write("front/1.mp4", video(seconds=2, created=MADE))
    found = filming.gate(path, FrameSource.IMPORT)
    assert isinstance(found, FoundClip)
    async with filming.running() as admission:
        await admission.take([found])
        await filming.intake.until_taken("front/1.mp4")
    assert {frame.source for frame in await filming.rows(frames_table)} == {"import"}
    await filming.bench.work()
    event = await filming.event()
    assert (event.started_at, event.is_open, event.clips) == (STARTED, False, (EventClip(1, 0.0),))
    assert [item.event for item in await filming.bench.told() if item.event] == []


async def test_an_event_of_pictures_alone_shows_no_clip(filming: Filming) -> None:
    await filming.bench.see(a_person())
    assert (await filming.event()).clips == ()


async def test_the_same_video_again_changes_nothing(filming: Filming, monkeypatch: pytest.MonkeyPatch) -> None:
    content = video(seconds=2)
    await filming.admit("front/1.mp4", content)

    async def never(*_arguments: object) -> ClipReport:
        raise AssertionError("it was decoded again")

    monkeypatch.setattr(ClipDecoder, "sample", never)
    assert isinstance(await filming.admit("front/renamed.mp4", content), RepeatedClip)
    assert len(await filming.rows(clips_table)) == 1
    assert len(await filming.rows(frames_table)) == 2
    assert [row.clip_id for row in await filming.rows(arrivals_table)] == [1, 1]
    async with filming.bench.database.reading() as connection:
        assert await arrivals.unseen(connection, [item.file for item in filming.intake.taken if item.file]) == []


async def test_a_clip_that_was_decoded_twice_at_once_is_recorded_once(filming_anywhere: Filming) -> None:
    filming = filming_anywhere
    path = filming.write("front/1.mp4", video(seconds=2))
    outcomes = [await filming.reader().read(filming.found(path)) for _ in range(2)]
    for outcome in outcomes:
        await filming.intake.take([outcome])
    assert len(await filming.rows(clips_table)) == 1
    assert len(await filming.rows(frames_table)) == 2


async def test_the_same_video_of_two_cameras_is_two_clips(filming: Filming) -> None:
    content = video(seconds=2)
    await filming.admit("front/1.mp4", content)
    await filming.admit("back/1.mp4", content)
    assert [clip.camera_id for clip in await filming.rows(clips_table)] == ["front", "back"]
    assert len(await filming.rows(frames_table)) == 4


async def test_pictures_do_not_wait_for_a_clip(filming: Filming) -> None:
    class Slow(ClipDecoder):
        started, go_on = asyncio.Event(), asyncio.Event()

        @override
        async def sample(self, folder: Path, kind: VideoKind, masks: Sequence[Mask]) -> ClipReport:
            self.started.set()
            await self.go_on.wait()
            return await super().sample(folder, kind, masks)

    filming.decoder = Slow(filming.settings, TINY_ALLOWED)
    clip = filming.found(filming.write("front/clip.mp4", video(seconds=1)))
    async with filming.running() as admission:
        await admission.take([clip])
        await Slow.started.wait()
        picture = filming.gate(filming.write("front/1.jpg", jpeg()))
        assert picture is not None
        await admission.take([picture])
        assert filming.intake.paths == ["front/1.jpg"]
        Slow.go_on.set()
        await filming.intake.until_taken("front/clip.mp4")


async def test_clips_wait_while_nothing_is_let_in(filming: Filming) -> None:
    filming.backpressure.close("disk", "The disk is full.")
    clip = filming.found(filming.write("front/clip.mp4", video(seconds=1)))
    async with filming.running() as admission:
        await admission.take([clip])
        await filming.bench.take()
        assert filming.intake.paths == []
        filming.backpressure.open("disk")
        await filming.intake.until_taken("front/clip.mp4")


async def test_a_masked_camera_keeps_a_masked_copy(filming: Filming) -> None:
    filming.cameras.update({"front": CameraSettings(masks=(LEFT_HALF,))}, {})
    await filming.admit("front/2.mkv", video("mkv", seconds=2, scene=plain(220)))
    stored = (await filming.rows(clips_table))[-1]
    assert stored.media_path.endswith(".mp4")
    path = filming.bench.media.path(stored.media_path)
    assert stored.size_bytes == path.stat().st_size
    with av.open(str(path)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) == 20
    for pixels in shown:
        assert pixels[:, :44].max() < 16
        assert pixels[:, 52:].min() > 190


async def test_a_masked_copy_that_cannot_be_made_is_not_kept_and_its_pictures_are(filming: Filming) -> None:
    class NoCopy(ClipDecoder):
        @override
        async def copy(self, folder: Path, kind: VideoKind, masks: Sequence[Mask]) -> None:
            raise RefusedError(RefusalReason.TOO_COSTLY, "It was not finished.")

    filming.cameras.update({"front": CameraSettings(masks=(LEFT_HALF,))}, {})
    filming.decoder = NoCopy(filming.settings, TINY_ALLOWED)
    await filming.admit("front/2.mp4", video(seconds=2, created=MADE))
    clip = (await filming.rows(clips_table))[-1]
    assert (clip.media_path, clip.size_bytes, clip.pruned_at) == ("", 0, filming.bench.clock.now())
    await filming.bench.work()
    async with filming.bench.database.reading() as connection:
        assert (await events.find(connection, EventFilter(), limit=1, cursor=None)).items[0].clips == ()
    assert not [path for path in filming.bench.media.root.rglob("*") if path.name.startswith(clip.content_hash)]


async def test_without_the_extra_a_clip_is_refused_until_it_was_installed(
    filming: Filming, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = video(seconds=1)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "av", None)
        outcome = await filming.admit("front/1.mp4", content)
        assert isinstance(outcome, RefusedFile)
        assert outcome.refusal.reason is RefusalReason.CLIPS_OFF
        assert "install the extra clips" in outcome.refusal.detail
        assert (filming.health().state, filming.health().remedy) == (HealthState.DEGRADED, outcome.refusal.detail)
        assert await unseen(filming, outcome) == []
    assert isinstance(await filming.admit("front/2.mp4", video(seconds=2)), AdmittedClip)
    assert filming.health().state is HealthState.OK
    assert await unseen(filming, outcome) == [outcome.file]


async def unseen(filming: Filming, outcome: Outcome) -> list[Any]:
    assert outcome.file is not None
    async with filming.bench.database.reading() as connection:
        return await arrivals.unseen(connection, [outcome.file])


async def test_clips_that_are_turned_off_are_no_trouble(filming: Filming) -> None:
    filming.settings = ClipSettings(enabled=False)
    outcome = await filming.admit("front/1.mp4", video(seconds=1))
    assert isinstance(outcome, RefusedFile)
    assert "HSI_CLIPS__ENABLED" in outcome.refusal.detail
    assert filming.health().state is HealthState.OK


async def test_what_cannot_be_decoded_is_refused_and_leaves_nothing(filming: Filming) -> None:
    outcome = await filming.admit("front/1.mp4", video(seconds=1)[:200])
    assert isinstance(outcome, RefusedFile)
    assert (outcome.refusal.reason, outcome.refusal.camera_id) == (RefusalReason.CORRUPT, "front")
    assert [path for path in filming.bench.media.root.rglob("*") if path.is_file()] == []
    assert await filming.rows(clips_table) == []


async def test_a_clip_above_the_limit_is_not_even_copied(filming: Filming) -> None:
    filming.settings = ClipSettings(max_bytes=1 << 20)
    outcome = await filming.admit("front/1.mp4", video(seconds=1) + bytes(1 << 20))
    assert isinstance(outcome, RefusedFile)
    assert outcome.refusal.reason is RefusalReason.TOO_LARGE


async def test_one_that_something_unexpected_happens_to_keeps_no_other(
    filming: Filming, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ClipReader, "read", lambda *_: 1 / 0)
        outcome = await filming.admit("front/1.mp4", video(seconds=1))
    assert isinstance(outcome, RefusedFile)
    assert outcome.refusal.reason is RefusalReason.UNREADABLE
    assert isinstance(await filming.admit("front/2.mp4", video(seconds=1)), AdmittedClip)


async def test_a_file_that_changes_is_left_until_it_is_found_again(filming: Filming) -> None:
    content = video("mkv", seconds=2)
    path = filming.write("front/1.mkv", content[: len(content) // 2])
    early = filming.found(path)
    filming.write("front/1.mkv", content)
    with pytest.raises(UnfinishedError):
        await filming.reader().read(early)
    outcome = await filming.reader().read(filming.found(path))
    assert isinstance(outcome, AdmittedClip)
    assert len(outcome.frames) == 2
    path.unlink()
    with pytest.raises(UnfinishedError):
        await filming.reader().read(early)


async def test_a_file_that_was_written_just_now_is_left_alone_for_a_while(filming: Filming) -> None:
    path = filming.write("front/1.mp4", video(seconds=1))
    os.utime(path)
    found = filming.found(path)
    reader = filming.reader()
    reader._settled_seconds = 0.3
    reading = asyncio.create_task(reader.read(found))
    await asyncio.sleep(0)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(UnfinishedError):
        await reading


async def test_a_clip_that_cannot_be_stored_waits(filming: Filming, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[HealthState] = []
    monkeypatch.setattr(filming.bench.health, "report", lambda _, state, **_more: reported.append(state))
    filming.intake.failures.append(OSError(28, "No space left on device"))
    assert isinstance(await filming.admit("front/1.mp4", video(seconds=1)), AdmittedClip)
    assert HealthState.DOWN in reported


async def test_a_crash_leaves_all_or_nothing(filming: Filming, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = await filming.reader().read(filming.found(filming.write("front/1.mp4", video(seconds=2))))

    async def crash(*_arguments: object) -> None:
        raise RuntimeError("the plug was pulled")

    for module, name in (
        (cameras, "add"),
        (clips, "add"),
        (frames, "add"),
        (arrivals, "record"),
        (announcements, "add"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, crash)
            with pytest.raises(RuntimeError):
                await filming.intake.take([outcome])
        for table in (clips_table, frames_table, arrivals_table):
            assert await filming.rows(table) == []
        assert (await filming.bench.broker.status()).depth == 0
    await filming.intake.take([outcome])
    assert len(await filming.rows(frames_table)) == 2
    assert (await filming.bench.broker.status()).depth == 2


async def test_what_a_killed_server_left_is_cleared_away(filming: Filming) -> None:
    left = filming.bench.media.root / ".scratch-killed"
    left.mkdir(parents=True)
    (left / "clip").write_bytes(b"half")
    await filming.admit("front/1.mp4", video(seconds=1))
    assert not left.exists()
    assert [path.name for path in filming.bench.media.root.iterdir()] == ["front"]
