# SPDX-License-Identifier: AGPL-3.0-or-later
"""A headless Chromium in front of Home Assistant's own front end."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from scripts.development.home_assistant import HomeAssistant

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZE = (1440, 760)


@asynccontextmanager
async def open_browser(profile: Path) -> AsyncIterator[Page]:
    """Open an empty page in a browser with a profile of its own."""
    executable = next((path for name in NAMES if (path := shutil.which(name))), None)
    if executable is None:
        pytest.fail("There is no Chromium: install the package chromium, or run scripts/test, which does.")
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            profile,
            executable_path=executable,
            headless=True,
            args=FLAGS,
            viewport={"width": SIZE[0], "height": SIZE[1]},
            locale="en-GB",
        )
        page = await context.new_page()
        try:
            yield page
        except BaseException:
            await page.screenshot(path=profile.with_name("failure.png"))
            print(f"The browser was at {page.url}: {await text_of(page)}")  # noqa: T201 - pytest shows it
            raise
        finally:
            await context.close()


async def log_in(page: Page, home_assistant: HomeAssistant) -> None:
    """Fill in Home Assistant's login page."""
    account = home_assistant.account
    await page.goto(home_assistant.url)
    await page.locator("input[name=username]").fill(account.username)
    await page.locator("input[name=password]").fill(account.password)
    await page.keyboard.press("Enter")
    await page.locator("ha-sidebar").wait_for()


async def text_of(page: Page) -> str:
    """Everything that is visible, also inside of custom elements."""
    return str(await page.evaluate(_VISIBLE_TEXT))


_VISIBLE_TEXT = """() => {
  const parts = [];
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) { parts.push(node.textContent.trim()); return; }
    if (node.nodeType === Node.ELEMENT_NODE && ['STYLE', 'SCRIPT'].includes(node.tagName)) return;
    const isSlot = node.tagName === 'SLOT';
    const children = isSlot ? node.assignedNodes({flatten: true}) : (node.shadowRoot ?? node).childNodes;
    for (const child of children) walk(child);
  };
  walk(document.body);
  return parts.filter(Boolean).join('\\n');
}"""
