# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can go wrong between a picture and its detections."""


class DetectorUnusable(Exception):
    """A model file cannot serve as a detector. The message says what was expected and what was found."""


class DetectorLied(Exception):
    """A detector gave an answer that cannot be true."""


class PictureUnreadable(Exception):
    """The bytes are no picture that can be decoded."""
