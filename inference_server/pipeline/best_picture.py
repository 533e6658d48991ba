# SPDX-License-Identifier: AGPL-3.0-or-later
"""An event's best picture, small enough for a language model that sees."""

import asyncio
import io

from PIL import Image

from inference_server.core.event import Event
from inference_server.storage import frames
from inference_server.storage.database import Database
from inference_server.storage.media import MediaFolder

LONGEST_SIDE = 768
"""Pixels: models cut pictures into tiles of about half of that."""
_QUALITY = 80


class BestPictures:
    """Reads pictures of events."""

    def __init__(self, database: Database, media: MediaFolder) -> None:
        """Take where they lie."""
        self._database = database
        self._media = media

    async def of(self, event: Event) -> tuple[bytes, ...]:
        """Return an event's best picture as a JPEG; nothing where it is no longer kept or cannot be read."""
        async with self._database.reading() as connection:
            frame = await frames.get(connection, event.best_frame_id)
        if frame is None:
            return ()
        try:
            return (await asyncio.to_thread(self._small, frame.media_path),)
        except (OSError, ValueError):
            return ()

    def _small(self, media_path: str) -> bytes:
        with Image.open(self._media.path(media_path)) as picture:
            picture.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
            small = picture.convert("RGB")
        small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        target = io.BytesIO()
        small.save(target, "JPEG", quality=_QUALITY)
        return target.getvalue()
