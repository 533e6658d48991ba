# SPDX-License-Identifier: AGPL-3.0-or-later
"""Names that clients choose: which of them files and folders may have."""

import os
import unicodedata

from inference_server.core.camera import MAX_NAME_BYTES

UNFINISHED = ".uploading"
"""The folder, in each camera's own, that holds what is being uploaded. It is hidden from the folder watch."""
_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def has_control_characters(text: str) -> bool:
    """Return whether a text holds NUL, line ends or other control characters, which no command of FTP has."""
    return any(unicodedata.category(character) == "Cc" for character in text)


def is_reserved(relative: str) -> bool:
    """Return whether a path below a camera's folder lies where unfinished uploads are kept."""
    return relative.partition("/")[0].casefold() == UNFINISHED


def name_problem(relative: str) -> str | None:
    """Return what is wrong with the path of a new file or folder below a camera's folder; None when all is well."""
    if is_reserved(relative):
        return f"Names that begin with {UNFINISHED} are the server's own"
    if has_control_characters(relative) or not _DIRECTION_MARKS.isdisjoint(relative):
        return "The name has characters that cannot be seen; use letters, digits and - _ . only"
    if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in relative.split("/")):
        return f"The name is longer than {MAX_NAME_BYTES} bytes"
    return None
