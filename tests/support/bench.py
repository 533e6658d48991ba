# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pipeline on a real database and real pictures, with a detector that follows a script and a clock that stands."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import URL, select

from inference_server.core.announcement import Announcement, CameraState
from inference_server.core.detection import Box, Detection, Label
from inference_server.core.event import Event
from inference_server.core.frame import FrameSource
from inference_server.core.incident import Incident
from inference_server.core.signal import Signal
from inference_server.detection.backends.opening import Opened
from inference_server.detection.detector import Picture
from inference_server.ingest.admission import AdmittedFile
from inference_server.ingest.picture import examine
from inference_server.models.store import ResolvedModel
from inference_server.observability.health import HealthBoard
from inference_server.pipeline.batch import BatchRules
from inference_server.pipeline.close import CloseStage
from inference_server.pipeline.detect import BATCH, DetectStage
from inference_server.pipeline.explaining import NOT_EXPLAINED, Explaining
from inference_server.pipeline.gather import GatherStage
from inference_server.pipeline.incident_end import IncidentEnding
from inference_server.pipeline.incidents import IncidentKeeper
from inference_server.pipeline.inference import InferenceThreads
from inference_server.pipeline.intake import FrameIntake
from inference_server.pipeline.judging import Judging
from inference_server.pipeline.sql_broker import SqlBroker
from inference_server.pipeline.stage import Stage
from inference_server.pipeline.view_watch import ViewWatch
from inference_server.settings import BatchSettings, IncidentSettings, RiskSettings, SceneSettings, StationarySettings
from inference_server.storage import announcements, cameras, events, incidents
from inference_server.storage.arrivals import FileVersion
from inference_server.storage.database import Database
from inference_server.storage.events import EventFilter
from inference_server.storage.incidents import IncidentFilter
from inference_server.storage.media import MediaFolder
from inference_server.storage.tables import detections
from tests.support.home import MovableClock
from tests.support.pictures import TINY_ALLOWED, plain_png

CAMERA = "front_door"
NO_SCENE = SceneSettings(enabled=False)
"""Pictures of one colour, as scripts have them, are too dark for any view."""
MODEL = ResolvedModel(Path("scripted.onnx"), "scripted", "Scripted")


def a_person(confidence: float = 0.9, x: float = 10) -> Detection:
    """Return a person who stands somewhere on a picture of 64 x 48 pixels."""
    return Detection(Label.PERSON, confidence, Box(x, 10, 8, 20))


@dataclass
class ScriptedDetector:
    """Sees in a picture of one colour what the script says of that colour; an exception in the script is raised."""

    script: dict[int, Sequence[Detection] | Exception] = field(default_factory=dict)
    calls: list[list[int]] = field(default_factory=list)
    name: str = "Scripted"
    provider: str = "Script"
    input_size: int = 32
    parallel: int = 1

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        """Return what the script says of each picture."""
        numbers = [int.from_bytes(picture.pixels[0, 0].tobytes()) for picture in pictures]
        self.calls.append(numbers)
        found: list[tuple[Detection, ...]] = []
        for number in numbers:
            seen = self.script.get(number, ())
            if isinstance(seen, Exception):
                raise seen
            found.append(tuple(seen))
        return found


class Bench:
    """A pipeline whose stages work only when they are told to."""

    def __init__(
        self,
        folder: Path,
        clock: MovableClock,
        batch: BatchSettings,
        risk: RiskSettings,
        zone: ZoneInfo,
        where: URL | None = None,
        stationary: StationarySettings | None = None,
        scene: SceneSettings = NO_SCENE,
        explaining: Explaining = NOT_EXPLAINED,
    ) -> None:
        """Build the parts on a folder; two benches on one folder are two runs of one server."""
        self.clock = clock
        self.database = Database(where or folder / "hsi.db")
        self.media = MediaFolder(folder / "media")
        self.health = HealthBoard(clock)
        self.announced = Signal()
        self.broker = SqlBroker(self.database, clock)
        self.judging = Judging(self.health, Signal())
        self.detector = ScriptedDetector()
        self.told_until = 0
        self._pictures = 0
        shared = (self.broker, self.announced, clock)
        rules = BatchRules(batch)
        self.intake = FrameIntake(*shared, judging=self.judging)
        self.threads = InferenceThreads(1)
        self.detect = DetectStage(
            self.database,
            self.broker,
            self.media,
            clock,
            judging=self.judging,
            threads=self.threads,
            views=ViewWatch(scene, clock, self.judging),
            announced=self.announced,
        )
        still = stationary or StationarySettings()
        self.keeper = IncidentKeeper(clock, settings=IncidentSettings(), risk=risk, zone=zone)
        self.gather = GatherStage(
            *shared,
            judging=self.judging,
            incidents=self.keeper,
            rules=rules,
            risk=risk,
            stationary=still,
            zone=zone,
            explaining=explaining,
        )
        self.close = CloseStage(*shared, judging=self.judging, rules=rules, explaining=explaining)
        self.ending = IncidentEnding(self.database, self.announced, clock, quiet=self.keeper.quiet)

    async def load_detector(self) -> None:
        """Make the scripted detector the one in use."""

        async def resolve() -> ResolvedModel:
            return MODEL

        async def opened(_model: ResolvedModel) -> Opened:
            return Opened(self.detector, batch=BATCH)

        await self.judging.load(resolve, opened)

    def picture(
        self,
        *seen: Detection,
        camera: str = CAMERA,
        at: datetime | None = None,
        arrived_at: datetime | None = None,
        source: FrameSource = FrameSource.FOLDER,
        fails: Exception | None = None,
        number: int | None = None,
    ) -> AdmittedFile:
        """Return an admitted picture in which the detector sees this, or at which it fails. A number repeats one.

        It was taken at `at` and arrived then, unless it came late.
        """
        if number is None:
            self._pictures += 1
            number = self._pictures
        self.detector.script[number] = fails or seen
        picture = examine(plain_png(number), TINY_ALLOWED)
        captured_at = at or self.clock.now()
        media_path = self.media.write(camera, picture.content_hash, picture.extension, picture.content)
        file = FileVersion(f"{camera}/{number}.png", len(picture.content), number)
        return AdmittedFile(
            file=file,
            folder=camera,
            camera_id=camera,
            picture=picture,
            media_path=media_path,
            arrived_at=arrived_at or captured_at,
            captured_at=captured_at,
            source=source,
        )

    async def take(self, *pictures: AdmittedFile) -> None:
        """Take pictures in."""
        await self.intake.take(pictures)

    async def work(self, *stages: Stage) -> None:
        """Let the stages (all of them, in their order) do what is available now."""
        for stage in stages or (self.detect, self.gather, self.close):
            while messages := await self.broker.claim(stage.name, stage.batch_size):
                await stage.consume(messages)

    async def see(self, *seen: Detection, camera: str = CAMERA, at: datetime | None = None) -> None:
        """Take a picture in and do all work that it makes."""
        await self.take(self.picture(*seen, camera=camera, at=at))
        await self.work()

    async def told(self) -> list[Announcement]:
        """Return what was announced of cameras and events since the last call."""
        return [item for item in await self.told_all() if not item.kind.is_about_incidents]

    async def told_all(self) -> list[Announcement]:
        """Return what was announced since the last call."""
        async with self.database.reading() as connection:
            found = await announcements.after(connection, self.told_until, limit=1000)
        assert found is not None
        if found:
            assert [item.sequence for item in found] == list(range(self.told_until + 1, found[-1].sequence + 1))
            self.told_until = found[-1].sequence
        return [item.announcement for item in found]

    async def events(self) -> list[Event]:
        """Return all events, oldest first."""
        async with self.database.reading() as connection:
            page = await events.find(connection, EventFilter(), limit=1000, cursor=None)
        return list(reversed(page.items))

    async def incidents(self) -> list[Incident]:
        """Return all incidents, oldest first."""
        async with self.database.reading() as connection:
            page = await incidents.find(connection, IncidentFilter(), limit=1000, cursor=None)
        return list(reversed(page.items))

    async def state(self, camera: str = CAMERA) -> CameraState:
        """Return a camera as it stands."""
        async with self.database.reading() as connection:
            state = await cameras.state(connection, camera, judged=self.judging.status.judges)
        assert state is not None
        return state

    async def detections(self) -> Mapping[int, int | None]:
        """Return the event of each detection, by the detection's id."""
        async with self.database.reading() as connection:
            rows = await connection.execute(select(detections.c.id, detections.c.event_id))
            return {row.id: row.event_id for row in rows}


@asynccontextmanager
async def bench(
    folder: Path,
    clock: MovableClock | None = None,
    *,
    batch: BatchSettings | None = None,
    risk: RiskSettings | None = None,
    zone: ZoneInfo | None = None,
    detector: bool = True,
    scripted: ScriptedDetector | None = None,
    where: URL | None = None,
    stationary: StationarySettings | None = None,
    scene: SceneSettings = NO_SCENE,
    explaining: Explaining = NOT_EXPLAINED,
) -> AsyncIterator[Bench]:
    """Give a pipeline on a folder, with its detector loaded; a later run of the same server gets the same script.

    Its rows lie in PostgreSQL if `where` is given.
    """
    made = Bench(
        folder,
        clock or MovableClock(),
        batch or BatchSettings(),
        risk or RiskSettings(),
        zone or ZoneInfo("UTC"),
        where,
        stationary,
        scene,
        explaining,
    )
    made.detector = scripted or made.detector
    await made.database.open()
    try:
        if detector:
            await made.load_detector()
        yield made
    finally:
        made.threads.stop()
        await made.database.close()
