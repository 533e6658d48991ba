# SPDX-License-Identifier: AGPL-3.0-or-later
"""The detector hangs, fails, lies or is late: nothing wrong is stored, and all is judged when it is well again."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.detector import WRONG
from tests.faults.house import House, house, tells
from tests.faults.pictures import Kind, kind_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _detector_is_down(told: dict[str, dict[str, object]]) -> bool:
    return tells(told.get("detector"))


async def _none_died_of_it(home: House) -> None:
    """Check that only what nobody can judge was given up: the rest waited, or was replayed."""
    ledger = await home.well_again()
    assert {kind_of(frame.number) for frame in ledger.frames if frame.state == "dead"} <= {Kind.UNJUDGEABLE}


async def _nothing_more_is_judged(home: House) -> None:
    """Check that judging ends, though pictures pour in: what was detected before is gathered yet."""
    judged = -1
    async with asyncio.timeout(10):
        while judged != (judged := (await home.balanced()).judged):  # noqa: ASYNC110 - a test of silence
            await asyncio.sleep(1)


@pytest.mark.parametrize("wrong", sorted(set(WRONG) - {"hangs"}))
async def test_all_is_judged_after_a_detector_that(tmp_path: Path, wrong: str) -> None:
    mode = tmp_path / "mode"
    async with house(tmp_path / "home") as home:
        home.start(detector_mode=mode)
        async with home.pouring(pictures=40):
            await home.until_judged()
            mode.write_text(wrong)
            told = await home.until_health(_detector_is_down)
            assert told["ingest"]["state"] == told["database"]["state"] == "ok"
            await _nothing_more_is_judged(home)
            mode.write_text("")
        await _none_died_of_it(home)


async def test_a_detector_that_hangs_for_ever_is_told_and_the_next_start_judges_all(tmp_path: Path) -> None:
    mode = tmp_path / "mode"
    async with house(tmp_path / "home") as home:
        home.start(detector_mode=mode)
        async with home.pouring(pictures=40):
            await home.until_judged()
            mode.write_text("hangs")
            told = await home.until_health(_detector_is_down)
            assert told["ingest"]["state"] == "ok"
            await home.until_health(lambda told: "restart the server" in str(told["detector"]["last_error"]))
        async with asyncio.timeout(10):
            await home.stopped()
        home.start()
        await _none_died_of_it(home)
