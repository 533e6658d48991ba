# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the owner sees in a browser."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from PIL import ImageFilter, ImageOps
from playwright.async_api import Page

from scripts.development import dashboard
from tests.e2e.browser import log_in, open_browser, text_of
from tests.e2e.house import E2E, House
from tests.e2e.watch import Watch
from tests.support import scenes

pytestmark = E2E

CAMERAS = {"front_yard": "Front yard", "entrance": "Entrance"}
SECONDS_BETWEEN_PICTURES = 2
SIZE = (1440, 1080)


async def test_the_owner_logs_in_and_sees_what_is_going_on(house: House, watch: Watch, tmp_path: Path) -> None:
    async with _something_going_on(house), open_browser(tmp_path / "profile") as page:
        for camera in CAMERAS:
            await watch.fired(camera, "detected")
        await dashboard.show(house.client, CAMERAS)
        await log_in(page, house.home_assistant)
        await _assert_device_page_shown(page, house, watch)
        await _assert_overview_shown(page, house, watch)
        screenshot = tmp_path / "overview.png"
        await page.screenshot(path=screenshot, animations="disabled")
    assert screenshot.stat().st_size > 50_000
    if wanted := os.environ.get("HSI_SCREENSHOT"):
        shutil.copyfile(screenshot, wanted)


def _picture(camera: str) -> bytes:
    """A landscape picture, as cameras take them: the whole street, or two people close by."""
    street = scenes.bus()
    if camera == "entrance":
        return scenes.encode(street.crop((0, 390, 660, 885)).resize(SIZE))
    picture = ImageOps.fit(street, SIZE).filter(ImageFilter.GaussianBlur(30))
    picture.paste(street, ((SIZE[0] - street.width) // 2, 0))
    return scenes.encode(picture)


async def _assert_overview_shown(page: Page, house: House, watch: Watch) -> None:
    await page.goto(f"{house.home_assistant.url}/{dashboard.PATH}/0")
    await _settled(page)
    before = _facts(watch)
    shown = await text_of(page)
    after = _facts(watch)
    assert {*CAMERAS.values(), "Risk score", "Risk level", "Security event"} <= set(shown.splitlines())
    for earlier, later in zip(before, after, strict=True):  # risk may rise while the page is read
        assert earlier in shown or later in shown
    drawn = await page.locator("hui-image img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert drawn
    assert all(drawn), "a picture did not load"


def _facts(watch: Watch) -> list[str]:
    """What the overview has to say about the cameras."""
    facts = []
    for camera in CAMERAS:
        score, level = watch.value(f"sensor.{camera}_risk_score"), watch.value(f"sensor.{camera}_risk_level")
        event = watch.states[f"event.{camera}_security_event"]["attributes"]
        facts += [f"\n{score}\n", f"\n{str(level).capitalize()}\n", event["summary"]]
    return facts


async def _assert_device_page_shown(page: Page, house: House, watch: Watch) -> None:
    device = (await house.devices())["Front yard"]
    await page.goto(f"{house.home_assistant.url}/config/devices/device/{device['id']}")
    await page.get_by_text("Risk score").first.wait_for()
    shown = set((await text_of(page)).splitlines())
    names = {"Front yard", "Risk score", "Risk level", "Person", "Vehicle", "Security event"}
    assert names <= shown
    assert {"Low", "Medium", "High", "Critical"} & shown
    assert {value for value in watch.values("sensor.front_yard_risk_score") if value.isdigit()} & shown


async def _settled(page: Page) -> None:
    """Wait until the cards stand, their pictures have come and nothing moves any more."""
    await page.get_by_text("Risk score").first.wait_for()
    await page.wait_for_function(_PICTURES_LOADED)
    await page.locator("#ha-launch-screen").wait_for(state="detached")
    await page.wait_for_function("document.getAnimations().every((animation) => animation.playState !== 'running')")


_PICTURES_LOADED = """() => {
  const found = [];
  const walk = (root) => {
    for (const element of root.querySelectorAll('*')) {
      if (element.tagName === 'IMG' && root.host?.tagName === 'HUI-IMAGE') found.push(element);
      if (element.shadowRoot) walk(element.shadowRoot);
    }
  };
  walk(document);
  return found.length >= 2 && found.every((image) => image.complete && image.naturalWidth > 0);
}"""


@asynccontextmanager
async def _something_going_on(house: House) -> AsyncIterator[None]:
    """Let the cameras see somebody for as long as the block lasts."""

    async def take_pictures() -> None:
        while True:
            for camera in CAMERAS:
                house.drop(camera, await asyncio.to_thread(_picture, camera))
            await asyncio.sleep(SECONDS_BETWEEN_PICTURES)

    task = asyncio.create_task(take_pictures())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
