# SPDX-License-Identifier: AGPL-3.0-or-later
"""The machine: its GPU with an hour of history, the memory of models, and the doctor."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from inference_server.api.context import ApiContext
from inference_server.api.routing import AnyRoute, Parameters, Route
from inference_server.api.schema import UtcTime, WireObject
from inference_server.core.diagnosis import Diagnosis, FindingState
from inference_server.core.hardware import GpuAbsence, GpuHistory, GpuReading, MemoryUse, TierName
from inference_server.storage.tokens import Scope


class GpuQuery(Parameters):
    """How many minutes of history are wanted."""

    minutes: Annotated[int, Field(ge=0, le=60, description="How much of the history is sent.")] = 60


class GpuReadingObject(WireObject):
    """What a GPU does at a moment; null for what it does not tell."""

    at: UtcTime
    utilisation_percent: int | None
    memory_used_bytes: int
    memory_total_bytes: int
    temperature_celsius: int | None
    power_watts: float | None
    power_limit_watts: float | None
    throttling: tuple[str, ...]


class GpuObject(WireObject):
    """A GPU: what it is, does (null while it cannot be read) and did, the oldest first."""

    index: int
    name: str
    memory_bytes: int
    driver: str
    cuda: str | None
    compute_capability: str | None
    mig: bool
    current: GpuReadingObject | None
    history: tuple[GpuReadingObject, ...]


class NoGpuObject(WireObject):
    """Why there is no GPU."""

    reason: GpuAbsence
    message: str
    remedy: str | None


class ResidentModelObject(WireObject):
    """A model in the memory of a device."""

    name: str
    bytes: int
    priority: int
    pinned: bool
    leases: int
    loading: bool


class MemoryUseObject(WireObject):
    """What the models on a device may take and take."""

    device: str
    budget_bytes: int
    used_bytes: int
    evictions: int
    models: tuple[ResidentModelObject, ...]


class HardwareObject(WireObject):
    """The tier, the GPUs or why there is none, and the memory of models."""

    tier: TierName
    gpus: tuple[GpuObject, ...]
    no_gpu: NoGpuObject | None
    memory: tuple[MemoryUseObject, ...]


class FindingObject(WireObject):
    """One thing that was looked at."""

    subject: str
    state: FindingState
    found: str
    remedy: str | None


class DiagnosisObject(WireObject):
    """All that was found, and the worst state of it."""

    state: FindingState
    at: UtcTime
    seconds: float
    findings: tuple[FindingObject, ...]


async def gpu(context: ApiContext, asked: GpuQuery) -> HardwareObject:
    """Return what the GPU does and did, or why there is none."""
    since = context.clock.now() - timedelta(minutes=asked.minutes)
    report = await context.hardware()
    return HardwareObject(
        tier=report.tier,
        gpus=tuple(_gpu(one, [reading for reading in one.readings if reading.at > since]) for one in report.gpus),
        no_gpu=report.no_gpu and NoGpuObject.model_validate(report.no_gpu, from_attributes=True),
        memory=tuple(map(_memory, report.memory)),
    )


async def doctor(context: ApiContext, _asked: Parameters) -> DiagnosisObject:
    """Examine the installation."""
    return _diagnosis(await context.diagnose())


def _gpu(one: GpuHistory, readings: list[GpuReading]) -> GpuObject:
    device = one.device
    return GpuObject(
        index=device.index,
        name=device.name,
        memory_bytes=device.memory_bytes,
        driver=device.driver,
        cuda=device.cuda and ".".join(map(str, device.cuda)),
        compute_capability=device.compute and ".".join(map(str, device.compute)),
        mig=device.mig,
        current=one.current and _reading(one.current),
        history=tuple(map(_reading, readings)),
    )


def _reading(value: GpuReading) -> GpuReadingObject:
    return GpuReadingObject(
        at=value.at,
        utilisation_percent=value.utilisation,
        memory_used_bytes=value.memory_used,
        memory_total_bytes=value.memory_total,
        temperature_celsius=value.temperature,
        power_watts=value.power,
        power_limit_watts=value.power_limit,
        throttling=value.throttling,
    )


def _memory(use: MemoryUse) -> MemoryUseObject:
    return MemoryUseObject(
        device=use.device,
        budget_bytes=use.budget,
        used_bytes=use.used,
        evictions=use.evictions,
        models=tuple(ResidentModelObject.model_validate(model, from_attributes=True) for model in use.models),
    )


def _diagnosis(diagnosis: Diagnosis) -> DiagnosisObject:
    return DiagnosisObject(
        state=diagnosis.state,
        at=diagnosis.at,
        seconds=diagnosis.seconds,
        findings=tuple(FindingObject.model_validate(one, from_attributes=True) for one in diagnosis.findings),
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/system/gpu",
        summary="The GPU now and in the last hour, and the memory of models",
        scope=Scope.READ,
        parameters=GpuQuery,
        answer=HardwareObject,
        handler=gpu,
    ),
    Route(
        path="/api/system/doctor",
        summary="Examine the installation: findings with remedies",
        scope=Scope.ADMIN,
        parameters=Parameters,
        answer=DiagnosisObject,
        handler=doctor,
    ),
)
