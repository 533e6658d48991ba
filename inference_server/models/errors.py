# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can go wrong on the way from a catalogue entry to a usable file."""

from inference_server.core.model import ModelUnavailable

__all__ = [
    "BrokeOffError",
    "ConversionError",
    "ExporterMissingError",
    "HashMismatchError",
    "ModelError",
    "ModelUnavailable",
    "NotThereError",
    "SourceError",
]


class ModelError(Exception):
    """A model's file could not be had or made."""


class SourceError(ModelError):
    """One source did not give the file: it is unreachable, gave too much, too little or something else."""


class BrokeOffError(SourceError):
    """A source began and broke off: what it gave is kept, and it may give the rest at once."""


class NotThereError(SourceError):
    """A source answers, and has no such file."""


class HashMismatchError(SourceError):
    """A file is not the one that the catalogue, the publisher or the lock file names."""

    def __init__(self, name: str, expected: str, found: str) -> None:
        """Say which SHA-256 was expected and which one was found."""
        super().__init__(f"{name} has the SHA-256 {found}, expected was {expected}")
        self.expected = expected
        self.found = found


class ConversionError(ModelError):
    """Weights could not be turned into an ONNX file."""


class ExporterMissingError(ConversionError):
    """The weights are there, but the library that turns them into ONNX is not installed."""
