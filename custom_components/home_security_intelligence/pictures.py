# SPDX-License-Identifier: Apache-2.0
"""Pictures for entities: fetched when somebody looks, kept until they change."""

from collections.abc import Awaitable, Callable, Hashable

from homeassistant.exceptions import HomeAssistantError

from .client import HsiError, NotFound
from .const import DOMAIN


class PictureCache:
    """Remembers the last picture and what it shows."""

    def __init__(self) -> None:
        """Start empty."""
        self._key: Hashable = None
        self._picture: bytes | None = None

    @property
    def last(self) -> bytes | None:
        """The picture that was fetched last."""
        return self._picture

    async def get(self, key: Hashable, fetch: Callable[[], Awaitable[bytes]]) -> bytes | None:
        """Return the picture of a key, None when the server does not have it."""
        if self._picture is None or key != self._key:
            self._picture = await _fetched(fetch)
            self._key = key
        return self._picture


async def _fetched(fetch: Callable[[], Awaitable[bytes]]) -> bytes | None:
    try:
        return await fetch()
    except NotFound:
        return None
    except HsiError as err:
        raise HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key="picture_unavailable",
            translation_placeholders={"detail": str(err)},
        ) from err
