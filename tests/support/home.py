# SPDX-License-Identifier: AGPL-3.0-or-later
"""A home with a real database and real pictures, filled through the storage functions."""

import hashlib
import io
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

from PIL import Image
from sqlalchemy import URL, update

from inference_server.api.context import ApiContext, ApiLimits, PromptAnalyst, PromptParts
from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.assessment import Assessment, AssessmentSource, Factor, LevelThresholds
from inference_server.core.camera import Camera, camera_name
from inference_server.core.context import CameraPlace
from inference_server.core.detection import Box, Category, Detection, Label, Track, ZoneType
from inference_server.core.event import EndReason, Event
from inference_server.core.feedback import Experience, FeedbackKind, Opinion, Signature
from inference_server.core.frame import Refusal, RefusalReason
from inference_server.core.incident import Incident
from inference_server.core.message import Failure, Message, StageName, Work
from inference_server.core.model import Capability, DeviceNeed, Licence, MemoryBasis, MemoryNeed, ModelMemory
from inference_server.core.prompt import PromptKind
from inference_server.core.signal import Signal
from inference_server.core.stationary import Standing
from inference_server.core.status import AnalystState, AnalystStatus, DetectorState, DetectorStatus, QueueStatus
from inference_server.core.zone import Zone, ZoneShape, rectangle
from inference_server.detection.backends.trial import detector_trial
from inference_server.doctor.practice import Practice
from inference_server.hardware.machine import Machine
from inference_server.ingest.admission import Gate
from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.camera_reader import CameraReader
from inference_server.ingest.known_cameras import KnownCameras
from inference_server.ingest.uploads import Uploads
from inference_server.models.catalogue import HttpsSource, ModelEntry, Weights
from inference_server.models.jobs import ModelJobs
from inference_server.models.store import ModelStore
from inference_server.observability.health import HealthBoard
from inference_server.pipeline.backups import Backups
from inference_server.pipeline.intake import FrameIntake
from inference_server.pipeline.judging import Judging
from inference_server.pipeline.prompting import PromptCases
from inference_server.pipeline.sql_broker import SqlBroker
from inference_server.pipeline.upkeep import Upkeep
from inference_server.risk.prompts.rendering import Installation
from inference_server.risk.prompts.shipped import newest_shipped
from inference_server.risk.weights import shipped_weights
from inference_server.settings import BackupSettings, IngestSettings, RetentionSettings, Settings
from inference_server.storage import (
    announcements,
    arrivals,
    cameras,
    clips,
    dead_letters,
    events,
    feedback,
    frames,
    ftp_accounts,
    incidents,
    prompts,
    stationary,
    tables,
    tokens,
    trash,
    zones,
)
from inference_server.storage.arrivals import Arrival, FileVersion
from inference_server.storage.clips import NewClip
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import Database
from inference_server.storage.events import EventChange
from inference_server.storage.frames import NewFrame
from inference_server.storage.ftp_accounts import FtpAccount
from inference_server.storage.incidents import Membership
from inference_server.storage.media import MediaFolder
from inference_server.storage.prompts import NewPrompt
from inference_server.storage.tokens import Scope
from tests.support.gpus import NO_GPU, FakeGpus
from tests.support.pictures import TINY_ALLOWED

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
SERVER_ID = "0123456789abcdef0123456789abcdef"
PERSON = Detection(Label.PERSON, 0.91, Box(40, 30, 80, 160))
BUS = Detection(Label.BUS, 0.75, Box(200, 20, 300, 250))


@dataclass
class MovableClock:
    """A clock that stands until it is moved."""

    time: datetime = START

    def now(self) -> datetime:
        """Return the time it stands at."""
        return self.time

    def move(self, **by: float) -> datetime:
        """Go on by a `timedelta` and return the new time."""
        self.time += timedelta(**by)
        return self.time


@dataclass
class Home:
    """The parts of a server without its pipeline: tests do what the pipeline does."""

    database: Database
    media: MediaFolder
    clock: MovableClock = field(default_factory=MovableClock)
    announced: Signal = field(default_factory=Signal)
    server_changed: Signal = field(default_factory=Signal)
    detector: DetectorStatus = field(
        default_factory=lambda: DetectorStatus(DetectorState.OK, "yolo26n", "YOLO26n", provider="CPUExecutionProvider")
    )
    queue: QueueStatus = field(default_factory=lambda: QueueStatus(0, 0))
    analyst: AnalystStatus = field(default_factory=lambda: AnalystStatus(AnalystState.OFF))
    reanalysed: list[int] = field(default_factory=list)
    ready: bool = True
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    random: Random = field(default_factory=lambda: Random(1))
    limits: IngestSettings = TINY_ALLOWED
    prompt_analyst: PromptAnalyst | None = None

    def __post_init__(self) -> None:
        """Make the parts that need others."""
        self.health = HealthBoard(self.clock)
        self.backpressure = Backpressure()
        self.known_cameras = KnownCameras(ZoneInfo("UTC"))
        self.camera_reader = CameraReader(self.database, self.known_cameras, self.health)
        self.broker = SqlBroker(self.database, self.clock)
        judging = Judging(self.health, Signal())
        self.uploads = Uploads(
            self.media.root.parent / "uploads",
            gate=Gate(self.media, self.limits, self.known_cameras),
            intake=FrameIntake(self.broker, self.announced, self.clock, judging=judging),
            database=self.database,
            backpressure=self.backpressure,
            clock=self.clock,
            max_bytes=self.limits.max_bytes,
        )
        self.data = DataFolder(self.media.root.parent)
        self.backups = Backups(
            self.database,
            self.data,
            BackupSettings(),
            zone=ZoneInfo("UTC"),
            passphrase=None,
            health=self.health,
            clock=self.clock,
        )
        folder = self.media.root.parent
        self.settings = Settings(
            data_dir=folder, watch_root=folder / "cameras", time_zone="UTC", retention=self.retention
        )
        self.gpus = FakeGpus(fails=NO_GPU)
        self.machine = Machine(self.settings.hardware, self.health, self.clock, open_gpus=self.gpus)
        self.practice = Practice(self.settings, self.clock, lambda: None)
        self.upkeep = Upkeep(
            self.settings,
            self.database,
            self.media,
            announced=self.announced,
            health=self.health,
            clock=self.clock,
            judged=lambda: self.detector.judges,
        )

        self.know_models(sample_model())

    @property
    def file(self) -> Path:
        """The database's file."""
        assert self.database.file is not None
        return self.database.file

    def know_models(self, *catalogue: ModelEntry, free: int = 1 << 40) -> None:
        """Have a catalogue of these models, and room for so many bytes; call it before `context`."""
        folder = self.media.root.parent / "models"
        self.store = ModelStore(folder, catalogue=catalogue, free=lambda _folder: free)
        self.models = ModelJobs(
            self.store,
            self.clock,
            parallel=2,
            in_use=lambda: self.detector.model,
            validate=detector_trial(self.settings.detector),
        )

    def context(self, limits: ApiLimits | None = None) -> ApiContext:
        """Return what the API gets."""

        async def queue_status() -> QueueStatus:
            return self.queue

        async def reanalyse(event: Event) -> None:
            self.reanalysed.append(event.id)

        return ApiContext(
            database=self.database,
            media=self.media,
            clock=self.clock,
            server_id=SERVER_ID,
            name="Test home",
            thresholds=LevelThresholds(),
            risk=self.settings.risk,
            weights=shipped_weights(),
            zone=ZoneInfo("UTC"),
            health=self.health,
            accounts=self.upkeep.accounts,
            housekeeping=self.upkeep.housekeeping,
            trash_days=self.settings.retention.trash_days,
            detector_status=lambda: self.detector,
            analyst_status=lambda: self.analyst,
            reanalyse=reanalyse,
            queue_status=queue_status,
            replay=self.broker.replay,
            announced=self.announced,
            server_changed=self.server_changed,
            uploads=self.uploads,
            cameras_changed=self.camera_reader.read_if_possible,
            prompts=PromptParts(
                cases=PromptCases(self.settings.risk, self.settings.zone, self.clock),
                budget_tokens=self.settings.risk.prompt_tokens,
                installation=Installation(self.settings.risk.thresholds),
                analyst=self.prompt_analyst,
            ),
            ready=lambda: self.ready,
            started_at=START,
            backups=self.backups,
            models=self.models,
            hardware=self.machine.report,
            diagnose=self.practice.diagnose,
            limits=limits or ApiLimits(),
        )

    async def token(self, scope: Scope = Scope.INTEGRATION) -> str:
        """Make a token."""
        async with self.database.writing() as connection:
            return await tokens.create(connection, f"test {scope}", scope, START)

    async def camera(self, camera_id: str = "front_door") -> str:
        """Add a camera and return its id."""
        async with self.database.writing() as connection:
            await cameras.add(connection, Camera(camera_id, camera_name(camera_id), self.clock.now()))
        return camera_id

    async def frame(
        self,
        camera_id: str = "front_door",
        *,
        detections: Sequence[Detection] = (),
        kind: str = "JPEG",
        size: tuple[int, int] = (640, 480),
    ) -> int:
        """Admit a picture and return its frame id."""
        content = picture(self.random, kind, size)
        content_hash = hashlib.sha256(content).hexdigest()
        now = self.clock.now()
        extension = "png" if kind == "PNG" else "jpg"
        media_path = self.media.write(camera_id, content_hash, extension, content)
        async with self.database.writing() as connection:
            new = NewFrame(camera_id, content_hash, media_path, now, now, *size)
            frame_id = (await frames.add(connection, [new]))[new.key]
            await frames.add_detections(connection, {frame_id: detections})
            camera = (await cameras.get_many(connection, [camera_id]))[camera_id]
            newest = replace(camera, camera=replace(camera.camera, last_frame_at=now), last_frame_id=frame_id)
            await cameras.update_latest(connection, newest)
        return frame_id

    async def clip(self, content: bytes = b"a video", kind: str = "mp4", *frame_ids: int) -> int:
        """Admit a video of the front door, of which these are frames a second apart, and return its clip id."""
        content_hash, now = hashlib.sha256(content).hexdigest(), self.clock.now()
        with self.media.scratch() as folder:
            (folder / "clip").write_bytes(content)
            path = self.media.store_file(folder / "clip", "front_door", content_hash, kind)
        new = NewClip("front_door", content_hash, path, now, now, 5.0, 640, 480, len(content))
        async with self.database.writing() as connection:
            clip_id = await clips.add(connection, new)
            assert clip_id is not None
            for offset, frame_id in enumerate(frame_ids, 1):
                of_clip = {"clip_id": clip_id, "clip_offset_seconds": float(offset)}
                await connection.execute(update(tables.frames).where(tables.frames.c.id == frame_id).values(**of_clip))
        return clip_id

    async def event(
        self,
        camera_id: str = "front_door",
        *,
        score: int = 35,
        detections: Sequence[Detection] = (PERSON, BUS),
        reasoning: str = "Four people stand at the door.",
    ) -> Event:
        """Open an event on a new frame and return it."""
        frame_id = await self.frame(camera_id, detections=detections)
        now = self.clock.now()
        change = EventChange(
            last_detection_at=now,
            frame_count=1,
            best_frame_id=frame_id,
            best_confidence=0.91,
            tracks=tuple(Track(found.label, found.confidence, now, now, 1) for found in detections),
            assessment=assessment(score, now, reasoning),
        )
        async with self.database.writing() as connection:
            event = await events.start(connection, camera_id, now, change)
            await frames.give_to_event(connection, [frame_id], event.id)
            camera = (await cameras.get_many(connection, [camera_id]))[camera_id]
            await cameras.update_latest(connection, replace(camera, last_event_id=event.id))
        return event

    async def ended_event(self, camera_id: str = "front_door", *, score: int = 35) -> Event:
        """Open an event and end it."""
        event = await self.event(camera_id, score=score)
        async with self.database.writing() as connection:
            return await events.end(connection, event, self.clock.now(), EndReason.IDLE)

    async def incident(self, *of: Event, ended: bool = False) -> Incident:
        """Make one story of events and return it."""
        async with self.database.writing() as connection:
            incident_id = await incidents.begin(connection, of[0].started_at)
            line = "08:00 Somewhere: a person"
            await incidents.give(connection, [Membership(event.id, incident_id, "a person", line) for event in of])
            await incidents.renew(connection, [incident_id])
            await incidents.set_end(connection, incident_id, self.clock.now() if ended else None)
            incident = await incidents.get(connection, incident_id)
        assert incident is not None
        return incident

    async def zone(self, name: str = "Porch", camera_id: str = "front_door") -> Zone:
        """Add a zone on the left half of a camera's picture."""
        shape = ZoneShape(name=name, type=ZoneType.ENTRY, points=rectangle(0, 0, 0.5, 1))
        async with self.database.writing() as connection:
            return await zones.add(connection, camera_id, shape)

    async def standing(self, camera_id: str = "front_door") -> int:
        """Let a car stand still on a camera's picture and return its id."""
        now = self.clock.now()
        car = Standing(
            id=None,
            camera_id=camera_id,
            label=Label.CAR,
            box=Box(0.25, 0.5, 0.25, 0.125),
            first_seen_at=now,
            last_seen_at=now,
            arrived_at=now,
            sightings=7,
            stationary_at=now,
        )
        async with self.database.writing() as connection:
            await stationary.replace(connection, (), (car,))
            return max(item.id or 0 for item in await stationary.stationary(connection, camera_id))

    async def opinion(self, event_id: int = 1, camera_id: str = "front_door") -> int:
        """Call an event a false alarm and return the id of that feedback."""
        like = Signature(camera_id, CameraPlace.OTHER, Category.PERSON, False, frozenset({"person_seen"}))
        alarm = Experience(Opinion(FeedbackKind.FALSE_ALARM), self.clock.now(), like, 64, False)
        async with self.database.writing() as connection:
            await cameras.lock(connection, [camera_id])
            return (await feedback.give(connection, event_id, alarm)).id

    async def prompt(self) -> int:
        """Store a version of the analyst's prompt, which is not in use, and return its number."""
        shipped = newest_shipped(PromptKind.ANALYST)
        new = NewPrompt(kind=shipped.kind, name="Another", text=shipped.text)
        async with self.database.writing() as connection:
            return (await prompts.add(connection, new, self.clock.now())).number

    async def ftp_account(self, camera_id: str = "front_door") -> None:
        """Let a camera upload by FTP."""
        async with self.database.writing() as connection:
            await ftp_accounts.add(connection, FtpAccount(camera_id, camera_id, "no hash", self.clock.now()))

    async def thrown_away(self, camera_id: str = "front_door", *, score: int = 35) -> Event:
        """Put an ended event into the trash and return it."""
        event = await self.ended_event(camera_id, score=score)
        async with self.database.writing() as connection:
            await trash.put(connection, event, self.clock.now())
        return event

    async def original(self, frame_id: int, path: str) -> Path:
        """Write the file in a camera's folder of which a frame was made, and return it."""
        file = self.settings.watch_folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.random.randbytes(100))
        async with self.database.writing() as connection:
            frame = await frames.get(connection, frame_id)
            assert frame is not None
            version = FileVersion.of(path, file.lstat())
            await arrivals.record(connection, [Arrival(version, frame.arrived_at, frame.camera_id, frame_id)])
        return file

    def later(self, **by: float) -> datetime:
        """Let time go by, for the files in the media folder as well."""
        seconds = timedelta(**by).total_seconds()
        for path in self.media.root.rglob("*"):
            if path.is_file():
                status = path.stat()
                os.utime(path, (status.st_atime - seconds, status.st_mtime - seconds))
        return self.clock.move(**by)

    async def refuse(self, path: str, camera_id: str | None = "front_door") -> None:
        """Record a refused file."""
        refusal = Refusal(path, camera_id, RefusalReason.CORRUPT, "It ends too early.", self.clock.now())
        async with self.database.writing() as connection:
            await arrivals.record(
                connection, [Arrival(FileVersion(path, 10, 1), refusal.refused_at, camera_id, refusal=refusal)]
            )

    async def announce(self, *items: Announcement) -> None:
        """Commit announcements and notify, as the pipeline does."""
        async with self.database.writing() as connection:
            await announcements.add(connection, items)
        self.announced.notify()

    async def dead_letter(self, frame_id: int = 1, camera_id: str = "front_door") -> int:
        """Let the detection in a frame fail for good and return the dead letter's id."""
        now = self.clock.now()
        message = Message(frame_id, Work(StageName.DETECT, frame_id, camera_id, now), 6, now)
        async with self.database.writing() as connection:
            await dead_letters.add(connection, message, Failure("broken", trace="/home/owner/detect.py"), now)
            return (await dead_letters.find(connection, limit=1)).items[0].id

    async def announce_state(self, camera_id: str = "front_door", times: int = 1) -> None:
        """Announce a camera as it stands."""
        async with self.database.reading() as connection:
            state = await cameras.state(connection, camera_id, judged=True)
        kind = AnnouncementKind.CAMERA_UPDATED
        await self.announce(*[Announcement(kind, camera_id, self.clock.now(), camera=state)] * times)


def sample_model(url: str = "http://127.0.0.1:9/sample.bin", content: bytes = b"weights") -> ModelEntry:
    """Return a model of one file, which this address has."""
    weights = Weights("sample.bin", len(content), hashlib.sha256(content).hexdigest(), (HttpsSource(url),))
    return ModelEntry(
        id="sample",
        name="Sample",
        capability=Capability.DEPTH,
        purpose="Tries the rest.",
        licence=Licence("MIT", commercial_use=True),
        memory=ModelMemory(MemoryNeed(10, MemoryBasis.MEASURED), MemoryNeed(10, MemoryBasis.MEASURED)),
        device=DeviceNeed.CPU,
        files=(weights,),
    )


@asynccontextmanager
async def home(
    folder: Path, where: URL | None = None, retention: RetentionSettings | None = None
) -> AsyncIterator[Home]:
    """Give a home whose data lie in a folder, or whose rows lie in PostgreSQL."""
    database = Database(where or folder / "hsi.sqlite3")
    await database.open()
    try:
        yield Home(database, MediaFolder(folder / "media"), retention=retention or RetentionSettings())
    finally:
        await database.close()


def assessment(score: int, at: datetime, reasoning: str = "A person stands at the door.") -> Assessment:
    """Return a verdict of the rules."""
    factors = (Factor("person_seen", score, "1 person, confidence up to 0.91"),)
    return Assessment(score, "A person and a bus", reasoning, factors, AssessmentSource.RULES, False, at)


def picture(random: Random, kind: str = "JPEG", size: tuple[int, int] = (640, 480)) -> bytes:
    """Return a picture of noise: its content is different each time."""
    noise = Image.frombytes("RGB", (16, 16), random.randbytes(16 * 16 * 3)).resize(size)
    target = io.BytesIO()
    noise.save(target, kind)
    return target.getvalue()
