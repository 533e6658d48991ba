# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files as they are served, whole or in parts (RFC 9110, section 14): players seek, and a cut download goes on."""

from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file whose content never changes, under a name that needs no quotes. One to save is not shown by browsers."""

    file: Path
    content_type: str = "application/octet-stream"
    to_save: bool = False


def file_response(stored: StoredFile) -> web.FileResponse:
    """Return the response that sends a file, or what of it was asked for and the client does not have."""
    headers = {hdrs.CONTENT_TYPE: stored.content_type}
    if stored.to_save:
        headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{stored.file.name}"'
    else:
        headers[hdrs.CACHE_CONTROL] = "private, no-cache"
    return web.FileResponse(stored.file, headers=headers)
