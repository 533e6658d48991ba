# SPDX-License-Identifier: AGPL-3.0-or-later
"""The parts of one process, built from its settings and joined: of the one that does everything, or of a worker."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

from inference_server.api.context import ApiContext, ApiLimits, PromptParts
from inference_server.core.clock import Clock
from inference_server.core.event import Event
from inference_server.core.prompt import PromptKind
from inference_server.core.signal import Signal
from inference_server.core.status import DetectorState
from inference_server.core.worker import Role
from inference_server.detection.backends.network import PARALLEL
from inference_server.detection.backends.opening import (
    Opened,
    default_loaders,
    engine_source,
    open_detector,
    quantised_below,
    wants_engine,
)
from inference_server.detection.backends.remote import RemoteDetector
from inference_server.detection.backends.trial import detector_trial
from inference_server.doctor.practice import Practice
from inference_server.hardware.analyst import reserve_analyst
from inference_server.hardware.detector import DetectorPlaces, resolve_detector, wanted_detectors
from inference_server.hardware.machine import Machine
from inference_server.hardware.processor import look
from inference_server.ingest.admission import Admission, Gate, Intake
from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.camera_reader import CameraReader
from inference_server.ingest.clips.admission import ClipAdmission
from inference_server.ingest.clips.decoder import ClipDecoder
from inference_server.ingest.clips.reading import ClipReader
from inference_server.ingest.folder.watch import FolderWatch
from inference_server.ingest.ftp.server import FtpService
from inference_server.ingest.known_cameras import KnownCameras
from inference_server.ingest.uploads import Uploads
from inference_server.models.engines import EngineCache, ToolBuilder
from inference_server.models.errors import ModelUnavailable
from inference_server.models.jobs import ModelJobs
from inference_server.models.store import ModelStore, ResolvedModel
from inference_server.observability.health import HealthBoard
from inference_server.pipeline.analyse import AnalyseStage
from inference_server.pipeline.analyst import Analyst
from inference_server.pipeline.backups import Backups
from inference_server.pipeline.batch import BatchRules
from inference_server.pipeline.best_picture import BestPictures
from inference_server.pipeline.broker import Broker
from inference_server.pipeline.cases import Cases
from inference_server.pipeline.close import CloseStage
from inference_server.pipeline.consulting import Consulting
from inference_server.pipeline.detect import DetectStage
from inference_server.pipeline.disk_watch import DiskWatch
from inference_server.pipeline.drift_watch import DriftWatch
from inference_server.pipeline.engine_building import EngineBuilding
from inference_server.pipeline.explaining import Explaining, asked_for
from inference_server.pipeline.gather import GatherStage
from inference_server.pipeline.habits import HabitLearning
from inference_server.pipeline.incident_end import IncidentEnding
from inference_server.pipeline.incidents import IncidentKeeper
from inference_server.pipeline.inference import InferenceThreads
from inference_server.pipeline.intake import FrameIntake
from inference_server.pipeline.judged_news import JudgedNews
from inference_server.pipeline.judging import Judging
from inference_server.pipeline.model_health import ModelHealth
from inference_server.pipeline.model_watch import ModelWatch
from inference_server.pipeline.prompting import ActivePrompt, PromptCases, Prompts
from inference_server.pipeline.redis_broker import RedisBroker
from inference_server.pipeline.remote_watch import RemoteWatch
from inference_server.pipeline.replay import AutomaticReplay
from inference_server.pipeline.sql_broker import SqlBroker
from inference_server.pipeline.stage import Stage, run_stage
from inference_server.pipeline.status_watch import StatusWatch
from inference_server.pipeline.streams import Streams
from inference_server.pipeline.summaries import SummaryWriting
from inference_server.pipeline.transitions import TransitionLearning
from inference_server.pipeline.trials import TrialAnalyst
from inference_server.pipeline.upkeep import Upkeep
from inference_server.pipeline.view_watch import ViewWatch
from inference_server.pipeline.workers import Heartbeat, worker_name
from inference_server.risk.analyst.language_model import LanguageModel
from inference_server.risk.analyst.opening import LocalModel, NoModel, choose_model, open_model
from inference_server.risk.drift import JUDGING
from inference_server.risk.prompts.rendering import Installation
from inference_server.risk.verdict import OWN_FACTORS
from inference_server.risk.weights import load_weights
from inference_server.settings import (
    BACKUP_PASSPHRASE_VARIABLE,
    AnalystBackend,
    Backend,
    RemoteFallback,
    Settings,
    WatchRoot,
)
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import Database
from inference_server.storage.media import MediaFolder

SHARED_RECHECK_SECONDS = 0.25
"""How often announcements of other processes are looked for, who cannot wake anybody here."""

type Run = Callable[[], Awaitable[None]]


def local_detector(settings: Settings) -> Callable[[ResolvedModel, ModelUnavailable | None], Opened]:
    """Return what opens a model on this machine, on the best of what the settings and the memory allow."""
    loaders = default_loaders(_engines_folder(settings))
    quantised = quantised_below(settings.models_folder)
    return lambda model, no_room: open_detector(
        model, settings.detector.here, loaders, quantised=quantised, no_room=no_room
    )


def engine_building(
    settings: Settings, judging: Judging, health: HealthBoard, places: DetectorPlaces[Opened]
) -> EngineBuilding | None:
    """Return what builds the engine of the detector of this machine; None where the settings want none."""
    if not wants_engine(settings.detector.here):
        return None
    return EngineBuilding(
        judging,
        EngineCache(_engines_folder(settings)),
        ToolBuilder(),
        source_of=lambda model: engine_source(model, settings.detector.here, quantised_below(settings.models_folder)),
        open_again=places.open_beside,
        health=health,
    )


def _engines_folder(settings: Settings) -> Path:
    return settings.models_folder / "engines"


class Parts:
    """Everything that works in a process, on an open database."""

    def __init__(
        self, settings: Settings, database: Database, folder: DataFolder, clock: Clock, *, role: Role, server_id: str
    ) -> None:
        """Build what several parts share; nothing is started. Raises RedisMissingError."""
        self._settings = settings
        self._database = database
        self._folder = folder
        self._clock = clock
        self._role = role
        self._server_id = server_id
        self._worker = settings.worker_name or worker_name(shared=database.shared)
        self._media = MediaFolder(folder.media)
        self._backpressure = Backpressure()
        self.health = HealthBoard(clock)
        self._announced = Signal()
        self._server_changed = Signal()
        self._cameras = KnownCameras(settings.zone)
        self._incidents = IncidentKeeper(clock, settings=settings.incidents, risk=settings.risk, zone=settings.zone)
        self._remote = self._build_remote()
        self._machine = Machine(settings.hardware, self.health, clock)
        self._judging = Judging(
            self.health,
            self._server_changed,
            remote=self._remote is not None,
            local=self._judges_here,
            make_room=self._machine.make_room,
        )
        self._store = ModelStore(settings.models_folder, offline=settings.models.offline_folder)
        self._models = ModelJobs(
            self._store,
            clock,
            parallel=settings.models.parallel,
            in_use=lambda: self._judging.status.model,
            validate=detector_trial(settings.detector.here),
        )
        self._reserved: set[str] = set()
        """Language models for which memory is kept."""
        self._analyst = self._build_analyst()
        self._prompts_in_use = Prompts(self.health)
        self._installation = Installation(settings.risk.thresholds, tuple(OWN_FACTORS))
        self._consulting = Consulting(
            self._analyst,
            settings.analyst,
            budget_tokens=settings.risk.prompt_tokens,
            installation=self._installation,
            active=self._active_prompt,
            pictures=BestPictures(database, self._media).of,
        )
        self._explaining = Explaining(lambda: self._analyst.wanted, settings.analyst.from_score)
        self._model_health = ModelHealth(self._models, self.health)
        self._places = DetectorPlaces(self._machine.plan, settings.detector.here, local_detector(settings))
        self.threads = InferenceThreads(PARALLEL)
        self.broker = self._build_broker()
        self.camera_reader = CameraReader(database, self._cameras, self.health)
        self.heartbeat = Heartbeat(
            database,
            self.health,
            clock,
            name=self._worker,
            role=role,
            detector=lambda: self._judging.status.state,
        )
        self._backups = Backups(
            database,
            folder,
            settings.backup,
            zone=settings.zone,
            passphrase=os.environ.get(BACKUP_PASSPHRASE_VARIABLE) or None,
            health=self.health,
            clock=clock,
        )
        self._upkeep = Upkeep(
            settings,
            database,
            self._media,
            announced=self._announced,
            health=self.health,
            clock=clock,
            judged=lambda: self._judging.status.judges,
        )

    @property
    def detector_is_starting(self) -> bool:
        """Whether nobody knows yet if pictures can be judged."""
        return self._judging.status.state is DetectorState.STARTING

    def running(self) -> Iterator[tuple[str, Run]]:
        """Yield what runs as long as the process does, each under the name of its component of the health."""
        yield from self._judging_parts()
        if self._role is Role.ALL:
            yield from self._ingesting_parts()
            yield from self._keeping_parts()

    def _judging_parts(self) -> Iterator[tuple[str, Run]]:
        if self._judges_here:
            yield "detector", self._load_detector
            building = engine_building(self._settings, self._judging, self.health, self._places)
            if building is not None:
                yield "engine", partial(self._build_engines, building)
        if self._remote is not None:
            yield "detector service", RemoteWatch(self._judging, self._remote).run
        if self._settings.analyst.backend is not AnalystBackend.OFF:
            yield "language model", self._analyst.run
        yield "gpu", self._machine.run
        yield "cameras", self.camera_reader.run
        for stage in self._stages():
            for _ in range(stage.lanes):
                yield stage.name.value, partial(run_stage, stage, self.broker, self.health)
        yield "status", self._status_watch().run
        yield "broker", self.broker.run
        yield "heartbeat", self.heartbeat.run
        yield "models", self._models.run
        yield "models", self._model_health.run
        for breaker in {self._judging.breaker, self._judging.remote_breaker}:
            yield "replay", AutomaticReplay(self._database, self.broker, breaker).run

    def _ingesting_parts(self) -> Iterator[tuple[str, Run]]:
        clips = self._clips()
        for number, root in enumerate(self._settings.watch_roots):
            watch = self._watch(root, clips, main=number == 0)
            yield watch.component, watch.run
        yield "clips", clips.run
        if self._settings.ftp.enabled:
            yield "ftp", self._ftp().run

    def _keeping_parts(self) -> Iterator[tuple[str, Run]]:
        learning = HabitLearning(
            self._database, self._clock, judges=lambda: self._judging.status.judges, zone=self._settings.zone
        )
        yield "habits", learning.run
        yield JUDGING, DriftWatch(self._database, self.health, self._clock, self._settings.risk).run
        quiet = self._incidents.quiet
        yield "incidents", IncidentEnding(self._database, self._announced, self._clock, quiet=quiet).run
        within = timedelta(seconds=self._settings.incidents.next_camera_seconds)
        yield "transitions", TransitionLearning(self._database, self._clock, within=within).run
        yield "summaries", self._summary_writing().run
        yield "judged", JudgedNews(self._database, self._announced, self._clock, self._judging).run
        yield "backup", self._backups.run
        yield "disk", self._disk_watch().run
        yield "cleanup", self._upkeep.housekeeping.run

    def _summary_writing(self) -> SummaryWriting:
        return SummaryWriting(
            self._database,
            self._announced,
            self._clock,
            judges=lambda: self._judging.status.judges,
            thresholds=self._settings.risk.thresholds,
            zone=self._settings.zone,
        )

    def _build_broker(self) -> Broker:
        if self._settings.redis_url is None:
            return SqlBroker(self._database, self._clock, worker=self._worker)
        url = self._settings.redis_url.get_secret_value()
        streams = Streams(url, prefix=f"hsi:{self._server_id}", worker=self._worker)
        return RedisBroker(self._database, self._clock, streams=streams, health=self.health, worker=self._worker)

    async def close_remote(self) -> None:
        """Close the connections to a detector service, and end the language model."""
        if self._remote is not None:
            await self._remote.close()
        await self._analyst.close()

    def _build_analyst(self) -> Analyst:
        wanted = self._settings.analyst
        named = wanted.url is not None or wanted.model is not None or wanted.model_file is not None
        expected = wanted.backend is not AnalystBackend.OFF and (named or wanted.backend is not AnalystBackend.AUTO)
        return Analyst(self._open_language_model, self.health, self._server_changed, expected=expected)

    async def _active_prompt(self) -> ActivePrompt:
        async with self._database.reading() as connection:
            return await self._prompts_in_use.active(connection, PromptKind.ANALYST)

    async def _open_language_model(self) -> LanguageModel | NoModel:
        """Open what the settings mean, keeping memory for it. Raises ModelUnavailable."""
        settings = self._settings.analyst
        plan = await self._machine.plan()
        chosen = await asyncio.to_thread(choose_model, settings, self._store, plan.chosen.tier.analyst)
        if isinstance(chosen, NoModel):
            return chosen
        if isinstance(chosen, LocalModel) and chosen.model_id not in self._reserved:
            size = (await asyncio.to_thread(chosen.path.stat)).st_size
            await reserve_analyst(plan, chosen.model_id, size, gpu=bool(settings.gpu_layers))
            self._reserved.add(chosen.model_id)
        return open_model(chosen, settings, look().cores)

    @property
    def _judges_here(self) -> bool:
        """Whether this machine has a detector of its own, be it to stand in for another one."""
        settings = self._settings.detector
        return settings.backend is not Backend.REMOTE or settings.remote.fallback is RemoteFallback.LOCAL

    def _build_remote(self) -> RemoteDetector | None:
        settings = self._settings.detector
        return RemoteDetector(settings) if settings.backend is Backend.REMOTE else None

    async def _load_detector(self) -> None:
        """Load the detector, and exchange it whenever a better one is installed."""
        plan = await self._machine.plan()
        settings, tier = self._settings.detector, plan.chosen.tier
        watch = ModelWatch(
            self._store,
            self._models,
            self._model_health,
            wanted=wanted_detectors(settings, tier),
            exchange=self._exchange_detector,
        )
        await self._judging.load(
            lambda: watch.resolve(lambda: resolve_detector(self._store, settings, tier)),
            self._places.open,
            watch.pause,
        )
        await watch.run()

    async def _exchange_detector(self, model: ResolvedModel) -> None:
        self._judging.exchange(await self._places.open(model), model)

    async def _build_engines(self, building: EngineBuilding) -> None:
        """Build the engine of each model that comes into use."""
        while True:
            model = await self._judging.model()
            await building.run()
            await self._judging.another_model(model)

    def _stages(self) -> tuple[Stage, ...]:
        settings, judging = self._settings, self._judging
        rules = BatchRules(settings.batch)
        detect = DetectStage(
            self._database,
            self.broker,
            self._media,
            self._clock,
            judging=judging,
            threads=self.threads,
            views=ViewWatch(settings.scene, self._clock, judging),
            announced=self._announced,
        )
        gather = GatherStage(
            self.broker,
            self._announced,
            self._clock,
            judging=judging,
            incidents=self._incidents,
            rules=rules,
            risk=settings.risk,
            stationary=settings.stationary,
            zone=settings.zone,
            explaining=self._explaining,
        )
        close = CloseStage(
            self.broker, self._announced, self._clock, judging=judging, rules=rules, explaining=self._explaining
        )
        explained = () if settings.analyst.backend is AnalystBackend.OFF else (self._analyse(),)
        return detect, gather, close, *explained

    def _analyse(self) -> AnalyseStage:
        settings = self._settings
        return AnalyseStage(
            self._database,
            self.broker,
            self._announced,
            self._clock,
            analyst=self._analyst,
            cases=Cases(settings.risk, settings.zone, self._clock),
            consulting=self._consulting,
            incidents=self._incidents,
            thresholds=settings.risk.thresholds,
            judged=lambda: self._judging.status.judges,
            max_age=timedelta(hours=settings.analyst.max_age_hours),
            lanes=settings.analyst.parallel if settings.analyst.url is not None else 1,
        )

    async def _reanalyse(self, event: Event) -> None:
        """Have an event explained anew, before all others."""
        async with self.broker.transaction() as transaction:
            await transaction.wish([asked_for(event, self._clock.now())])

    def _status_watch(self) -> StatusWatch:
        return StatusWatch(
            database=self._database,
            broker=self.broker,
            health=self.health,
            changed=self._server_changed,
            clock=self._clock,
            backpressure=self._backpressure,
            most_waiting=self._settings.pipeline.most_waiting,
        )

    def _intake(self) -> FrameIntake:
        return FrameIntake(self.broker, self._announced, self._clock, judging=self._judging)

    def _clips(self) -> ClipAdmission:
        clips, ingest = self._settings.clips, self._settings.ingest
        return ClipAdmission(
            clips,
            reader=ClipReader(
                clips,
                ingest,
                decoder=ClipDecoder(clips, ingest),
                cameras=self._cameras,
                database=self._database,
                media=self._media,
                clock=self._clock,
            ),
            intake=self._intake(),
            database=self._database,
            media=self._media,
            backpressure=self._backpressure,
            health=self.health,
            clock=self._clock,
        )

    def _watch(self, root: WatchRoot, intake: Intake, *, main: bool) -> FolderWatch:
        limits, cameras = self._settings.ingest, self._cameras
        return FolderWatch(
            root,
            main=main,
            admission=Admission(root.path, self._media, limits, self._clock, cameras, main=main),
            intake=intake,
            database=self._database,
            health=self.health,
            backpressure=self._backpressure,
            cameras=cameras,
            settings=limits,
            clock=self._clock,
        )

    def _uploads(self) -> Uploads:
        limits = self._settings.ingest
        return Uploads(
            self._folder.uploads,
            gate=Gate(self._media, limits, self._cameras),
            intake=self._intake(),
            database=self._database,
            backpressure=self._backpressure,
            clock=self._clock,
            max_bytes=limits.max_bytes,
        )

    def _ftp(self) -> FtpService:
        settings = self._settings
        return FtpService(
            settings.ftp,
            pictures=settings.ingest,
            root=settings.watch_folder,
            certificate=self._folder.ftp_certificate,
            database=self._database,
            backpressure=self._backpressure,
            health=self.health,
            clock=self._clock,
        )

    def _disk_watch(self) -> DiskWatch:
        return DiskWatch(
            self._upkeep.places,
            housekeeping=self._upkeep.housekeeping,
            backpressure=self._backpressure,
            health=self.health,
            clock=self._clock,
            settings=self._settings.disk,
        )

    def _prompts(self) -> PromptParts:
        risk = self._settings.risk
        return PromptParts(
            cases=PromptCases(risk, self._settings.zone, self._clock),
            budget_tokens=risk.prompt_tokens,
            installation=self._installation,
            analyst=None if self._settings.analyst.backend is AnalystBackend.OFF else self._trials(),
        )

    def _trials(self) -> TrialAnalyst:
        return TrialAnalyst(self._analyst, self._consulting, self._settings.risk.thresholds, self._clock)

    def api_context(self, ready: Callable[[], bool]) -> ApiContext:
        """Build what the interface answers from; `ready` says whether this process serves."""
        settings, shared = self._settings, self._database.shared
        return ApiContext(
            database=self._database,
            media=self._media,
            clock=self._clock,
            server_id=self._server_id,
            name=settings.name,
            thresholds=settings.risk.thresholds,
            risk=settings.risk,
            weights=load_weights(settings.risk.weights_file),
            zone=settings.zone,
            health=self.health,
            accounts=self._upkeep.accounts,
            housekeeping=self._upkeep.housekeeping,
            trash_days=settings.retention.trash_days,
            detector_status=lambda: self._judging.status,
            analyst_status=lambda: self._analyst.status,
            reanalyse=self._reanalyse,
            queue_status=self.broker.status,
            replay=self.broker.replay,
            announced=self._announced,
            server_changed=self._server_changed,
            uploads=self._uploads(),
            cameras_changed=self.camera_reader.read_if_possible,
            prompts=self._prompts(),
            ready=ready,
            started_at=self._clock.now(),
            backups=self._backups,
            models=self._models,
            hardware=self._machine.report,
            diagnose=Practice(settings, self._clock, lambda: self._judging.loaded).diagnose,
            limits=ApiLimits(recheck_seconds=SHARED_RECHECK_SECONDS) if shared else ApiLimits(),
        )
