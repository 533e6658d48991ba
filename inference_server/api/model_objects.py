# SPDX-License-Identifier: AGPL-3.0-or-later
"""Models as they are sent."""

from inference_server.api.schema import UtcTime, WireObject
from inference_server.core.model import (
    Capability,
    DeviceNeed,
    ImportedModel,
    MemoryBasis,
    ModelSummary,
    Pull,
    PullState,
    PullStep,
)


class PullObject(WireObject):
    """The installation of a model, in bytes."""

    model_id: str
    state: PullState
    step: PullStep
    done_bytes: int
    total_bytes: int
    asked_at: UtcTime | None
    ended_at: UtcTime | None
    error: str | None
    remedy: str | None


class ImportedModelObject(WireObject):
    """A file that was taken in. `pull` makes of it what is loaded, where it is not loaded as it is."""

    model_id: str
    size: int
    sha256: str
    pull: PullObject | None


class ModelFileObject(WireObject):
    """A file of a model; without a published digest `sha256` is the one noted when it was first pulled, or null."""

    name: str
    size: int
    size_exact: bool
    sha256: str | None
    pinned: bool


class ModelObject(WireObject):
    """A model of the catalogue."""

    id: str
    name: str
    capability: Capability
    purpose: str
    licence: str
    commercial_use: bool
    size: int
    size_exact: bool
    pinned: bool
    memory_bytes: int
    memory_basis: MemoryBasis
    gpu_memory_bytes: int
    gpu_memory_basis: MemoryBasis
    device: DeviceNeed
    files: tuple[ModelFileObject, ...]
    installed: bool
    supplied: bool
    in_use: bool
    pull: PullObject | None


def pull_object(pull: Pull) -> PullObject:
    """Return a pull as it is sent."""
    return PullObject(
        model_id=pull.model_id,
        state=pull.state,
        step=pull.step,
        done_bytes=pull.done_bytes,
        total_bytes=pull.total_bytes,
        asked_at=pull.asked_at,
        ended_at=pull.ended_at,
        error=pull.error,
        remedy=pull.remedy,
    )


def imported_model_object(imported: ImportedModel) -> ImportedModelObject:
    """Return a file that was taken in as it is sent."""
    return ImportedModelObject(
        model_id=imported.model_id,
        size=imported.size,
        sha256=imported.sha256,
        pull=pull_object(imported.pull) if imported.pull else None,
    )


def model_object(model: ModelSummary) -> ModelObject:
    """Return a model as it is sent."""
    return ModelObject(
        id=model.id,
        name=model.name,
        capability=model.capability,
        purpose=model.purpose,
        licence=model.licence.name,
        commercial_use=model.licence.commercial_use,
        size=model.size,
        size_exact=model.size_exact,
        pinned=model.pinned,
        memory_bytes=model.memory.processor.bytes,
        memory_basis=model.memory.processor.basis,
        gpu_memory_bytes=model.memory.gpu.bytes,
        gpu_memory_basis=model.memory.gpu.basis,
        device=model.device,
        files=tuple(
            ModelFileObject(
                name=file.name,
                size=file.size,
                size_exact=file.size_exact,
                sha256=file.sha256,
                pinned=file.pinned,
            )
            for file in model.files
        ),
        installed=model.installed,
        supplied=model.supplied,
        in_use=model.in_use,
        pull=pull_object(model.pull) if model.pull else None,
    )
