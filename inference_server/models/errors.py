# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can go wrong on the way from a catalogue entry to a usable file."""


class ModelError(Exception):
    """A model's file could not be had or made."""


class SourceError(ModelError):
    """One source did not give the file: it is unreachable, gave too much, too little or something else."""


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


class ModelUnavailable(ModelError):
    """A model cannot be used. `remedy` is a sentence that says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        """Keep the reason and the remedy apart; both are plain sentences."""
        super().__init__(message)
        self.remedy = remedy
