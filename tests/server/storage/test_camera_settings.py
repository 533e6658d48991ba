# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the owner set for a camera, stored and read back."""

from inference_server.core.camera import Camera, CameraSettings, Mask
from inference_server.storage import camera_settings, cameras
from tests.support.home import START, Home

SETTINGS = CameraSettings("Asia/Tokyo", ("*/thumbs/*", "test_*"), (Mask(((0, 0), (0.5, 0), (0.25, 1))),))


async def test_a_new_camera_has_the_defaults(a_home: Home) -> None:
    async with a_home.database.writing() as connection:
        await cameras.add(connection, Camera("front", "Front", START))
    async with a_home.database.reading() as connection:
        assert await camera_settings.all_settings(connection) == {"front": CameraSettings()}


async def test_settings_are_kept_also_for_a_removed_camera(a_home: Home) -> None:
    async with a_home.database.writing() as connection:
        await cameras.add(connection, Camera("front", "Front", START))
        await cameras.add(connection, Camera("back", "Back", START))
        await camera_settings.change(connection, "front", SETTINGS)
        await cameras.remove(connection, "front", START)
    async with a_home.database.reading() as connection:
        assert await camera_settings.all_settings(connection) == {"front": SETTINGS, "back": CameraSettings()}
