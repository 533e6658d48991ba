# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can go wrong between a picture and its detections."""


class DetectorUnusable(Exception):
    """A model file cannot serve as a detector. The message says what was expected and what was found."""


class DetectorLied(Exception):
    """A detector gave an answer that cannot be true."""


class DetectorElsewhereError(Exception):
    """A detector on another machine gives no answer. `remedy` is a sentence that says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        """Keep the reason and the remedy apart; both are plain words."""
        super().__init__(message)
        self.remedy = remedy


class PictureUnreadable(Exception):
    """The bytes are no picture that can be decoded."""


class BackendUnavailable(Exception):
    """A library or device cannot be used for the detector. `remedy` is a sentence that says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        """Keep the reason and the remedy apart; the reason is a clause, the remedy a sentence."""
        super().__init__(message)
        self.remedy = remedy


class BackendAbsent(BackendUnavailable):
    """It is not installed, or the machine has no such device: nobody who did not ask for it misses it."""


class DetectorOutOfMemory(Exception):
    """There is no memory for one picture. `remedy` is a sentence that says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        """Keep the reason and the remedy apart; both are plain words."""
        super().__init__(message)
        self.remedy = remedy
