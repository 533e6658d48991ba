# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the routes need, given by the composition root."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from zoneinfo import ZoneInfo

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.assessment import LevelThresholds
from inference_server.core.backup import RunningBackup, StoredBackup
from inference_server.core.cleanup import Amount, CleanupReport, StorageReport
from inference_server.core.clock import Clock
from inference_server.core.diagnosis import Diagnosis
from inference_server.core.event import Event
from inference_server.core.frame import Refusal
from inference_server.core.hardware import HardwareReport
from inference_server.core.model import ImportedModel, ModelSummary, Pull
from inference_server.core.signal import Signal
from inference_server.core.status import AnalystStatus, DetectorStatus, QueueStatus
from inference_server.core.upload import Upload, UploadedFrame
from inference_server.observability.health import HealthBoard
from inference_server.risk.prompts.case import Case, Period
from inference_server.risk.prompts.rendering import Installation, Rendered
from inference_server.risk.prompts.trial import Opinion
from inference_server.risk.weights import Weights
from inference_server.settings import RiskSettings
from inference_server.storage.database import Database
from inference_server.storage.media import MediaFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimits:
    """How much and how long; the defaults are those of the protocol."""

    handshake_seconds: float = 10.0
    """How long a client may take for each message it owes."""
    heartbeat_seconds: float = 20.0
    close_seconds: float = 1.0
    """How long a closing WebSocket waits for the client's goodbye."""
    queue_length: int = 1000
    """Messages that wait for a slow reader before it is sent away."""
    replay_length: int = 1000
    """A client that missed more messages gets a snapshot."""
    server_interval_seconds: float = 1.0
    """The shortest time between two `server` messages."""
    pull_interval_seconds: float = 0.25
    """The shortest time between two `model_pull` messages about a model."""
    recheck_seconds: float = 10.0
    """How often the database is asked for announcements of other processes, which cannot notify this one."""
    refusals_per_minute: int = 10
    """Wrong tokens from one address before it is slowed."""
    refusal_delay_seconds: float = 5.0
    """How long a slowed address waits for a WebSocket's `auth_failed`."""
    token_check_seconds: float = 60.0
    """How often an open WebSocket's token is looked up again."""
    pictures_at_once: int = 2
    """Pictures decoded and drawn at the same time."""
    connections: int = 512
    """Open at the same time; one more is closed at once."""
    first_request_seconds: float = 10.0
    """How long a new connection may take to send its first request."""
    keepalive_seconds: float = 75.0
    """How long a connection may be silent between two requests."""
    body_silence_seconds: float = 15.0
    """How long a body may pause."""
    body_seconds: float = 300.0
    """How long a body may take."""
    model_seconds: float = 6 * 3600.0
    """How long the file of a model may take, which may have gigabytes."""
    trial_seconds: float = 300.0
    """How long the analyst may take for all answers of a trial of prompts."""


class Uploads(Protocol):
    """Takes uploaded files in."""

    @property
    def max_bytes(self) -> int:
        """The largest size of a file."""
        ...

    @property
    def closed(self) -> str | None:
        """Why nothing is taken now, in plain words; None while something is."""
        ...

    def receiving(self) -> AbstractContextManager[BinaryIO]:
        """Give a file to receive into, which is gone afterwards. Raises OSError."""
        ...

    async def take(self, upload: Upload) -> UploadedFrame | Refusal:
        """Admit an upload. Raises one of STORAGE_FAILURES when it cannot be stored now."""
        ...


class BackupMaker(Protocol):
    """Makes and keeps backups. Implemented by the pipeline."""

    @property
    def running(self) -> RunningBackup | None:
        """The backup that is being made."""
        ...

    def ask(self, *, media: bool | None) -> RunningBackup:
        """Let a backup be made; None means with media as the settings say.

        Raises BackupBusyError while another one is made, DiskNearlyFullError.
        """
        ...

    def list_all(self) -> tuple[StoredBackup, ...]:
        """Return the backups that are done, newest first. Raises OSError."""
        ...

    def path(self, name: str) -> Path | None:
        """Return the file of a backup, None when there is none of this name."""
        ...

    def remove(self, name: str) -> bool:
        """Remove a backup. Return whether it was there. Raises OSError."""
        ...


class IncomingModel(Protocol):
    """A file of a model that is being received."""

    def write(self, piece: bytes) -> None:
        """Add a piece. Blocks. Raises ModelUnavailable where the disk is full; OSError."""
        ...


class Models[Incoming: IncomingModel](Protocol):
    """Installs and removes models. Implemented by that room; an id that nobody knows raises ModelUnavailable."""

    @property
    def changed(self) -> Signal:
        """Notified with every change of a pull."""
        ...

    @property
    def pulls(self) -> tuple[Pull, ...]:
        """The pulls of this process, those that are over too."""
        ...

    async def list_all(self) -> tuple[ModelSummary, ...]:
        """Return the catalogue, and how every model of it is."""
        ...

    async def get(self, model_id: str) -> ModelSummary:
        """Return one model."""
        ...

    async def free_bytes(self) -> int:
        """Return how many bytes there is room for. Raises OSError."""
        ...

    def ask(self, model_id: str, *, accept_unpinned: bool) -> Pull:
        """Let a model be installed. Raises OSError."""
        ...

    async def cancel(self, model_id: str) -> None:
        """End a pull if one is under way; what it has downloaded is kept."""
        ...

    @property
    def most_import_bytes(self) -> int:
        """How many bytes a file may have that is sent."""
        ...

    def receiving(self, size: int | None) -> AbstractContextManager[Incoming]:
        """Give what receives a file of so many bytes, if that is known. Raises OSError."""
        ...

    async def take_in(self, incoming: Incoming, name: str, model_id: str | None) -> ImportedModel:
        """Install a file that was received. Raises OSError."""
        ...

    async def remove(self, model_id: str, *, force: bool) -> None:
        """Delete the files of a model, of the one in use only if forced. Raises OSError."""
        ...


class Accounts(Protocol):
    """Counts what is stored. Implemented by the pipeline."""

    async def plan(self) -> CleanupReport:
        """Return what a cleanup would delete now."""
        ...

    async def report(self) -> StorageReport:
        """Return what is kept and where, and what the next cleanup will delete."""
        ...


class Housekeeping(Protocol):
    """Cleans up. Implemented by the pipeline; everything raises CleanupBusyError while another cleanup is under way."""

    async def clean(self) -> CleanupReport:
        """Delete what is older than the settings allow."""
        ...

    async def empty_trash(self) -> Amount:
        """Delete for good what is in the trash and not still to be worked on."""
        ...


class PromptCases(Protocol):
    """Reads what a prompt is about. Implemented by the pipeline."""

    async def of_event(self, connection: AsyncConnection, event: Event) -> Case:
        """Return an event as the analyst is asked about it."""
        ...

    async def of_period(self, connection: AsyncConnection, since: datetime, until: datetime) -> Period:
        """Return what happened from one time to another."""
        ...


class PromptAnalyst(Protocol):
    """Answers prompts that are tried, within the bounds of every verdict. It writes and announces nothing."""

    async def judge(self, case: Case, rendered: Rendered) -> Opinion:
        """Return what it makes of an event. Raises AnalystUnavailable."""
        ...

    async def summarise(self, period: Period, rendered: Rendered) -> str:
        """Return a summary. Raises AnalystUnavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptParts:
    """What prompts are tried with."""

    cases: PromptCases
    budget_tokens: int
    installation: Installation
    analyst: PromptAnalyst | None = None
    """None where no language model is set up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """The parts that answers are made from."""

    database: Database
    media: MediaFolder
    clock: Clock
    server_id: str
    name: str
    thresholds: LevelThresholds
    risk: RiskSettings
    weights: Weights
    """What factors weigh."""
    zone: ZoneInfo
    """The home's."""
    health: HealthBoard
    accounts: Accounts
    housekeeping: Housekeeping
    trash_days: int
    """How long the trash is kept; 0 means until somebody empties it."""
    detector_status: Callable[[], DetectorStatus]
    analyst_status: Callable[[], AnalystStatus]
    reanalyse: Callable[[Event], Awaitable[None]]
    """Has an event explained anew."""
    queue_status: Callable[[], Awaitable[QueueStatus]]
    replay: Callable[[Sequence[int]], Awaitable[int]]
    """Sends the dead letters with these ids back to their stages and returns how many there were."""
    announced: Signal
    """Notified after each commit that added announcements."""
    server_changed: Signal
    """Notified when the server object changed."""
    uploads: Uploads
    cameras_changed: Callable[[], Awaitable[None]]
    """Called after a commit that changed a camera's settings; returns once they count."""
    backups: BackupMaker
    models: Models[Any]
    hardware: Callable[[], Awaitable[HardwareReport]]
    diagnose: Callable[[], Awaitable[Diagnosis]]
    """Examines the installation, which takes seconds; who asks meanwhile gets the same."""
    prompts: PromptParts
    ready: Callable[[], bool]
    started_at: datetime
    limits: ApiLimits = ApiLimits()


CONTEXT = web.AppKey("context", ApiContext)
