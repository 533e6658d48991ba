# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files to be saved, whole or in parts (RFC 9110, section 14), so that a download that was cut off can go on."""

from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web

CONTENT_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Download:
    """A file under a name that needs no quotes."""

    file: Path


def download_response(download: Download) -> web.StreamResponse:
    """Return the response that sends a file, or what of it was asked for."""
    headers = {
        hdrs.CONTENT_TYPE: CONTENT_TYPE,
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="{download.file.name}"',
    }
    return web.FileResponse(download.file, headers=headers)
