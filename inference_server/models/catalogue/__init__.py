# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every model of the system: licence, size, digest, sources, memory, and how it becomes what is loaded.

No digest is here that was not published by who made the file, recorded alike by several unrelated projects, or
computed from a package that a registry serves unchanged for ever. A file without one is `unpinned`.
"""

from inference_server.core.model import ModelMemory
from inference_server.models.catalogue.detectors import DETECTORS
from inference_server.models.catalogue.embeddings import EMBEDDINGS
from inference_server.models.catalogue.entry import (
    Conversion,
    HttpsSource,
    ModelEntry,
    NpmSource,
    PypiSource,
    Source,
    Weights,
)
from inference_server.models.catalogue.language import LANGUAGE
from inference_server.models.catalogue.memory import memory_of_file
from inference_server.models.catalogue.people import PEOPLE
from inference_server.models.catalogue.vehicles import VEHICLES

CATALOGUE: tuple[ModelEntry, ...] = (*DETECTORS, *EMBEDDINGS, *PEOPLE, *VEHICLES, *LANGUAGE)


def memory_of(model_id: str, size: int = 0) -> ModelMemory:
    """Return what a model takes of memory: by its id, or else by the size of its file in bytes."""
    known = (entry.memory for entry in CATALOGUE if entry.id == model_id)
    return next(known, None) or memory_of_file(size)


__all__ = [
    "CATALOGUE",
    "Conversion",
    "HttpsSource",
    "ModelEntry",
    "NpmSource",
    "PypiSource",
    "Source",
    "Weights",
    "memory_of",
]
